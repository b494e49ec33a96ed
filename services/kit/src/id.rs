//! 64-bit identities. In JSON and in paths they are decimal strings, since a JavaScript number holds 53 bits only.

/// A text that is not an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is a decimal number from 1 to 9223372036854775807, as a string without sign or leading zeros")]
pub struct IdError;

/// Parses the one way in which an id is written: `[1-9][0-9]*`, at most `i64::MAX`.
///
/// # Errors
/// When the text has any other form.
pub fn parse(text: &str) -> Result<i64, IdError> {
    if text.len() > 19 || text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(IdError);
    }
    text.parse().map_err(|_| IdError)
}

/// Defines the identity of one kind of thing: a positive `i64` that is written as a decimal string.
#[macro_export]
macro_rules! define_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// Takes a positive number.
            ///
            /// # Errors
            /// When it is zero or negative.
            pub fn new(value: i64) -> Result<Self, $crate::id::IdError> {
                if value > 0 { Ok(Self(value)) } else { Err($crate::id::IdError) }
            }

            /// The number.
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::id::IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::id::parse(text).map(Self)
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::id::deserialize(deserializer).map(Self)
            }
        }

        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::schema::Schema> {
                $crate::id::schema()
            }
        }

        impl ::utoipa::ToSchema for $name {}
    };
}

/// For [`define_id`]: an id from a string, never from a number.
#[doc(hidden)]
pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct IdVisitor;
    impl serde::de::Visitor<'_> for IdVisitor {
        type Value = i64;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an id as a decimal string such as \"42\"")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<i64, E> {
            parse(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(IdVisitor)
}

/// For [`define_id`]: how an id is documented.
#[doc(hidden)]
pub fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .pattern(Some("^[1-9][0-9]{0,18}$"))
        .description(Some("A 64-bit identity as a decimal string."))
        .examples([serde_json::json!("42")])
        .into()
}

#[cfg(test)]
mod tests {
    define_id! {
        /// For the tests.
        ThingId
    }

    #[test]
    fn an_id_is_a_string_in_json() {
        let id: ThingId = serde_json::from_str("\"9223372036854775807\"").unwrap();
        assert_eq!(id.get(), i64::MAX);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"9223372036854775807\"");
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "42",
            "\"\"",
            "\"0\"",
            "\"-1\"",
            "\"+1\"",
            "\"01\"",
            "\"1.0\"",
            "\"1e3\"",
            "\" 1\"",
            "\"9223372036854775808\"",
            "\"٣\"",
            "null",
        ] {
            assert!(serde_json::from_str::<ThingId>(text).is_err(), "{text}");
        }
        assert!(ThingId::new(0).is_err() && ThingId::new(-1).is_err());
    }
}
