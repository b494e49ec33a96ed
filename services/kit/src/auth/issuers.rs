//! Tokens of the issuers that the group names: JWTs (RFC 7519), verified with the key sets in the configuration, as RFC 8725 asks
//! for. A key is used with one algorithm, which the configuration says and the token must name; what else a token says of keys
//! (`jku`, `jwk`, `x5u`) is not looked at.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::SignedDuration;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};
use tenantry_contract::{AuthConfiguration, Curve, KeyType, PublicKey, ScopeClaim, SigningAlgorithm, TokenIssuer};

use super::{Principal, Scopes, TokenFault};
use crate::time::UtcDateTime;

/// By how many seconds the clocks of an issuer and of this process may differ.
pub(super) const LEEWAY: u64 = 30;
/// The longest user id.
const MAX_USER_ID: usize = 200;

/// An issuer in the configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct IssuerError {
    /// Where in the configuration: a JSON Pointer below `/auth`.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

/// The issuers whose tokens are accepted, by name.
#[derive(Debug, Default)]
pub struct TrustedIssuers(HashMap<String, Trusted>);

#[derive(Debug)]
struct Trusted {
    name: Arc<str>,
    /// By `kid`.
    keys: HashMap<String, VerificationKey>,
    user_id_claim: String,
    scope_claim: ScopeClaim,
}

#[derive(Debug)]
struct VerificationKey {
    key: DecodingKey,
    algorithm: Algorithm,
    validation: Validation,
}

/// What is read of a token before its signature is verified: which keys to verify it with.
#[derive(Debug, Deserialize)]
struct Claimed {
    iss: String,
}

impl TrustedIssuers {
    /// The issuers of a configuration.
    ///
    /// # Errors
    /// When an issuer or a key stands there twice, or a key is not what it says that it is.
    pub fn new(configuration: &AuthConfiguration) -> Result<Self, IssuerError> {
        let mut issuers = HashMap::new();
        for (index, issuer) in configuration.issuers.iter().enumerate() {
            let pointer = format!("/issuers/{index}");
            let trusted = Trusted::new(issuer, &pointer)?;
            if issuers.insert(issuer.issuer.clone(), trusted).is_some() {
                return Err(IssuerError {
                    pointer,
                    message: "this issuer stands above already: give all its audiences and keys there".into(),
                });
            }
        }
        Ok(Self(issuers))
    }

    /// The issuer that a token says it is from, unverified; whether that is so is for [`Self::authenticate`] to find out.
    pub(super) fn claimed_issuer(token: &str) -> Result<String, TokenFault> {
        // what has no algorithm, or `none`, ends here
        decode_header(token).map_err(|_| TokenFault::Unreadable)?;
        Ok(dangerous::insecure_decode_claims::<Claimed>(token).map_err(|_| TokenFault::Claims)?.iss)
    }

    /// Who a token is for, once it is verified.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn authenticate(&self, token: &str) -> Result<Principal, TokenFault> {
        let issuer = Self::claimed_issuer(token)?;
        self.0.get(&issuer).ok_or(TokenFault::UnknownIssuer)?.authenticate(token)
    }
}

impl Trusted {
    fn new(issuer: &TokenIssuer, pointer: &str) -> Result<Self, IssuerError> {
        if issuer.audiences.is_empty() {
            return Err(IssuerError { pointer: format!("{pointer}/audiences"), message: "an issuer needs at least one audience".into() });
        }
        let mut keys = HashMap::new();
        for (index, key) in issuer.jwks.keys.iter().enumerate() {
            let wrong = |message: String| IssuerError { pointer: format!("{pointer}/jwks/keys/{index}"), message };
            let verification = VerificationKey::new(key, issuer).map_err(wrong)?;
            if keys.insert(key.kid.clone(), verification).is_some() {
                return Err(wrong("a key with this kid stands above already".into()));
            }
        }
        let TokenIssuer { issuer, user_id_claim, scope_claim, .. } = issuer;
        Ok(Self { name: issuer.as_str().into(), keys, user_id_claim: user_id_claim.clone(), scope_claim: *scope_claim })
    }

    fn authenticate(&self, token: &str) -> Result<Principal, TokenFault> {
        let header = decode_header(token).map_err(|_| TokenFault::Unreadable)?;
        if header.crit.is_some() {
            return Err(TokenFault::Critical);
        }
        let kid = header.kid.ok_or(TokenFault::NoKeyId)?;
        let key = self.keys.get(&kid).ok_or(TokenFault::UnknownKey)?;
        if header.alg != key.algorithm {
            return Err(TokenFault::Algorithm);
        }
        let claims = decode::<Map<String, Value>>(token, &key.key, &key.validation).map_err(|error| fault(error.kind()))?.claims;
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| is_name(subject)).ok_or(TokenFault::Claims)?;
        Ok(Principal::Issued {
            issuer: Arc::clone(&self.name),
            subject: subject.to_owned(),
            user_id: claims.get(&self.user_id_claim).and_then(user_id),
            scopes: self.scopes(&claims),
            expires_at: claims.get("exp").and_then(expiry).ok_or(TokenFault::Claims)?,
        })
    }

    fn scopes(&self, claims: &Map<String, Value>) -> Scopes {
        let claim = match self.scope_claim {
            ScopeClaim::Scope => "scope",
            ScopeClaim::Scp => "scp",
        };
        scopes(claims.get(claim).unwrap_or(&Value::Null))
    }
}

