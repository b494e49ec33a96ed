//! An issuer of tokens, as a group's manifest names one: a key, its public half as a key set, and tokens right and wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jsonwebtoken::crypto;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

pub use jsonwebtoken::{Algorithm, EncodingKey};

/// The slow one to make is the same in every test. It protects nothing.
const RSA_KEY: &[u8] = include_bytes!("issuer/rsa.der");
/// PKCS #8 (RFC 5958) of private keys, up to the key itself.
const P256_PREFIX: &str = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
const P384_PREFIX: &str = "304e020100301006072a8648ce3d020106052b81040022043730350201010430";
const ED25519_PREFIX: &str = "302e020100300506032b657004220420";

/// A key that signs.
pub struct SigningKey {
    /// Its id.
    pub kid: String,
    /// The algorithm with which it signs.
    pub algorithm: Algorithm,
    /// The private key.
    pub private: EncodingKey,
}

impl SigningKey {
    /// A key that fits the algorithm.
    ///
    /// # Errors
    /// For an algorithm with a shared key.
    pub fn new(kid: &str, algorithm: Algorithm) -> Result<Self> {
        let private = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&pkcs8(P256_PREFIX, &rand::random::<[u8; 32]>())?),
            Algorithm::ES384 => {
                let secret = [rand::random::<[u8; 16]>(), rand::random(), rand::random()].concat();
                EncodingKey::from_ec_der(&pkcs8(P384_PREFIX, &secret)?)
            }
            Algorithm::EdDSA => EncodingKey::from_ed_der(&pkcs8(ED25519_PREFIX, &rand::random::<[u8; 32]>())?),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => anyhow::bail!("an issuer has a key of its own alone"),
            _ => EncodingKey::from_rsa_der(RSA_KEY),
        };
        Ok(Self { kid: kid.to_owned(), algorithm, private })
    }

    /// The public half, as a member of a key set.
    ///
    /// # Errors
    /// When the key is none.
    pub fn public(&self) -> Result<Value> {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.private, self.algorithm)?)?;
        jwk["kid"] = json!(self.kid);
        Ok(jwk)
    }

    /// A token with this header and these claims, signed with this algorithm, whatever the header says.
    ///
    /// # Errors
    /// When the key does not fit the algorithm.
    pub fn token(&self, header: &Value, claims: &Value) -> Result<String> {
        compact(header, claims, &self.private, self.algorithm)
    }
}

fn pkcs8(prefix: &str, key: &[u8]) -> Result<Vec<u8>> {
    Ok([HEXLOWER.decode(prefix.as_bytes())?, key.to_vec()].concat())
}

/// A token in its compact form (RFC 7515, section 3.1).
///
/// # Errors
/// When the key does not fit the algorithm.
pub fn compact(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> Result<String> {
    let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm)?;
    Ok(format!("{message}.{signature}"))
}

/// An issuer with one key and one audience.
pub struct Issuer {
    /// The claim `iss`.
    pub name: String,
    /// The claim `aud`.
    pub audience: String,
    /// Its key.
    pub key: SigningKey,
}

impl Issuer {
    /// An issuer that signs with this algorithm.
    ///
    /// # Errors
    /// For an algorithm with a shared key.
    pub fn new(name: &str, algorithm: Algorithm) -> Result<Self> {
        Ok(Self { name: name.to_owned(), audience: "shop".to_owned(), key: SigningKey::new("first", algorithm)? })
    }

    /// What a manifest and a configuration have in `auth`, with this issuer alone.
    ///
    /// # Errors
    /// When the key is none.
    pub fn auth(&self) -> Result<Value> {
        Ok(json!({ "issuers": [{
            "issuer": self.name,
            "audiences": [self.audience],
            "jwks": { "keys": [self.key.public()?] },
            "userIdClaim": "user_id",
            "scopeClaim": "scope",
        }] }))
    }

    /// The header of its tokens.
    pub fn header(&self) -> Value {
        json!({ "typ": "at+jwt", "alg": self.key.algorithm, "kid": self.key.kid })
    }

    /// The claims of a token that is valid for some minutes.
    pub fn claims(&self, scopes: &str) -> Value {
        json!({ "iss": self.name, "aud": self.audience, "sub": "ada", "exp": in_seconds(300), "user_id": "7", "scope": scopes })
    }

    /// A token that is valid for some minutes, with these scopes.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, scopes: &str) -> Result<String> {
        self.sign(&self.claims(scopes))
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        self.key.token(&self.header(), claims)
    }
}

/// Seconds of Unix time, so many from now.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(now).unwrap_or(i64::MAX).saturating_add(seconds)
}
