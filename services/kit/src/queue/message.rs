//! What names a message, and durations as the database takes them.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity of a message, given when it is enqueued and kept for ever, through dead letters and back: fit as an idempotency key
/// towards others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct MessageId(Uuid);

impl MessageId {
    /// A new one; greater than those that this process made before.
    pub(super) fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl std::str::FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// For errors: how many messages, and which, as far as a line takes them.
pub(super) fn listed(messages: &[MessageId]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = messages.iter().take(SHOWN).map(MessageId::to_string).collect();
    let more = messages.len().saturating_sub(SHOWN);
    let kind = if messages.len() == 1 { "message" } else { "messages" };
    match more {
        0 => format!("{kind} {}", shown.join(", ")),
        _ => format!("{kind} {} and {more} more", shown.join(", ")),
    }
}

/// Those asked for that are not among those that something was done with.
pub(super) fn missing(asked: &[MessageId], done: &[MessageId]) -> Vec<MessageId> {
    let done: HashSet<&MessageId> = done.iter().collect();
    asked.iter().filter(|message| !done.contains(message)).copied().collect()
}

/// For `make_interval(secs => …)`: a duration of more than a hundred years is one of a hundred years.
pub(super) fn seconds(duration: Duration) -> f64 {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    duration.min(CENTURY).as_secs_f64()
}

/// The first 2,000 characters of an error, without what PostgreSQL's text cannot hold.
pub(super) fn stored_error(error: &str) -> String {
    error.chars().filter(|character| *character != '\0').take(2000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_cut_and_rid_of_what_the_database_cannot_hold() {
        assert_eq!(stored_error("a\0b"), "ab");
        assert_eq!(stored_error(&"ü".repeat(5000)).chars().count(), 2000);
    }

    #[test]
    fn ids_of_one_process_are_in_the_order_in_which_they_were_made() {
        let ids: Vec<MessageId> = (0..10_000).map(|_| MessageId::generate()).collect();
        assert!(ids.is_sorted());
        assert!(listed(&ids).ends_with("and 9995 more"));
    }
}
