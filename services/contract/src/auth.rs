//! Whose tokens a service accepts. The key sets are in the configuration itself: from inside a slot no issuer is reachable.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose tokens a service accepts, beside the credentials of its own slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthConfiguration {
    /// The issuers, each once.
    pub issuers: Vec<TokenIssuer>,
}

/// Who makes tokens, and how they are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenIssuer {
    /// The claim `iss` of its tokens, to the letter.
    pub issuer: String,
    /// A token has at least one of these in its claim `aud`.
    pub audiences: Vec<String>,
    /// The public keys with which its tokens are verified.
    pub jwks: KeySet,
    /// The claim with the user's id in the application.
    pub user_id_claim: String,
    /// The claim with the scopes.
    pub scope_claim: ScopeClaim,
}

/// The claim in which an issuer writes scopes: text with spaces between them, or a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ScopeClaim {
    /// `scope`, as in RFC 9068.
    #[default]
    Scope,
    /// `scp`, as some issuers have it.
    Scp,
}

/// Public keys (RFC 7517, section 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeySet {
    /// The keys, each with a `kid` of its own.
    pub keys: Vec<PublicKey>,
}

/// A public key (RFC 7517, RFC 7518, RFC 8037), with the members by which signatures are verified and no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// What kind of key it is.
    pub kty: KeyType,
    /// Its id, which a token names in its header.
    pub kid: String,
    /// The one algorithm with which it is used. By default RS256, or what the curve says: ES256, ES384, EdDSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<SigningAlgorithm>,
    /// Of an RSA key: the modulus, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Of an RSA key: the exponent, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// Of other keys: the curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<Curve>,
    /// Of other keys: the x coordinate, or the whole key, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Of an EC key: the y coordinate, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

/// A kind of public key. There is none for secrets that two sides share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyType {
    /// RSA, of 2048 to 4096 bits.
    #[serde(rename = "RSA")]
    Rsa,
    /// A point on P-256 or P-384.
    #[serde(rename = "EC")]
    EllipticCurve,
    /// Ed25519.
    #[serde(rename = "OKP")]
    OctetKeyPair,
}

/// The curve of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Curve {
    /// NIST P-256.
    #[serde(rename = "P-256")]
    P256,
    /// NIST P-384.
    #[serde(rename = "P-384")]
    P384,
    /// Ed25519.
    Ed25519,
}

/// The one algorithm with which a key is used. By default RS256, or what its curve says: ES256, ES384, EdDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3).
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256 (RFC 7518, section 3.5).
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4).
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519 (RFC 8037, section 3.1).
    EdDSA,
}
