//! An API key as text: `tk_<id>_<secret>`. The prefix makes it recognisable, to people and to programs that look for secrets in
//! places where none should be; the id tells in lists and records which key it was; the secret is 256 random bits.
//!
//! What is stored is the secret's SHA-256. Slow hashes protect secrets that can be guessed; 256 random bits cannot be, whatever
//! the speed of the hash.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::credentials::Secret;

const PREFIX: &str = "tk_";
const SECRET_BYTES: usize = 32;
const SECRET_DIGITS: usize = 43;
const ID_DIGITS: usize = 32;

/// An id with a secret.
pub(super) struct ApiKey {
    pub(super) id: Uuid,
    secret: [u8; SECRET_BYTES],
}

impl ApiKey {
    /// A key that nobody has.
    pub(super) fn generate() -> Self {
        // rand's generator of the thread is a cryptographic one, seeded by the operating system
        Self { id: Uuid::now_v7(), secret: rand::random() }
    }

    /// Whether a text claims to be a key.
    pub(super) fn is_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads a key; none when it has not the one form that keys have.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, text) = text.strip_prefix(PREFIX)?.split_once('_')?;
        // Base64 has one form for each secret, an id several.
        if id.len() != ID_DIGITS || id.bytes().any(|digit| digit.is_ascii_uppercase()) || text.len() != SECRET_DIGITS {
            return None;
        }
        let mut secret = [0; SECRET_BYTES];
        BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut secret).ok()?;
        Some(Self { id: Uuid::try_parse(id).ok()?, secret })
    }

    /// The text.
    pub(super) fn text(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}_{}", self.id.simple(), BASE64URL_NOPAD.encode(&self.secret)))
    }

    /// What is stored of the secret.
    pub(super) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.secret).to_vec()
    }

    /// Whether this is the secret of which `hash` was stored, in a time that does not depend on where they differ.
    pub(super) fn has_hash(&self, hash: &[u8]) -> bool {
        Sha256::digest(self.secret).as_slice().ct_eq(hash).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_read_back_and_known_by_its_hash() {
        let (key, other) = (ApiKey::generate(), ApiKey::generate());
        let text = key.text();
        assert_eq!(text.expose().len(), 3 + 32 + 1 + 43);
        let read = ApiKey::parse(text.expose()).unwrap();
        assert_eq!(read.id, key.id);
        assert!(read.has_hash(&key.hash()) && !read.has_hash(&other.hash()) && !read.has_hash(&[]));
        assert!(!format!("{text:?}").contains(text.expose()));
    }

    proptest! {
        #[test]
        fn a_key_has_one_form_and_any_change_makes_it_none_or_another(at in 0_usize..79, to in "[ -~]") {
            let key = ApiKey::generate();
            let mut text = key.text().expose().to_owned();
            prop_assume!(text[at..=at] != to);
            text.replace_range(at..=at, &to);
            let changed = ApiKey::parse(&text);
            prop_assert!(changed.is_none_or(|changed| changed.id != key.id || !changed.has_hash(&key.hash())));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "(tk_)?.{0,100}") {
            ApiKey::parse(&text);
        }
    }
}
