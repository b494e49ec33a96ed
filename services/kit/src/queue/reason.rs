//! Why a message is a dead letter, in a word that commands and metrics can use.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Why a message was dead-lettered: `[a-z][a-z0-9_]*`, at most 40 bytes. The error itself is beside it ([`super::DeadLetter::last_error`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeadLetterReason(Cow<'static, str>);

/// A text that is not a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reason is a word of lower-case letters, digits and underscores that begins with a letter, at most 40 bytes long")]
pub struct ReasonError;

impl DeadLetterReason {
    /// Its time to live ended before it was completed.
    pub const EXPIRED: Self = Self::new("expired");
    /// It was delivered as often as its queue allows, and never completed.
    pub const DELIVERY_LIMIT: Self = Self::new("delivery_limit");
    /// Its content is not what the handler reads.
    pub const UNREADABLE: Self = Self::new("unreadable");

    /// A reason of a service, as a constant.
    ///
    /// # Panics
    /// When it is not a reason; in a constant, that is a compile-time error.
    #[must_use]
    pub const fn new(reason: &'static str) -> Self {
        assert!(is_reason(reason), "a reason is a word of lower-case letters, digits and underscores");
        Self(Cow::Borrowed(reason))
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_reason(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 40 || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut index = 1;
    while index < bytes.len() {
        if !(bytes[index].is_ascii_lowercase() || bytes[index].is_ascii_digit() || bytes[index] == b'_') {
            return false;
        }
        index += 1;
    }
    true
}

impl FromStr for DeadLetterReason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        if is_reason(text) { Ok(Self(Cow::Owned(text.to_owned()))) } else { Err(ReasonError) }
    }
}

impl TryFrom<String> for DeadLetterReason {
    type Error = ReasonError;

    fn try_from(text: String) -> Result<Self, ReasonError> {
        text.parse()
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_word() {
        for reason in ["expired", "a", "no_such_campaign_2", &"a".repeat(40)] {
            assert_eq!(reason.parse::<DeadLetterReason>().unwrap().as_str(), reason);
        }
        for text in ["", "2nd", "_a", "No", "with space", "ü", &"a".repeat(41)] {
            assert_eq!(text.parse::<DeadLetterReason>(), Err(ReasonError), "{text}");
        }
        assert_eq!("expired".parse(), Ok(DeadLetterReason::EXPIRED));
    }
}
