//! Who calls. An [`Authenticator`] turns a request's headers into a [`Principal`] or refuses; which operations need one is
//! decided in [`crate::http::Operations`]. Today there is the slot's static bearer token; tokens by issuer come as another
//! authenticator.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;

use crate::credentials::{CredentialError, CredentialFile, Secret};
use crate::problem::{Problem, UNAUTHENTICATED};

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Principal {
    /// A holder of the slot's static token.
    SlotToken,
}

/// Why a request was not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request carries no credential.
    #[error("send the slot's token in the header `Authorization: Bearer <token>`")]
    Missing,
    /// The header is not `Bearer <token>`.
    #[error("the Authorization header is not of the form `Bearer <token>`")]
    Malformed,
    /// The credential is not valid here.
    #[error("the token is not valid in this slot")]
    Invalid,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let challenge = match refusal {
            Refusal::Missing => "Bearer realm=\"tenantry\"",
            Refusal::Malformed => "Bearer realm=\"tenantry\", error=\"invalid_request\"",
            Refusal::Invalid => "Bearer realm=\"tenantry\", error=\"invalid_token\"",
        };
        Problem::new(UNAUTHENTICATED, refusal.to_string()).with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }
}

/// Decides who a request comes from.
pub trait Authenticator: Send + Sync + 'static {
    /// The principal of a request with these headers, or why there is none.
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Principal, Refusal>>;
}

/// For processes without an authenticated operation: refuses everybody.
#[derive(Debug)]
pub struct Nobody;

impl Authenticator for Nobody {
    fn authenticate<'a>(&'a self, _: &'a HeaderMap) -> BoxFuture<'a, Result<Principal, Refusal>> {
        Box::pin(async { Err(Refusal::Invalid) })
    }
}

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

    fn matches(&self, token: &str) -> bool {
        self.reload_if_older_than(Self::RELOAD_INTERVAL);
        same(&self.file.current(), token) || (self.reload_if_older_than(Self::RELOAD_ON_MISMATCH) && same(&self.file.current(), token))
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

/// The token of `Authorization: Bearer <token>`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Refusal::Missing)?;
    let text = value.to_str().map_err(|_| Refusal::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::Malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

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
