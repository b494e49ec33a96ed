//! The parts of a statement that cannot be parameters: identifiers and literals, quoted by their type alone.

use std::fmt;

use tenantry_plan::reasons;

use crate::error::Failure;

/// The longest identifier: PostgreSQL cuts longer ones silently.
const LONGEST: usize = 63;

/// A name of a database, role or schema. `Display` quotes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identifier(String);

impl Identifier {
    /// Takes the names that the plan makes: lower-case letters, digits, `_` and `-`, at most 63 bytes.
    ///
    /// # Errors
    /// For any other name, which is a bug of the plan: it is refused before it reaches a statement.
    pub fn parse(name: &str) -> Result<Self, Failure> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(allowed) {
            return Err(Failure::new(reasons::POSTGRES_NAME_REFUSED, format!("{name:?} is not a name that Tenantry gives in PostgreSQL")));
        }
        Ok(Self(name.to_owned()))
    }

    /// Takes several names.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_all(names: &[String]) -> Result<Vec<Self>, Failure> {
        names.iter().map(|name| Self::parse(name)).collect()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0)
    }
}

/// A string constant. `Display` quotes it; `Debug` hides it, since a verifier may be in it.
pub struct Literal<'a>(pub &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With a backslash the escape form, so that the server's `standard_conforming_strings` does not matter.
        let prefix = if self.0.contains('\\') { " E" } else { "" };
        write!(formatter, "{prefix}'{}'", self.0.replace('\\', "\\\\").replace('\'', "''").replace('\0', ""))
    }
}

impl fmt::Debug for Literal<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Literal(***)")
    }
}

/// Identifiers as a list.
pub fn list(identifiers: &[Identifier]) -> String {
    identifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_plan_makes_are_identifiers() {
        assert_eq!(Identifier::parse("tabc_my-service_a").unwrap().to_string(), "\"tabc_my-service_a\"");
        for refused in ["", "a\"b", "A", "a b", "a;b", "ä", &"x".repeat(64)] {
            assert!(Identifier::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(Literal("it's").to_string(), "'it''s'");
        assert_eq!(Literal("a\\'; DROP").to_string(), " E'a\\\\''; DROP'");
    }
}
