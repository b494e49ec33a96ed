//! Who calls, and what they may do. An [`Authenticator`] turns a request's headers into a [`Principal`] or refuses; which scopes
//! an operation needs is decided in [`crate::http::Operations`].
//!
//! A slot accepts four kinds of credential ([`SlotAuthenticator`]): its static token ([`StaticToken`]), which the operator makes and
//! which may do everything; tokens of the issuers that its group names ([`TrustedIssuers`]); API keys for machines ([`ApiKeys`]); and
//! tokens for trials ([`TrialTokens`]), which end within the hour. The last two are made by operations of the service itself
//! ([`crate::http::Operations::issuing_credentials`]).

mod api_key;
mod api_keys;
mod issuance;
mod issuers;
mod operations;
mod principal;
mod refusal;
mod scope;
mod slot;
mod static_token;
mod trial;
mod validity;

use futures::future::BoxFuture;
use http::{HeaderMap, header};

pub use api_keys::{ApiKeyError, ApiKeyRecord, ApiKeys, NewApiKey};
pub use issuance::Issuance;
pub use issuers::{IssuerError, TrustedIssuers};
pub(crate) use operations::routes;
pub use principal::{Principal, insufficient_scope};
pub use refusal::{Refusal, TokenFault};
pub use scope::{Scope, Scopes};
pub use slot::SlotAuthenticator;
pub use static_token::StaticToken;
pub use trial::{Trial, TrialTokens};
pub(crate) use validity::Judge;
pub use validity::Validity;

/// The longest credential, in bytes. Issuers' tokens have some hundred bytes to a few thousand.
pub const MAX_CREDENTIAL: usize = 8192;

/// Permits to make credentials. Whoever has it can act as any user, within the scopes that they have themselves.
pub const KEYS_MANAGE: Scope = Scope::new(
    "keys:manage",
    "make, list and revoke API keys, and make tokens for trials, also in the name of any user; for administrators",
);

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

/// The token of `Authorization: Bearer <token>`; the scheme's case does not matter (RFC 9110, 11.1). A request with two such
/// headers is refused: what stands before the service may have looked at the other.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Malformed);
    }
    if value.len() > "Bearer ".len() + MAX_CREDENTIAL {
        return Err(Refusal::TooLong);
    }
    let text = value.to_str().map_err(|_| Refusal::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::Malformed);
    }
    Ok(token)
}
