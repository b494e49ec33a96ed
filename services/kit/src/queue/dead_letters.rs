//! The dead letters: what is there, and back into the queue with it.

use std::fmt;
use std::str::FromStr;

use sqlx::PgConnection;

use super::message::{missing, seconds};
use super::{DeadLetterReason, MessageId, Queue, QueueError};
use crate::time::UtcDateTime;

/// The part of a statement that makes dead letters of the rows of `dead`: deleted messages with a `reason` and an `error`.
macro_rules! bury {
    () => {
        "INSERT INTO queue_dead_letters (id, queue_id, deliveries, reason, last_error, enqueued_at, delivered_at, expires_at, payload)
         SELECT id, queue_id, deliveries, reason, error, enqueued_at, delivered_at, expires_at, payload FROM dead"
    };
}
pub(super) use bury;

/// A message that is delivered no more, unless it is redriven.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DeadLetter {
    /// The message's identity.
    pub id: MessageId,
    /// Why it is here.
    #[sqlx(try_from = "String")]
    pub reason: DeadLetterReason,
    /// What went wrong last, if it is known.
    pub last_error: Option<String>,
    /// How often it was delivered.
    #[sqlx(try_from = "i32")]
    pub deliveries: u32,
    /// When it was enqueued, or redriven last.
    pub enqueued_at: UtcDateTime,
    /// When it was delivered last, if it was.
    pub delivered_at: Option<UtcDateTime>,
    /// When its time to live ended or would have.
    pub expires_at: UtcDateTime,
    /// When it came here.
    pub dead_lettered_at: UtcDateTime,
    /// Its content, as JSON.
    pub payload: String,
}

impl DeadLetter {
    /// Its place in the list.
    #[must_use]
    pub fn key(&self) -> DeadLetterKey {
        DeadLetterKey { at: self.dead_lettered_at, id: self.id }
    }
}

/// A place in the list of dead letters, which begins with the latest. It stays one when its message is redriven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterKey {
    at: UtcDateTime,
    id: MessageId,
}

/// A text that is no place in the list of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`after` is what an answer gave as `next`, as it came")]
pub struct DeadLetterKeyError;

impl fmt::Display for DeadLetterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.at.unix_micros(), self.id)
    }
}

impl FromStr for DeadLetterKey {
    type Err = DeadLetterKeyError;

    fn from_str(text: &str) -> Result<Self, DeadLetterKeyError> {
        let (micros, id) = text.split_once('.').ok_or(DeadLetterKeyError)?;
        let at = micros.parse().ok().and_then(|micros| UtcDateTime::from_unix_micros(micros).ok()).ok_or(DeadLetterKeyError)?;
        Ok(Self { at, id: id.parse().map_err(|_| DeadLetterKeyError)? })
    }
}

/// Puts the rows of `revived` back: visible at once, undelivered, with a whole time to live, and what went wrong before.
macro_rules! revive {
    () => {
        "INSERT INTO queue_messages (id, queue_id, visible_at, expires_at, last_error, payload)
         SELECT id, queue_id, tenantry_now(), tenantry_now() + make_interval(secs => $3), last_error, payload FROM revived
         RETURNING id"
    };
}

const REDRIVE: &str =
    concat!("WITH revived AS (DELETE FROM queue_dead_letters WHERE queue_id = $1 AND id = ANY ($2) RETURNING *) ", revive!());

const REDRIVE_OLDEST: &str = concat!(
    "WITH revived AS (
        DELETE FROM queue_dead_letters WHERE id = ANY (ARRAY(
            SELECT id FROM queue_dead_letters WHERE queue_id = $1 AND reason = $2
            ORDER BY dead_lettered_at, id LIMIT $4 FOR UPDATE SKIP LOCKED))
        RETURNING *
     ) ",
    revive!()
);

impl Queue {
    /// At most `limit` dead letters, the latest first; all, or those with that reason; from the latest on, or those after `after`.
    ///
    /// # Errors
    /// When the queue is unknown or the database fails.
    pub async fn dead_letters(
        &self,
        connection: &mut PgConnection,
        reason: Option<&DeadLetterReason>,
        after: Option<DeadLetterKey>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        let queue = self.id(connection).await?;
        let letters = sqlx::query_as(
            "SELECT id, reason, last_error, deliveries, enqueued_at, delivered_at, expires_at, dead_lettered_at, payload::text AS payload
             FROM queue_dead_letters WHERE queue_id = $1 AND ($2::text IS NULL OR reason = $2)
                 AND ($3::timestamptz IS NULL OR (dead_lettered_at, id) < ($3, $4))
             ORDER BY dead_lettered_at DESC, id DESC LIMIT $5",
        )
        .bind(queue)
        .bind(reason.map(DeadLetterReason::as_str))
        .bind(after.map(|after| after.at))
        .bind(after.map(|after| after.id))
        .bind(i64::from(limit))
        .persistent(false)
        .fetch_all(connection)
        .await?;
        Ok(letters)
    }

    /// Puts dead letters back into the queue: under their ids, as if never delivered, with the queue's time to live.
    ///
    /// # Errors
    /// [`QueueError::NoSuchDeadLetter`] names those that are not there; the others are redriven, unless the caller rolls back.
    pub async fn redrive(&self, connection: &mut PgConnection, messages: &[MessageId]) -> Result<(), QueueError> {
        let queue = self.id(connection).await?;
        let redriven: Vec<MessageId> = sqlx::query_scalar(REDRIVE)
            .bind(queue)
            .bind(messages)
            .bind(seconds(self.time_to_live()))
            .persistent(false)
            .fetch_all(connection)
            .await?;
        let missing = missing(messages, &redriven);
        if missing.is_empty() { Ok(()) } else { Err(QueueError::NoSuchDeadLetter { queue: self.name().to_owned(), messages: missing }) }
    }

    /// [`Self::redrive`] of at most `limit` dead letters with that reason, the oldest first; which ones. To be called again while it
    /// redrives.
    ///
    /// # Errors
    /// When the queue is unknown or the database fails.
    pub async fn redrive_by_reason(
        &self,
        connection: &mut PgConnection,
        reason: &DeadLetterReason,
        limit: u32,
    ) -> Result<Vec<MessageId>, QueueError> {
        let queue = self.id(connection).await?;
        let redriven = sqlx::query_scalar(REDRIVE_OLDEST)
            .bind(queue)
            .bind(reason.as_str())
            .bind(seconds(self.time_to_live()))
            .bind(i64::from(limit))
            .persistent(false)
            .fetch_all(connection)
            .await?;
        Ok(redriven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_is_read_as_it_was_written() {
        for micros in [0, -1, 1_893_456_000_123_456] {
            let key = DeadLetterKey { at: UtcDateTime::from_unix_micros(micros).unwrap(), id: MessageId::generate() };
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for text in [
            "",
            "1",
            "1.",
            ".",
            "1.2",
            "x.0199f0e6-7a5b-7c3d-8e9f-0a1b2c3d4e5f",
            "9223372036854775807.0199f0e6-7a5b-7c3d-8e9f-0a1b2c3d4e5f",
        ] {
            assert_eq!(text.parse::<DeadLetterKey>(), Err(DeadLetterKeyError), "{text}");
        }
    }
}
