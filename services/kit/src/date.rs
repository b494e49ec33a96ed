//! Calendar dates as all APIs write them: `2026-11-22`.

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A day of the calendar, in the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(civil::Date);

/// A text or number that is not a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a date is written as in RFC 3339, in the years 1 to 9999: \"2026-11-22\"")]
pub struct DateError;

/// From which days are counted where they are.
const EPOCH: civil::Date = civil::Date::constant(2000, 1, 1);

impl Date {
    /// A day by its numbers.
    ///
    /// # Errors
    /// When there is no such day, or it is outside of the years 1 to 9999.
    pub fn new(year: i16, month: i8, day: i8) -> Result<Self, DateError> {
        civil::Date::new(year, month, day).map_err(|_| DateError).and_then(Self::from_civil)
    }

    /// Parses a text by a pattern of `strptime`, such as `%d %B %Y` (names are English).
    ///
    /// # Errors
    /// When the text does not follow it.
    pub fn parse_as(pattern: &str, text: &str) -> Result<Self, DateError> {
        civil::Date::strptime(pattern, text).map_err(|_| DateError).and_then(Self::from_civil)
    }

    /// Days since 2000-01-01, from which PostgreSQL counts too.
    pub(crate) fn days_since_2000(self) -> i32 {
        EPOCH.until(self.0).map_or(0, |span| span.get_days())
    }

    pub(crate) fn from_days_since_2000(days: i32) -> Result<Self, DateError> {
        let days = jiff::Span::new().try_days(days).map_err(|_| DateError)?;
        EPOCH.checked_add(days).map_err(|_| DateError).and_then(Self::from_civil)
    }

    pub(crate) fn from_civil(date: civil::Date) -> Result<Self, DateError> {
        if date.year() >= 1 { Ok(Self(date)) } else { Err(DateError) }
    }
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        // jiff also takes times, years of six digits and dates without dashes
        let is_digit = |index: usize, byte: u8| if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
        if text.len() != 10 || !text.bytes().enumerate().all(|(index, byte)| is_digit(index, byte)) {
            return Err(DateError);
        }
        text.parse().map_err(|_| DateError).and_then(Self::from_civil)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DateVisitor;
        impl de::Visitor<'_> for DateVisitor {
            type Value = Date;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a date as a string such as \"2026-11-22\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Date, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(DateVisitor)
    }
}

impl utoipa::PartialSchema for Date {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Date)))
            .description(Some("A day of the calendar, as in RFC 3339."))
            .examples([serde_json::json!("2026-11-22")])
            .into()
    }
}

impl utoipa::ToSchema for Date {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::UtcDateTime;

    #[test]
    fn a_date_is_written_with_dashes() {
        let date: Date = serde_json::from_str("\"2024-02-29\"").unwrap();
        assert_eq!(serde_json::to_string(&date).unwrap(), "\"2024-02-29\"");
        assert_eq!(Date::parse_as("%d %B %Y", "29 February 2024"), Ok(date));
    }

    #[test]
    fn other_writings_are_refused() {
        for text in
            ["", "2023-02-29", "2026-13-01", "20261122", "2026-11-22T00:00:00Z", "22.11.2026", "2026-1-2", "0000-01-01", "-026-01-01"]
        {
            assert_eq!(text.parse::<Date>(), Err(DateError), "{text}");
        }
        assert!(serde_json::from_str::<Date>("20261122").is_err());
    }

    #[test]
    fn a_time_belongs_to_its_day_in_utc() {
        let date = |time: &str| time.parse::<UtcDateTime>().unwrap().date().to_string();
        assert_eq!(date("2026-11-22T00:00:00Z"), "2026-11-22");
        assert_eq!(date("2026-11-22T23:59:59.999999Z"), "2026-11-22");
        assert_eq!(date("0001-01-01T00:00:00Z"), "0001-01-01");
    }

    proptest! {
        #[test]
        fn a_counted_day_is_the_same_day(year in 1_i16..=9999, month in 1_i8..=12, day in 1_i8..=28) {
            let date = Date::new(year, month, day).unwrap();
            prop_assert_eq!(Date::from_days_since_2000(date.days_since_2000()), Ok(date));
            prop_assert_eq!(date.to_string().parse(), Ok(date));
        }
    }
}
