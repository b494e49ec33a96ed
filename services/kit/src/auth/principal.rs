//! Who a request comes from, and what that permits.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderValue, header};
use uuid::Uuid;

use super::{Refusal, Scope, Scopes};
use crate::problem::{INSUFFICIENT_SCOPE, Problem};
use crate::time::UtcDateTime;

/// Who a request comes from. A handler of an operation that needs a credential can extract it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Principal {
    /// A holder of the slot's static token, who may do everything.
    SlotToken,
    /// Whoever one of the group's issuers vouches for.
    Issued {
        /// The issuer.
        issuer: Arc<str>,
        /// The claim `sub`: who it is to the issuer.
        subject: String,
        /// Who it is to the application.
        user_id: Option<String>,
        /// What it permits.
        scopes: Scopes,
        /// When the token ends.
        expires_at: UtcDateTime,
    },
    /// A machine with an API key.
    ApiKey {
        /// The key's id.
        id: Uuid,
        /// What it permits.
        scopes: Scopes,
        /// When the key ends.
        expires_at: Option<UtcDateTime>,
    },
    /// A holder of a token for trials.
    Trial {
        /// Who made the token: a [`Principal::subject`].
        made_by: String,
        /// Whom it lets its holder be.
        user_id: Option<String>,
        /// What it permits.
        scopes: Scopes,
    },
}

impl Principal {
    /// Who it is, for records: unique among all kinds of principal.
    pub fn subject(&self) -> String {
        match self {
            Self::SlotToken => "slot-token".to_owned(),
            Self::Issued { issuer, subject, .. } => format!("{issuer}#{subject}"),
            Self::ApiKey { id, .. } => format!("api-key:{id}"),
            Self::Trial { made_by, .. } => format!("trial-token of {made_by}"),
        }
    }

    /// The user of the application that it is, if any.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::SlotToken | Self::ApiKey { .. } => None,
            Self::Issued { user_id, .. } | Self::Trial { user_id, .. } => user_id.as_deref(),
        }
    }

    /// Its scopes; none for a holder of the slot's token, who has all.
    pub fn scopes(&self) -> Option<&Scopes> {
        match self {
            Self::SlotToken => None,
            Self::Issued { scopes, .. } | Self::ApiKey { scopes, .. } | Self::Trial { scopes, .. } => Some(scopes),
        }
    }

    /// Whether it has the scope.
    pub fn has(&self, scope: Scope) -> bool {
        self.has_named(scope.name())
    }

    /// Whether it has the scope of this name.
    pub(crate) fn has_named(&self, scope: &str) -> bool {
        self.scopes().is_none_or(|scopes| scopes.contains(scope))
    }

    /// Refuses a principal that has none of the scopes.
    ///
    /// # Errors
    /// A problem that names them.
    pub fn require_any(&self, scopes: &[Scope]) -> Result<(), Problem> {
        if scopes.iter().any(|scope| self.has(*scope)) {
            return Ok(());
        }
        let names: Vec<&str> = scopes.iter().map(Scope::name).collect();
        let detail = format!("the credential lacks the scope {}: use one that has it", names.join(" or "));
        Err(insufficient_scope(scopes, detail))
    }
}

/// The refusal of a valid credential that does not permit what was asked, where one of `scopes` would.
pub fn insufficient_scope(scopes: &[Scope], detail: impl Into<String>) -> Problem {
    insufficient(&scopes.iter().map(Scope::name).collect::<Vec<_>>(), detail)
}

/// As [`insufficient_scope`], by the scopes' names.
pub(super) fn insufficient(scopes: &[&str], detail: impl Into<String>) -> Problem {
    // RFC 6750, section 3.1
    let challenge = format!("Bearer realm=\"tenantry\", error=\"insufficient_scope\", scope=\"{}\"", scopes.join(" "));
    let problem = Problem::new(INSUFFICIENT_SCOPE, detail);
    match HeaderValue::from_str(&challenge) {
        Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Refusal::Missing.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Scope = Scope::new("things:read", "Read things");
    const WRITE: Scope = Scope::new("things:write", "Change things");

    fn trial(scopes: &[&str]) -> Principal {
        Principal::Trial { made_by: "somebody".into(), user_id: None, scopes: scopes.iter().copied().collect() }
    }

    #[test]
    fn the_slots_token_has_every_scope_and_others_what_they_carry() {
        assert!(Principal::SlotToken.has(READ) && Principal::SlotToken.has(WRITE));
        assert!(trial(&["things:read", "openid"]).has(READ));
        assert!(!trial(&["things:read", "openid"]).has(WRITE));
        assert!(!trial(&["things:write things:read"]).has(READ));
    }

    #[test]
    fn a_missing_scope_is_named() {
        assert!(trial(&["things:read"]).require_any(&[READ, WRITE]).is_ok());
        let problem = trial(&["things"]).require_any(&[READ, WRITE]).unwrap_err();
        assert_eq!(problem.kind(), INSUFFICIENT_SCOPE);
        assert_eq!(problem.detail(), "the credential lacks the scope things:read or things:write: use one that has it");
    }
}
