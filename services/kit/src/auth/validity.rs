//! How long the credential of a request stays valid: for answers that go on after the request, which must not outlive it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use jiff::SignedDuration;

use super::issuers::LEEWAY;
use super::{Authenticator, Principal, Refusal};
use crate::problem::Problem;
use crate::time::UtcDateTime;

/// Between two looks at a credential. What revokes one takes effect later by this, for answers that go on.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks at the clock: it may be set, and a machine may sleep.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// Who judges credentials, as handlers find it beside the [`Principal`].
#[derive(Clone)]
pub(crate) struct Judge(pub(crate) Arc<dyn Authenticator>);

/// How long the credential of a request stays valid. A handler whose answer goes on after the request extracts it, and ends the answer when
/// [`Self::ended`] does.
#[must_use]
pub struct Validity {
    judge: Judge,
    principal: Principal,
    /// What the credential is in.
    headers: HeaderMap,
}

impl Validity {
    /// Waits until a request with this credential would be refused: it has expired, was revoked, or was replaced. Also ends when that cannot be
    /// told, since the database does not answer.
    pub async fn ended(self) {
        match &self.principal {
            // The keys that it was verified with stay the same as long as the process: the clock alone can end it.
            Principal::Issued { expires_at, .. } => until_refused(*expires_at).await,
            _ => {
                while self.judge.0.authenticate(&self.headers).await.as_ref() == Ok(&self.principal) {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            }
        }
    }
}

/// A token is judged by whole seconds, and refused once more than the leeway has passed.
async fn until_refused(expires_at: UtcDateTime) {
    let refused_from = expires_at.saturating_add(SignedDuration::from_secs(LEEWAY as i64 + 1)).unix_micros();
    while let Ok(left) = u64::try_from(refused_from - UtcDateTime::now().unix_micros())
        && left > 0
    {
        tokio::time::sleep(Duration::from_micros(left).min(CLOCK_INTERVAL)).await;
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Validity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get().cloned().ok_or(Refusal::Missing)?;
        let judge = parts.extensions.get().cloned().ok_or(Refusal::Missing)?;
        let credential = parts.headers.get(header::AUTHORIZATION).cloned().ok_or(Refusal::Missing)?;
        Ok(Self { judge, principal, headers: HeaderMap::from_iter([(header::AUTHORIZATION, credential)]) })
    }
}
