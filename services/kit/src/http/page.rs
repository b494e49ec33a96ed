//! Lists come in pages: at most so many, after a key that the last page named.

use serde::{Deserialize, Deserializer, de};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// How many a page has at most: what the caller asks for, from 1 to `MAX`; `DEFAULT` if he does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit<const DEFAULT: u32, const MAX: u32>(u32);

impl<const DEFAULT: u32, const MAX: u32> PageLimit<DEFAULT, MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const DEFAULT: u32, const MAX: u32> Default for PageLimit<DEFAULT, MAX> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: u32, const MAX: u32> Deserialize<'de> for PageLimit<DEFAULT, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = || de::Error::custom(format!("limit is a number from 1 to {MAX}"));
        let text = String::deserialize(deserializer)?;
        let limit = text.parse().ok().filter(|limit| (1..=MAX).contains(limit));
        limit.map(Self).ok_or_else(refused)
    }
}

impl<const DEFAULT: u32, const MAX: u32> PartialSchema for PageLimit<DEFAULT, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(1))
            .maximum(Some(MAX))
            .default(Some(DEFAULT.into()))
            .into()
    }
}

impl<const DEFAULT: u32, const MAX: u32> ToSchema for PageLimit<DEFAULT, MAX> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_within_its_bounds() {
        let limit = |text: &str| serde_json::from_value::<PageLimit<20, 100>>(text.into()).map(PageLimit::get);
        assert_eq!(limit("1").unwrap(), 1);
        assert_eq!(limit("100").unwrap(), 100);
        for text in ["0", "101", "-1", "ten", "", "99999999999"] {
            assert!(limit(text).unwrap_err().to_string().contains("from 1 to 100"), "{text}");
        }
        assert_eq!(PageLimit::<20, 100>::default().get(), 20);
    }
}
