//! Points in time as all APIs write them: RFC 3339, in UTC, to the microsecond (what PostgreSQL keeps).

use std::fmt;
use std::str::FromStr;

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::date::Date;

/// A point in time, to the microsecond. Finer digits are cut off on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcDateTime(Timestamp);

/// A text or number that is not a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as in RFC 3339, in UTC, between the years 1 and 9999: \"2026-11-22T12:30:00Z\"")]
pub struct TimeError;

impl UtcDateTime {
    /// The system clock's reading.
    pub fn now() -> Self {
        Self::from_timestamp(Timestamp::now()).expect("the system clock stands in the years 1 to 9999")
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// Outside of the years 1 to 9999.
    pub fn from_unix_micros(micros: i64) -> Result<Self, TimeError> {
        Timestamp::from_microsecond(micros).map_err(|_| TimeError).and_then(Self::from_timestamp)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn unix_micros(self) -> i64 {
        self.0.as_microsecond()
    }

    /// This time later by `duration`, or the last time there is.
    #[must_use]
    pub fn saturating_add(self, duration: SignedDuration) -> Self {
        self.0.checked_add(duration).ok().and_then(|later| Self::from_timestamp(later).ok()).unwrap_or(Self(Timestamp::MAX))
    }

    /// The day that it belongs to, in UTC.
    pub fn date(self) -> Date {
        Date::from_civil(Offset::UTC.to_datetime(self.0).date()).expect("a time stands in the years 1 to 9999")
    }

    fn from_timestamp(timestamp: Timestamp) -> Result<Self, TimeError> {
        const YEAR_1: i64 = -62_135_596_800;
        if timestamp.as_second() < YEAR_1 {
            return Err(TimeError);
        }
        Timestamp::from_microsecond(timestamp.as_microsecond()).map(Self).map_err(|_| TimeError)
    }
}

impl FromStr for UtcDateTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        // jiff also takes a space for the T, two-digit offsets, time zone annotations, years of six digits
        let shape_is_rfc3339 = text.len() <= 40
            && text.as_bytes().get(10).is_some_and(|byte| matches!(byte, b'T' | b't'))
            && text.as_bytes().get(16) == Some(&b':')
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
            && (text.ends_with(['Z', 'z']) || text.ends_with("+00:00") || text.ends_with("-00:00"));
        if !shape_is_rfc3339 {
            return Err(TimeError);
        }
        text.parse::<Timestamp>().map_err(|_| TimeError).and_then(Self::from_timestamp)
    }
}

impl fmt::Display for UtcDateTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl Serialize for UtcDateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcDateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl de::Visitor<'_> for TimeVisitor {
            type Value = UtcDateTime;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time as a string such as \"2026-11-22T12:30:00Z\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UtcDateTime, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TimeVisitor)
    }
}

impl utoipa::PartialSchema for UtcDateTime {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .description(Some("RFC 3339 in UTC; digits finer than a microsecond are cut off."))
            .examples([serde_json::json!("2026-11-22T12:30:00Z")])
            .into()
    }
}

impl utoipa::ToSchema for UtcDateTime {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_to_the_microsecond() {
        let time: UtcDateTime = "2026-11-22T12:30:00.123456789Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-22T12:30:00.123456Z");
        assert_eq!("2026-11-22T12:30:00+00:00".parse::<UtcDateTime>().unwrap().to_string(), "2026-11-22T12:30:00Z");
        assert_eq!(UtcDateTime::from_unix_micros(time.unix_micros()), Ok(time));
    }

    #[test]
    fn other_writings_and_other_zones_are_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22 12:30:00Z",
            "2026-11-22T12:30:00",
            "2026-11-22T12:30:00+01:00",
            "2026-11-22T12:30:00Z[UTC]",
            "2026-13-22T12:30:00Z",
            "2026-11-22T25:30:00Z",
            "+002026-11-22T12:30:00Z",
            "-000001-11-22T12:30:00Z",
            "0000-01-01T00:00:00Z",
            "1763814600",
        ] {
            assert!(text.parse::<UtcDateTime>().is_err(), "{text}");
        }
    }
}
