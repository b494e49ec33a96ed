//! The name under which a leaderboard shows a user.

/// A name of 1 to 100 characters on one line, without space around it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// A text that is not a user's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user's name has 1 to {} characters, all of them on one line, and no space around", UserName::MAX_CHARACTERS)]
pub struct UserNameError;

impl UserName {
    /// The most characters of a name.
    pub const MAX_CHARACTERS: usize = 100;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserName {
    type Error = UserNameError;

    fn try_from(text: String) -> Result<Self, UserNameError> {
        let length_fits = (1..=Self::MAX_CHARACTERS).contains(&text.chars().count());
        // Line separators, and what turns the direction of the text around it.
        let is_disruptive = |character: char| {
            character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        if length_fits && text.trim() == text && !text.contains(is_disruptive) { Ok(Self(text)) } else { Err(UserNameError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_of_at_most_100_characters() {
        for name in ["A", "Ольга Иванова", "田中さん", "<b>Bob</b>", &"é".repeat(100)] {
            assert_eq!(UserName::try_from(name.to_owned()).unwrap().as_str(), name);
        }
        for name in ["", " ", " A", "A ", "A\nB", "A\0", "A\u{2028}B", "\u{202e}evil", &"é".repeat(101)] {
            assert_eq!(UserName::try_from(name.to_owned()), Err(UserNameError), "{name:?}");
        }
    }
}
