//! Amounts of money, exact: `{"value": "12.30", "currency": "EUR"}`. Never a float: a number in JSON is refused, since most
//! parsers would have made it a float already.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::currency::Currency;

/// The most significant digits that an amount has, counted at its currency's decimals.
pub const MAX_DIGITS: usize = 28;

/// An amount in a currency, with exactly as many decimals as the currency has. It may be zero or negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WrittenMoney", into = "WrittenMoney")]
pub struct Money {
    value: Decimal,
    currency: Currency,
}

/// A value that is not an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a plain decimal number.
    #[error("an amount is a plain decimal number as a string, such as \"12.30\": no exponent, no leading plus or zero")]
    NotADecimal,
    /// The number has more digits than are kept exactly.
    #[error("an amount has at most {MAX_DIGITS} digits, those after the point included")]
    TooManyDigits,
    /// The number has more decimals than its currency.
    #[error("{currency} has {} decimals, the amount has {decimals}: round it first", currency.decimals())]
    TooManyDecimals {
        /// Whose decimals.
        currency: Currency,
        /// How many were written.
        decimals: u32,
    },
}

impl Money {
    /// An amount of `value`, which must not have more decimals than the currency.
    ///
    /// # Errors
    /// When it has, or has more than [`MAX_DIGITS`] digits.
    pub fn new(value: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let decimals = currency.decimals();
        if value.scale() > decimals {
            return Err(MoneyError::TooManyDecimals { currency, decimals: value.scale() });
        }
        let mut value = value;
        value.rescale(decimals);
        if value.scale() != decimals || digits(value) > MAX_DIGITS {
            return Err(MoneyError::TooManyDigits);
        }
        if value.is_zero() {
            value.set_sign_positive(true);
        }
        Ok(Self { value, currency })
    }

    /// The amount in units of the currency.
    pub fn value(&self) -> Decimal {
        self.value
    }

    /// The currency.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// Whether it is more than nothing.
    pub fn is_positive(&self) -> bool {
        self.value > Decimal::ZERO
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.value, self.currency)
    }
}

fn digits(value: Decimal) -> usize {
    value.mantissa().unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// An amount of money, exact.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Money)]
struct WrittenMoney {
    /// A plain decimal number as a string, with at most as many decimals as the currency has.
    #[schema(value_type = String, pattern = "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$", example = "12.30")]
    value: WrittenDecimal,
    /// ISO 4217 code.
    currency: Currency,
}

struct WrittenDecimal(Decimal);

impl Serialize for WrittenDecimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl PartialSchema for Money {
    fn schema() -> RefOr<Schema> {
        WrittenMoney::schema()
    }
}

impl ToSchema for Money {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        WrittenMoney::schemas(schemas);
    }
}

impl TryFrom<WrittenMoney> for Money {
    type Error = MoneyError;

    fn try_from(written: WrittenMoney) -> Result<Self, MoneyError> {
        Self::new(written.value.0, written.currency)
    }
}

impl From<Money> for WrittenMoney {
    fn from(money: Money) -> Self {
        Self { value: WrittenDecimal(money.value), currency: money.currency }
    }
}

/// Parses `-?(0|[1-9][0-9]*)(\.[0-9]+)?` exactly: how amounts are written, and whatever else must be exact.
///
/// # Errors
/// [`MoneyError::NotADecimal`] for any other text, [`MoneyError::TooManyDigits`] beyond [`MAX_DIGITS`].
pub fn parse_decimal(text: &str) -> Result<Decimal, MoneyError> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if !all_digits(whole) || leading_zero || !fraction.is_none_or(all_digits) {
        return Err(MoneyError::NotADecimal);
    }
    if whole.len() + fraction.map_or(0, str::len) > MAX_DIGITS {
        return Err(MoneyError::TooManyDigits);
    }
    Decimal::from_str_exact(text).map_err(|_| MoneyError::TooManyDigits)
}

impl<'de> Deserialize<'de> for WrittenDecimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DecimalVisitor;
        impl de::Visitor<'_> for DecimalVisitor {
            type Value = WrittenDecimal;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a decimal number as a string such as \"12.30\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WrittenDecimal, E> {
                parse_decimal(text).map(WrittenDecimal).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(DecimalVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Result<Money, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn money_is_written_with_its_currencys_decimals() {
        let money = parse(r#"{"value":"12.3","currency":"EUR"}"#).unwrap();
        assert_eq!(serde_json::to_string(&money).unwrap(), r#"{"value":"12.30","currency":"EUR"}"#);
        assert_eq!(parse(r#"{"value":"-0.00","currency":"EUR"}"#).unwrap().to_string(), "0.00 EUR");
    }

    #[test]
    fn a_number_in_json_is_refused() {
        let error = parse(r#"{"value":12.3,"currency":"EUR"}"#).unwrap_err();
        assert!(error.contains("expected a decimal number as a string"), "{error}");
    }

    #[test]
    fn other_writings_are_refused() {
        for value in ["", "+1", "1e3", ".5", "5.", "01", "1_000", "1,5", " 1", "NaN", "0x1", "--1", "١"] {
            assert_eq!(parse_decimal(value), Err(MoneyError::NotADecimal), "{value}");
        }
    }

    #[test]
    fn thirty_digits_are_refused() {
        assert_eq!(parse_decimal(&"9".repeat(30)), Err(MoneyError::TooManyDigits));
        assert!(parse_decimal(&"9".repeat(28)).is_ok());
        assert!(parse(&format!(r#"{{"value":"{}","currency":"EUR"}}"#, "9".repeat(27))).is_err(), "no room for the cents");
    }

    #[test]
    fn more_decimals_than_the_currency_has_are_refused() {
        assert!(parse(r#"{"value":"1.234","currency":"EUR"}"#).unwrap_err().contains("EUR has 2 decimals, the amount has 3"));
        assert!(parse(r#"{"value":"1.234","currency":"KWD"}"#).is_ok());
        assert!(parse(r#"{"value":"1.0","currency":"JPY"}"#).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cents in -9_999_999_999_999_999_999_999_999_999i128..=9_999_999_999_999_999_999_999_999_999) {
            let money = Money::new(Decimal::from_i128_with_scale(cents, 2), Currency::EUR).unwrap();
            let written = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(parse(&written).unwrap(), money);
        }

        #[test]
        fn no_text_is_read_as_another_amount(text in "[-+.0-9eE]{0,32}") {
            if let Ok(value) = parse_decimal(&text) {
                let negative_zero = text.starts_with('-') && value.is_zero();
                prop_assert!(negative_zero || value.to_string() == text);
            }
        }
    }
}
