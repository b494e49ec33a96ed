//! Tokens for trials: made by a service for people who try its API, valid at once on all its replicas and at most an hour. They
//! are JWTs signed with a key that is derived from the slot's static token, so that nothing has to be stored, and a rotation of
//! that token ends them all.

use std::sync::Arc;
use std::time::Duration;

use hkdf::Hkdf;
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, decode, encode};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tenantry_contract::Identity;
use uuid::Uuid;

use super::issuers::{fault, scopes, validation};
use super::{Principal, Scopes, StaticToken, TokenFault};
use crate::credentials::Secret;
use crate::time::UtcDateTime;

/// The claim `iss`, which no issuer of a group may have.
pub(super) const ISSUER: &str = "urn:tenantry:trial";

/// What a token for trials is to permit.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Who asks for it: a [`Principal::subject`].
    pub made_by: String,
    /// Whom it lets its holder be.
    pub user_id: Option<String>,
    /// What it permits.
    pub scopes: Scopes,
    /// How long it is valid: at most [`TrialTokens::LONGEST`].
    pub valid_for: Duration,
}

/// Makes and verifies tokens for trials.
#[derive(Debug)]
pub struct TrialTokens {
    static_token: Arc<StaticToken>,
    /// The claim `aud`: one service in one slot.
    audience: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    exp: i64,
    jti: Uuid,
    scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
}

impl TrialTokens {
    /// The longest that a token may be valid.
    pub const LONGEST: Duration = Duration::from_secs(3600);

    /// For the service of this identity, by the token of its slot.
    pub fn new(static_token: Arc<StaticToken>, identity: &Identity) -> Self {
        let Identity { group, slot, service, .. } = identity;
        Self { static_token, audience: format!("urn:tenantry:{group}:{slot}:{service}") }
    }

    /// Makes a token, and says when it ends.
    ///
    /// # Errors
    /// When it cannot be signed, which no input causes.
    pub fn make(&self, trial: Trial) -> Result<(Secret, UtcDateTime), jsonwebtoken::errors::Error> {
        let now = UtcDateTime::now();
        let end = now.saturating_add(SignedDuration::try_from(trial.valid_for.min(Self::LONGEST)).unwrap_or(SignedDuration::ZERO));
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: self.audience.clone(),
            sub: trial.made_by,
            iat: seconds(now),
            exp: seconds(end),
            jti: Uuid::now_v7(),
            scope: trial.scopes.to_string(),
            user_id: trial.user_id,
        };
        let token = encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&self.key()))?;
        Ok((Secret::new(token), end))
    }

    /// Who holds a token.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn authenticate(&self, token: &str) -> Result<Principal, TokenFault> {
        let mut validation = validation(Algorithm::HS256, ISSUER, std::slice::from_ref(&self.audience));
        // an hour is an hour: maker and reader are of one slot
        validation.leeway = 0;
        let key = DecodingKey::from_secret(&self.key());
        let claims = decode::<Claims>(token, &key, &validation).map_err(|error| fault(error.kind()))?.claims;
        Ok(Principal::Trial { made_by: claims.sub, user_id: claims.user_id, scopes: scopes(&claims.scope.into()) })
    }

    /// The key of now: another one for each static token and service.
    fn key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        let info = [b"tenantry trial token v1 ", self.audience.as_bytes()].concat();
        let secret = self.static_token.current();
        Hkdf::<Sha256>::new(None, secret.expose().as_bytes())
            .expand(&info, &mut key)
            .expect("32 bytes are far below 255 times the hash's length");
        key
    }
}

/// A JWT's times are whole seconds of Unix time.
fn seconds(time: UtcDateTime) -> i64 {
    time.unix_micros() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Slot {
        directory: tempfile::TempDir,
    }

    impl Slot {
        fn new(token: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("token"), token).unwrap();
            Self { directory }
        }

        /// The tokens of one replica.
        fn tokens(&self, slot: &str, service: &str) -> TrialTokens {
            let identity = Identity { group: "g".into(), slot: slot.into(), service: service.into(), release: "r".into() };
            TrialTokens::new(Arc::new(StaticToken::open(self.directory.path().join("token")).unwrap()), &identity)
        }
    }

    fn trial(valid_for: Duration) -> Trial {
        Trial { made_by: "slot-token".into(), user_id: Some("7".into()), scopes: ["a:read", "b"].into_iter().collect(), valid_for }
    }

    #[test]
    fn every_replica_of_the_service_takes_it_for_what_it_permits() {
        let slot = Slot::new("secret");
        let (token, _) = slot.tokens("dev", "campaigns").make(trial(TrialTokens::LONGEST)).unwrap();
        let principal = slot.tokens("dev", "campaigns").authenticate(token.expose()).unwrap();
        assert_eq!(principal.user_id(), Some("7"));
        assert_eq!(principal.scopes().unwrap().to_vec(), ["a:read", "b"]);
        assert_eq!(principal.subject(), "trial-token of slot-token");
    }

    #[test]
    fn another_slot_another_service_and_another_static_token_refuse_it() {
        let slot = Slot::new("secret");
        let (token, _) = slot.tokens("dev", "campaigns").make(trial(TrialTokens::LONGEST)).unwrap();
        for tokens in [slot.tokens("production", "campaigns"), slot.tokens("dev", "other"), Slot::new("rotated").tokens("dev", "campaigns")]
        {
            assert_eq!(tokens.authenticate(token.expose()), Err(TokenFault::Signature));
        }
    }

    #[test]
    fn it_is_valid_for_an_hour_at_most() {
        let slot = Slot::new("secret");
        let (_, end) = slot.tokens("dev", "campaigns").make(trial(Duration::from_secs(86_400))).unwrap();
        assert!(end.unix_micros() <= UtcDateTime::now().unix_micros() + 3_600_000_000);
    }
}
