//! Items of the shop's catalogue: what campaigns are for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::ItemId;

/// An item's name for people: 1 to 200 characters, not only spaces, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemName(String);

/// A text that cannot be an item's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an item's name has 1 to {max} characters, not only spaces, and no control characters", max = ItemName::MAX_CHARACTERS)]
pub struct ItemNameError;

impl ItemName {
    /// The longest that a name may be.
    pub const MAX_CHARACTERS: usize = 200;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ItemName {
    type Err = ItemNameError;

    fn from_str(text: &str) -> Result<Self, ItemNameError> {
        let is_name = !text.trim().is_empty() && text.chars().count() <= Self::MAX_CHARACTERS && !text.chars().any(char::is_control);
        if is_name { Ok(Self(text.to_owned())) } else { Err(ItemNameError) }
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ItemName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its identity in the shop.
    pub id: ItemId,
    /// Its name for people.
    pub name: ItemName,
    /// Grows with every change of it.
    pub version: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_line_of_text() {
        assert_eq!("Grüne Äpfel, 1 kg".parse::<ItemName>().unwrap().as_str(), "Grüne Äpfel, 1 kg");
        for text in ["", "  ", "two\nlines", &"x".repeat(201)] {
            assert_eq!(text.parse::<ItemName>(), Err(ItemNameError), "{text:?}");
        }
        assert!("ä".repeat(200).parse::<ItemName>().is_ok());
    }
}
