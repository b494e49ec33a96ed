//! Purchases: what a shop reports, each once, under an event id of its own choosing.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, de};
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::{ItemId, UserId};

/// The caller's identity of one purchase: 1 to 200 bytes without control characters. Reporting the same purchase again
/// under it counts once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EventId(String);

/// A text that cannot be an event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventIdError {
    /// It is empty.
    #[error("an event id must not be empty: send one that is unique to the purchase")]
    Empty,
    /// It is too long.
    #[error("an event id has at most {max} bytes, this one has {0}", max = EventId::MAX_BYTES)]
    TooLong(usize),
    /// It has a control character.
    #[error("an event id has no control characters")]
    ControlCharacter,
}

impl EventId {
    /// The longest that an event id may be.
    pub const MAX_BYTES: usize = 200;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        match text {
            "" => Err(EventIdError::Empty),
            text if text.len() > Self::MAX_BYTES => Err(EventIdError::TooLong(text.len())),
            text if text.chars().any(char::is_control) => Err(EventIdError::ControlCharacter),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One purchase of one item by one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The caller's identity of it.
    pub event_id: EventId,
    /// Who bought.
    pub user_id: UserId,
    /// What was bought.
    pub item_id: ItemId,
    /// What was spent: more than zero.
    pub amount: Money,
    /// When, by the shop's clock.
    pub timestamp: UtcDateTime,
}

/// What a slot's settings say about purchases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurchaseRules {
    /// How far a purchase's time may be ahead of the database's clock.
    pub clock_skew: SignedDuration,
}

/// Why a purchase is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PurchaseError {
    /// Nothing, or less than nothing, was spent.
    #[error("the amount must be more than zero")]
    AmountNotPositive,
    /// Totals of such amounts could not be kept exactly.
    #[error("the amount must be at most {}", PurchaseRules::MAX_AMOUNT)]
    AmountTooLarge,
    /// The purchase has not happened yet.
    #[error("the purchase's time {timestamp} is too far in the future: it is {now} now, and {} seconds ahead are taken", skew.as_secs())]
    InTheFuture {
        /// The purchase's.
        timestamp: UtcDateTime,
        /// The database's clock.
        now: UtcDateTime,
        /// What would have been taken.
        skew: SignedDuration,
    },
}

impl PurchaseError {
    /// The member of the purchase that is wrong, as a JSON Pointer.
    pub fn pointer(&self) -> &'static str {
        match self {
            Self::AmountNotPositive | Self::AmountTooLarge => "/amount/value",
            Self::InTheFuture { .. } => "/timestamp",
        }
    }
}

impl PurchaseRules {
    /// The most purchases that are reported at once.
    pub const MAX_BATCH: usize = 10_000;

    /// The largest single amount, in units of the currency. A total of a billion such purchases still has fewer than 28
    /// digits in every currency, so that totals are always exact.
    pub const MAX_AMOUNT: Decimal = Decimal::from_parts(0xA4C6_8000, 0x0003_8D7E, 0, false, 0);

    /// Checks a purchase at `now`, a reading of the database's clock.
    ///
    /// # Errors
    /// With the first rule that it breaks.
    pub fn check(&self, purchase: &Purchase, now: UtcDateTime) -> Result<(), PurchaseError> {
        let Purchase { amount, timestamp, .. } = purchase;
        if !amount.is_positive() {
            return Err(PurchaseError::AmountNotPositive);
        }
        if amount.value() > Self::MAX_AMOUNT {
            return Err(PurchaseError::AmountTooLarge);
        }
        if *timestamp > now.saturating_add(self.clock_skew) {
            return Err(PurchaseError::InTheFuture { timestamp: *timestamp, now, skew: self.clock_skew });
        }
        Ok(())
    }
}

/// What came of reporting a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurchaseAcceptance {
    /// It is durable now.
    Accepted,
    /// It was durable already, with the same content.
    Repeated,
    /// Its event id belongs to a purchase with other content.
    Conflict,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: PurchaseRules = PurchaseRules { clock_skew: SignedDuration::from_secs(300) };

    fn purchase(value: &str, currency: &str, timestamp: &str) -> Purchase {
        Purchase {
            event_id: "e-1".parse().unwrap(),
            user_id: UserId::new(1).unwrap(),
            item_id: ItemId::new(2).unwrap(),
            amount: Money::new(value.parse().unwrap(), currency.parse().unwrap()).unwrap(),
            timestamp: timestamp.parse().unwrap(),
        }
    }

    fn outcome(value: &str, currency: &str, timestamp: &str) -> Result<(), PurchaseError> {
        RULES.check(&purchase(value, currency, timestamp), "2026-01-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_purchase_of_something_is_taken_in_any_currency() {
        assert_eq!(outcome("0.01", "EUR", "2026-01-01T12:00:00Z"), Ok(()));
        assert_eq!(outcome("0.001", "KWD", "2026-01-01T12:00:00Z"), Ok(()));
        assert_eq!(outcome("1000000000000000", "EUR", "2020-01-01T12:00:00Z"), Ok(()));
    }

    #[test]
    fn zero_and_negative_amounts_are_refused() {
        assert_eq!(outcome("0", "EUR", "2026-01-01T12:00:00Z"), Err(PurchaseError::AmountNotPositive));
        assert_eq!(outcome("-1", "EUR", "2026-01-01T12:00:00Z"), Err(PurchaseError::AmountNotPositive));
    }

    #[test]
    fn an_amount_beyond_a_quadrillion_is_refused() {
        assert_eq!(PurchaseRules::MAX_AMOUNT.to_string(), "1000000000000000");
        assert_eq!(outcome("1000000000000000.01", "EUR", "2026-01-01T12:00:00Z"), Err(PurchaseError::AmountTooLarge));
    }

    #[test]
    fn a_time_is_taken_up_to_the_allowed_skew_ahead_of_the_clock() {
        assert_eq!(outcome("1", "EUR", "2026-01-01T12:05:00Z"), Ok(()));
        let error = outcome("1", "EUR", "2026-01-01T12:05:00.000001Z").unwrap_err();
        assert!(matches!(error, PurchaseError::InTheFuture { .. }) && error.to_string().contains("300 seconds"), "{error}");
    }

    #[test]
    fn an_event_id_has_one_to_two_hundred_bytes() {
        assert_eq!("".parse::<EventId>(), Err(EventIdError::Empty));
        assert!("x".repeat(200).parse::<EventId>().is_ok());
        assert_eq!("x".repeat(10_240).parse::<EventId>(), Err(EventIdError::TooLong(10_240)));
        assert_eq!("é".repeat(101).parse::<EventId>(), Err(EventIdError::TooLong(202)));
        assert_eq!("a\u{0}b".parse::<EventId>(), Err(EventIdError::ControlCharacter));
    }
}
