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

    /// How many rows to read for a page: one more than it has, which tells whether the list goes on.
    #[must_use]
    pub fn rows(self) -> u32 {
        self.0 + 1
    }

    /// Of what was read, as many rows as [`Self::rows`] says, what the page has; and the key of its last row if the list goes on.
    pub fn page<T, K>(self, mut rows: Vec<T>, key: impl FnOnce(&T) -> K) -> (Vec<T>, Option<K>) {
        let goes_on = rows.len() > self.0 as usize;
        rows.truncate(self.0 as usize);
        let next = rows.last().filter(|_| goes_on).map(key);
        (rows, next)
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
    fn a_page_names_its_last_row_if_the_list_goes_on() {
        let limit = PageLimit::<2, 100>::default();
        let page = |rows: &[i32]| limit.page(rows.to_vec(), |row| row * 10);
        assert_eq!(limit.rows(), 3);
        assert_eq!(page(&[]), (vec![], None));
        assert_eq!(page(&[1, 2]), (vec![1, 2], None));
        assert_eq!(page(&[1, 2, 3]), (vec![1, 2], Some(20)));
    }

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
