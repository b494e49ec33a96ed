//! Why a request was not authenticated. A message says what is wrong with a credential, and never repeats any of it.

use http::{HeaderValue, header};

use super::MAX_CREDENTIAL;
use crate::problem::{Problem, UNAUTHENTICATED, UNAVAILABLE};

/// Why a request was not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request carries no credential.
    #[error("send a token, or an API key, in the header `Authorization: Bearer <token>`")]
    Missing,
    /// The header is not `Bearer <token>`.
    #[error("the Authorization header is not of the form `Bearer <token>`, once")]
    Malformed,
    /// The credential is longer than any that is valid.
    #[error("the token is longer than {} bytes: let the issuer leave out claims that nobody reads", MAX_CREDENTIAL)]
    TooLong,
    /// The credential is none that is valid here.
    #[error("the token is not valid in this slot")]
    Invalid,
    /// The API key is unknown, was revoked, or has expired.
    #[error("the API key is not valid here: it was never made, was revoked, or has expired")]
    ApiKey,
    /// A signed token is not valid.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// Whether an API key is valid cannot be told now.
    #[error("API keys cannot be looked up at the moment: send the request again")]
    Unavailable,
}

/// Why a signed token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It is no JWT, is not signed (`none`), or names an algorithm that nobody knows.
    #[error("the token cannot be read: it must be a JWT, signed, in its compact form")]
    Unreadable,
    /// Its issuer is not accepted here.
    #[error("the token's issuer is not one that this slot accepts (spec.auth of its resource group)")]
    UnknownIssuer,
    /// It does not name the key that it is signed with.
    #[error("the token does not name its key: its header needs a kid")]
    NoKeyId,
    /// It names a key that the issuer's set does not have.
    #[error(
        "the token is signed with a key that the issuer's key set in this slot does not have: get a new token, or add the key (spec.auth)"
    )]
    UnknownKey,
    /// It uses another algorithm than its key is for.
    #[error("the token is signed with another algorithm than its key is for")]
    Algorithm,
    /// It asks its reader to understand extensions that this one does not have.
    #[error("the token has critical extensions (crit), which are not understood here")]
    Critical,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its time is over.
    #[error("the token has expired: get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet (nbf)")]
    NotYetValid,
    /// It is for somebody else.
    #[error("the token is made for another audience (aud) than this slot")]
    Audience,
    /// A claim is missing, or has not the form that it must have.
    #[error("the token lacks a claim that it needs, or has it in another form: iss, aud, sub and exp are needed, times are numbers")]
    Claims,
}

impl Refusal {
    /// A constant for metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Invalid => "invalid",
            Self::ApiKey => "api_key",
            Self::Unavailable => "unavailable",
            Self::Token(fault) => match fault {
                TokenFault::Unreadable => "token_unreadable",
                TokenFault::UnknownIssuer => "token_issuer",
                TokenFault::NoKeyId | TokenFault::UnknownKey => "token_key",
                TokenFault::Algorithm => "token_algorithm",
                TokenFault::Critical => "token_critical",
                TokenFault::Signature => "token_signature",
                TokenFault::Expired => "token_expired",
                TokenFault::NotYetValid => "token_not_yet_valid",
                TokenFault::Audience => "token_audience",
                TokenFault::Claims => "token_claims",
            },
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let challenge = match refusal {
            Refusal::Unavailable => return Problem::new(UNAVAILABLE, refusal.to_string()).with_retry_after(1),
            Refusal::Missing => "Bearer realm=\"tenantry\"",
            Refusal::Malformed => "Bearer realm=\"tenantry\", error=\"invalid_request\"",
            Refusal::TooLong | Refusal::Invalid | Refusal::ApiKey | Refusal::Token(_) => {
                "Bearer realm=\"tenantry\", error=\"invalid_token\""
            }
        };
        Problem::new(UNAUTHENTICATED, refusal.to_string()).with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }
}
