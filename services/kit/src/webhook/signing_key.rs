//! The keys of a webhook, as files that change in place: read at every try.

use std::path::PathBuf;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::credentials::{self, CredentialError, Secret};

/// What a key's text may begin with.
const PREFIX: &str = "whsec_";
/// The lengths of a key in bytes.
const SHORTEST: usize = 24;
const LONGEST: usize = 64;

/// A key that sender and receiver share.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SigningKey(redacted)")
    }
}

/// Keys that cannot be used: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// A file is missing or cannot be read.
    #[error("the webhook cannot be signed: {0}")]
    File(#[from] CredentialError),
    /// A file holds no key.
    #[error(
        "the webhook cannot be signed: {} holds no key; write {SHORTEST} to {LONGEST} random bytes in base64, after {PREFIX} or without it",
        path.display()
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
}

/// The keys of one webhook: the files [`SigningKeys::FILE`] and, while keys change, [`SigningKeys::PREVIOUS_FILE`] of a directory.
#[derive(Debug, Clone)]
pub struct SigningKeys {
    directory: PathBuf,
}

impl SigningKeys {
    /// The file with the key.
    pub const FILE: &str = "key";
    /// The file with the former key, with which everything is signed too while it is there.
    pub const PREVIOUS_FILE: &str = "previous-key";

    /// The keys in `directory`, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The keys as they are now, at least one.
    ///
    /// # Errors
    /// When the key is missing, or a file that is there holds none.
    pub fn read(&self) -> Result<Vec<SigningKey>, SigningKeyError> {
        let (path, previous) = (self.directory.join(Self::FILE), self.directory.join(Self::PREVIOUS_FILE));
        let mut keys = vec![parse(&credentials::read(&path)?, path)?];
        if let Some(text) = credentials::read_if_present(&previous)? {
            keys.push(parse(&text, previous)?);
        }
        Ok(keys)
    }
}

fn parse(text: &Secret, path: PathBuf) -> Result<SigningKey, SigningKeyError> {
    SigningKey::parse(text.expose()).ok_or(SigningKeyError::NoKey { path })
}

impl SigningKey {
    fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.strip_prefix(PREFIX).unwrap_or(text).as_bytes()).ok()?;
        (SHORTEST..=LONGEST).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The signature of a message: `v1,<base64>`.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the libraries of Standard Webhooks.
    #[test]
    fn a_signature_is_the_one_that_receivers_compute() {
        let key = SigningKey::parse(KEY).unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_is_24_to_64_bytes_in_base64() {
        assert!(SigningKey::parse(KEY.strip_prefix(PREFIX).unwrap()).is_some());
        for (bytes, is_key) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(SigningKey::parse(&BASE64.encode(&vec![7; bytes])).is_some(), is_key, "{bytes}");
        }
        for text in ["", "whsec_", "not base64", "whsec_whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(SigningKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn keys_are_read_as_they_are_and_errors_do_not_show_them() {
        let directory = tempfile::tempdir().unwrap();
        let keys = SigningKeys::new(directory.path().join("webhook"));
        assert!(keys.read().unwrap_err().to_string().contains("webhook/key"));
        std::fs::create_dir(directory.path().join("webhook")).unwrap();
        let write = |file: &str, text: &str| std::fs::write(directory.path().join("webhook").join(file), text).unwrap();
        write("key", "no key, but secret");
        let error = keys.read().unwrap_err().to_string();
        assert!(error.contains("webhook/key") && error.contains("24 to 64") && !error.contains("but secret"), "{error}");
        write("key", &format!("{KEY}\n"));
        assert_eq!(keys.read().unwrap().len(), 1);
        write("previous-key", KEY);
        assert_eq!(keys.read().unwrap().len(), 2);
        write("previous-key", "");
        assert!(keys.read().unwrap_err().to_string().contains("previous-key"));
    }
}
