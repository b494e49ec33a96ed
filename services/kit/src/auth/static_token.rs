//! The slot's static bearer token, which the operator makes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::{Authenticator, Principal, Refusal, bearer};
use crate::credentials::{CredentialError, CredentialFile, Secret};

/// The slot's static bearer token, from a file. It is read again every [`StaticToken::RELOAD_INTERVAL`] while requests
/// come, and at once (but at most every second) when a token does not match: a rotated token works on its first use.
#[derive(Debug)]
pub struct StaticToken {
    file: CredentialFile,
    last_read: Mutex<Instant>,
}

impl StaticToken {
    /// How long a replaced token goes on working, at most, while requests come.
    pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
    const RELOAD_ON_MISMATCH: Duration = Duration::from_secs(1);

    /// Reads the token.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CredentialError> {
        Ok(Self { file: CredentialFile::open(path)?, last_read: Mutex::new(Instant::now()) })
    }

    /// Whether this is the token.
    pub(super) fn matches(&self, token: &str) -> bool {
        same(&self.current(), token) || (self.reload_if_older_than(Self::RELOAD_ON_MISMATCH) && same(&self.file.current(), token))
    }

    /// The token, at most [`Self::RELOAD_INTERVAL`] old.
    pub(super) fn current(&self) -> Arc<Secret> {
        self.reload_if_older_than(Self::RELOAD_INTERVAL);
        self.file.current()
    }

    /// Reads the file again if that is due, and says whether the token changed.
    fn reload_if_older_than(&self, age: Duration) -> bool {
        {
            let mut last_read = self.last_read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if last_read.elapsed() < age {
                return false;
            }
            *last_read = Instant::now();
        }
        self.file.reload().unwrap_or_else(|error| {
            tracing::warn!(%error, "the token goes on as it was");
            false
        })
    }
}

/// Compares in a time that does not depend on where the two differ.
fn same(secret: &Secret, token: &str) -> bool {
    secret.expose().as_bytes().ct_eq(token.as_bytes()).into()
}

impl Authenticator for StaticToken {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Principal, Refusal>> {
        let outcome = bearer(headers).and_then(|token| if self.matches(token) { Ok(Principal::SlotToken) } else { Err(Refusal::Invalid) });
        Box::pin(async { outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())])
    }

    async fn outcome(authorization: &str) -> Result<Principal, Refusal> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), "secret").unwrap();
        let token = StaticToken::open(directory.path().join("token")).unwrap();
        token.authenticate(&headers(authorization)).await
    }

    #[tokio::test]
    async fn the_token_is_accepted_whatever_the_case_of_the_scheme() {
        assert_eq!(outcome("Bearer secret").await, Ok(Principal::SlotToken));
        assert_eq!(outcome("bearer secret").await, Ok(Principal::SlotToken));
    }

    #[tokio::test]
    async fn another_token_and_another_scheme_are_refused() {
        assert_eq!(outcome("Bearer secre").await, Err(Refusal::Invalid));
        assert_eq!(outcome("Bearer secretsecret").await, Err(Refusal::Invalid));
        assert_eq!(outcome("Basic secret").await, Err(Refusal::Malformed));
        assert_eq!(outcome("Bearer").await, Err(Refusal::Malformed));
    }

    #[tokio::test]
    async fn a_rotated_token_works_on_its_first_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "old").unwrap();
        let token = StaticToken::open(&path).unwrap();
        std::fs::write(&path, "new").unwrap();
        *token.last_read.lock().unwrap() -= StaticToken::RELOAD_ON_MISMATCH;
        assert_eq!(token.authenticate(&headers("Bearer new")).await, Ok(Principal::SlotToken));
        assert_eq!(token.authenticate(&headers("Bearer old")).await, Err(Refusal::Invalid));
    }
}
