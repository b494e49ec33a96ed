//! What a webhook's sender is given: files in one directory that change in place, read at every try.

use std::path::PathBuf;

use super::{Authorities, AuthoritiesError, SigningKeyError, SigningKeys};

/// A credential that cannot be used: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum WebhookCredentialError {
    /// It has no key to sign with.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// The receiver could not be verified with its authorities.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
}

/// With what messages are signed, and by whose certificates their receiver is known.
#[derive(Debug, Clone)]
pub struct WebhookCredential {
    pub(super) keys: SigningKeys,
    pub(super) authorities: Authorities,
}

impl WebhookCredential {
    /// The files without which it cannot be used.
    pub const FILES: [&str; 1] = [SigningKeys::FILE];
    /// The files that it may have beside those.
    pub const OPTIONAL_FILES: [&str; 2] = [SigningKeys::PREVIOUS_FILE, Authorities::FILE];

    /// The credential in `directory`, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self { keys: SigningKeys::new(&directory), authorities: Authorities::new(directory) }
    }

    /// Whether it can be used as it is now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), WebhookCredentialError> {
        self.keys.read()?;
        self.authorities.read()?;
        Ok(())
    }
}