impl VerificationKey {
    fn new(key: &PublicKey, issuer: &TokenIssuer) -> Result<Self, String> {
        let algorithm = algorithm(key)?;
        let member = |value: &'_ Option<String>, name: &str| value.clone().ok_or_else(|| format!("the key lacks its member {name}"));
        let decoding = match key.kty {
            KeyType::Rsa => DecodingKey::from_rsa_components(&member(&key.n, "n")?, &member(&key.e, "e")?),
            KeyType::EllipticCurve => DecodingKey::from_ec_components(&member(&key.x, "x")?, &member(&key.y, "y")?),
            KeyType::OctetKeyPair => DecodingKey::from_ed_components(&member(&key.x, "x")?),
        };
        let key = decoding.map_err(|_| "the key's members are not base64url without padding".to_owned())?;
        Ok(Self { key, algorithm, validation: validation(algorithm, &issuer.issuer, &issuer.audiences) })
    }
}

/// The rules for tokens of one key.
pub(super) fn validation(algorithm: Algorithm, issuer: &str, audiences: &[String]) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY;
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer]);
    validation.set_audience(audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

/// The one algorithm of a key.
fn algorithm(key: &PublicKey) -> Result<Algorithm, String> {
    use SigningAlgorithm as Said;
    let by_default = match (key.kty, key.crv) {
        (KeyType::Rsa, None) => Said::RS256,
        (KeyType::EllipticCurve, Some(Curve::P256)) => Said::ES256,
        (KeyType::EllipticCurve, Some(Curve::P384)) => Said::ES384,
        (KeyType::OctetKeyPair, Some(Curve::Ed25519)) => Said::EdDSA,
        (kty, crv) => return Err(format!("a key of kty {kty:?} does not go with crv {crv:?}")),
    };
    let algorithm = match (key.kty, key.alg.unwrap_or(by_default)) {
        (KeyType::Rsa, Said::RS256) => Algorithm::RS256,
        (KeyType::Rsa, Said::RS384) => Algorithm::RS384,
        (KeyType::Rsa, Said::RS512) => Algorithm::RS512,
        (KeyType::Rsa, Said::PS256) => Algorithm::PS256,
        (KeyType::Rsa, Said::PS384) => Algorithm::PS384,
        (KeyType::Rsa, Said::PS512) => Algorithm::PS512,
        (KeyType::EllipticCurve, Said::ES256) if by_default == Said::ES256 => Algorithm::ES256,
        (KeyType::EllipticCurve, Said::ES384) if by_default == Said::ES384 => Algorithm::ES384,
        (KeyType::OctetKeyPair, Said::EdDSA) => Algorithm::EdDSA,
        (kty, alg) => return Err(format!("the algorithm {alg:?} does not go with kty {kty:?} and this curve: leave alg out")),
    };
    Ok(algorithm)
}

/// What an error of the library says of the token.
pub(super) fn fault(kind: &ErrorKind) -> TokenFault {
    match kind {
        ErrorKind::ExpiredSignature => TokenFault::Expired,
        ErrorKind::ImmatureSignature => TokenFault::NotYetValid,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::InvalidIssuer => TokenFault::UnknownIssuer,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::MissingAlgorithm => TokenFault::Algorithm,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) => {
            TokenFault::Claims
        }
        ErrorKind::InvalidToken | ErrorKind::Base64(_) => TokenFault::Unreadable,
        // a key that is none fails here too: to the caller it is the same
        _ => TokenFault::Signature,
    }
}

/// Scopes as a text with spaces between them, or as a list; of anything else, none.
pub(super) fn scopes(claim: &Value) -> Scopes {
    match claim {
        Value::String(text) => text.split(' ').collect(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Scopes::default(),
    }
}

/// The claim `exp`: seconds, which may have a fraction; beyond the last time there is, that time.
fn expiry(claim: &Value) -> Option<UtcDateTime> {
    // A fraction, and what is beyond i64, is cut off by the cast.
    let seconds = claim.as_i64().or_else(|| claim.as_f64().map(|seconds| seconds as i64))?;
    Some(UtcDateTime::from_unix_micros(0).ok()?.saturating_add(SignedDuration::from_secs(seconds)))
}

/// A user id, as a text or a whole number; of anything else, none.
fn user_id(claim: &Value) -> Option<String> {
    let text = match claim {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
        _ => return None,
    };
    (is_name(&text) && text.len() <= MAX_USER_ID).then_some(text)
}

/// Whether a text can name somebody in logs and tables, to which a zero byte or a new line would be something else.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}
