//! Whose tokens a group's services accept. The key sets stand in the manifest: from inside a slot no issuer is reachable.
//! See `docs/decisions/2026-11-28-who-may-do-what.md`.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tenantry_contract::{AuthConfiguration, Curve, KeySet, KeyType, PublicKey, ScopeClaim, SigningAlgorithm, TokenIssuer};

/// Whose tokens the services accept, beside the credentials of their own slot: those of a Release whose service says that it needs
/// them (`needs.auth`). A change rolls the pods of these services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Auth {
    /// The issuers of tokens. An empty list accepts nobody's.
    #[serde(default)]
    #[schemars(
        length(max = 4),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["issuer"])
    )]
    pub issuers: Vec<Issuer>,
}

/// Who makes tokens, and how they are read. A token needs the claims `iss`, `aud`, `sub` and `exp`, and names its key by `kid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// The claim `iss` of its tokens, to the letter.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = (
        "!self.startsWith('urn:tenantry:')",
        "issuers that begin with urn:tenantry: are the services themselves; write the claim iss of your own issuer's tokens"
    ))]
    pub issuer: String,
    /// What its tokens are made for: a token has at least one of these in its claim `aud`. Where slots have the same issuer, give
    /// each an audience of its own, in its `auth`: otherwise a token for dev is one for production.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Vec<String>,
    /// The issuer's public keys, as it publishes them, with the members that are listed here alone. Before the issuer signs with
    /// another key, add that one; take the former one out when its last token has expired.
    pub jwks: JsonWebKeySet,
    /// The claim that holds the user's id in the application: a text or a whole number.
    #[serde(default = "default_user_id_claim")]
    #[schemars(length(min = 1, max = 128))]
    pub user_id_claim: String,
    /// The claim that holds the scopes: `scope` or `scp`, a text with spaces between them, or a list.
    #[serde(default)]
    pub scope_claim: ScopeClaim,
}

fn default_user_id_claim() -> String {
    "sub".to_owned()
}

/// Public keys (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JsonWebKeySet {
    /// The keys, each with an id of its own.
    #[schemars(
        length(min = 1, max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kid"])
    )]
    pub keys: Vec<JsonWebKey>,
}

/// A public key that verifies signatures (RFC 7517, RFC 7518, RFC 8037).
// All rules stand here: one on a field would go to the first property that the transformation has added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[schemars(transform = declare_private_members)]
#[x_kube(
    validation = (
        "!(has(self.d) || has(self.p) || has(self.q) || has(self.dp) || has(self.dq) || has(self.qi) || has(self.k))",
        "this is a private key: whoever reads this manifest could sign tokens with it. Write the public members alone (no d, p, q, dp, dq, qi, k), and replace the key at its issuer, since it has been shown"
    ),
    validation = (
        "(!has(self.n) || self.n.matches('^[A-Za-z0-9_-]+$')) && (!has(self.e) || self.e.matches('^[A-Za-z0-9_-]+$')) && \
         (!has(self.x) || self.x.matches('^[A-Za-z0-9_-]+$')) && (!has(self.y) || self.y.matches('^[A-Za-z0-9_-]+$'))",
        "n, e, x and y must be base64url without padding, as issuers publish them"
    ),
    validation = (
        "self.kty != 'RSA' || (has(self.n) && has(self.e) && !has(self.crv) && !has(self.x) && !has(self.y))",
        "a key of kty RSA has the members n and e, and none of crv, x, y"
    ),
    validation = (
        "self.kty != 'RSA' || !has(self.n) || self.n.size() >= 342",
        "an RSA key needs at least 2048 bits (342 characters of n): let the issuer make a longer one"
    ),
    validation = (
        "self.kty != 'EC' || (has(self.crv) && has(self.x) && has(self.y) && !has(self.n) && !has(self.e) && \
         ((self.crv == 'P-256' && self.x.size() == 43 && self.y.size() == 43) || \
         (self.crv == 'P-384' && self.x.size() == 64 && self.y.size() == 64)))",
        "a key of kty EC has crv P-256 with x and y of 43 characters, or P-384 with 64, and none of n, e"
    ),
    validation = (
        "self.kty != 'OKP' || (has(self.crv) && self.crv == 'Ed25519' && has(self.x) && self.x.size() == 43 && \
         !has(self.y) && !has(self.n) && !has(self.e))",
        "a key of kty OKP has crv Ed25519 with x of 43 characters, and none of y, n, e"
    ),
    validation = (
        "!has(self.alg) || (self.kty == 'RSA' ? self.alg.matches('^[RP]S(256|384|512)$') : \
         self.kty == 'EC' ? has(self.crv) && self.alg == (self.crv == 'P-256' ? 'ES256' : 'ES384') : self.alg == 'EdDSA')",
        "alg does not fit the key: RSA takes RS256, RS384, RS512, PS256, PS384 or PS512, P-256 takes ES256, P-384 takes ES384, Ed25519 takes EdDSA"
    )
)]
pub struct JsonWebKey {
    /// What kind of key it is. Keys that two sides share (`oct`) are refused.
    pub kty: KeyType,
    /// Its id, which a token names in its header.
    #[schemars(length(min = 1, max = 128))]
    pub kid: String,
    /// The one algorithm with which it is used. Without it RS256, or what the curve says: ES256, ES384, EdDSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<SigningAlgorithm>,
    /// What it is for: `sig`. Leave the issuer's keys for encryption out.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<KeyUse>,
    /// Of an RSA key: the modulus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 683))]
    pub n: Option<String>,
    /// Of an RSA key: the exponent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 6))]
    pub e: Option<String>,
    /// Of other keys: the curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<Curve>,
    /// Of other keys: the x coordinate, or the whole key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub x: Option<String>,
    /// Of an EC key: the y coordinate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub y: Option<String>,
}

/// What a key is for: `sig`. Leave the issuer's keys for encryption out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyUse {
    /// It verifies signatures.
    Sig,
}

/// Members that no public key has. The API server drops what a schema does not know: only what is declared can be refused,
/// so that somebody who wrote a private key learns of it.
fn declare_private_members(schema: &mut Schema) {
    let Some(properties) = schema.get_mut("properties").and_then(|properties| properties.as_object_mut()) else { return };
    for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
        let description = "Private, and refused: its presence shows that the key is not a public one.";
        properties.insert(member.to_owned(), json!({ "type": "string", "maxLength": 4096, "description": description }));
    }
}

impl From<&Auth> for AuthConfiguration {
    fn from(auth: &Auth) -> Self {
        Self { issuers: auth.issuers.iter().map(TokenIssuer::from).collect() }
    }
}

impl From<&Issuer> for TokenIssuer {
    fn from(issuer: &Issuer) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            audiences: issuer.audiences.clone(),
            jwks: KeySet { keys: issuer.jwks.keys.iter().map(PublicKey::from).collect() },
            user_id_claim: issuer.user_id_claim.clone(),
            scope_claim: issuer.scope_claim,
        }
    }
}

impl From<&JsonWebKey> for PublicKey {
    fn from(key: &JsonWebKey) -> Self {
        let JsonWebKey { kty, kid, alg, usage: _, n, e, crv, x, y } = key.clone();
        Self { kty, kid, alg, n, e, crv, x, y }
    }
}
