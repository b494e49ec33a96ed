//! `spec.auth` of a ResourceGroup: issuers, audiences, and public keys alone.

use tenantry_harness::issuer::{Algorithm, SigningKey};

use super::{accepted, indented, refused, unique};

const EC: &str = "kty: EC, crv: P-256, x: MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4, y: 4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
const ED25519: &str = "kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn group(auth: &str) -> String {
    format!(
        "
apiVersion: tenantry.dev/v1alpha1
kind: ResourceGroup
metadata:
  name: {}
spec:
  classRef: {{ name: standard }}
  services: {{ campaigns: {{}} }}
  slots: [{{ name: dev, size: small, release: v1 }}]
  auth:
{}",
        unique("pcasia"),
        indented(auth, 4)
    )
}

fn issuer(members: &str) -> String {
    group(&format!("issuers:\n- {members}\n  jwks: {{ keys: [{{ kid: a, {ED25519} }}] }}"))
}

/// A group whose issuer has one key with these members.
fn key(members: &str) -> String {
    group(&format!("issuers:\n- issuer: https://login.example\n  audiences: [shop]\n  jwks: {{ keys: [{{ kid: a, {members} }}] }}"))
}

fn rsa() -> (String, String) {
    let public = SigningKey::new("a", Algorithm::RS256).unwrap().public().unwrap();
    (public["n"].as_str().unwrap().to_owned(), public["e"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn issuers_with_public_keys_are_accepted() {
    let (n, e) = rsa();
    let stored = accepted(&group(&format!(
        "
issuers:
- issuer: https://login.example/realms/shop
  audiences: [shop, \"urn:shop:api\"]
  userIdClaim: https://shop.example/user_id
  scopeClaim: scp
  jwks:
    keys:
    - {{ kid: one, kty: RSA, use: sig, alg: PS256, n: {n}, e: {e} }}
    - {{ kid: two, {EC}, alg: ES256 }}
    - {{ kid: three, {ED25519} }}
- issuer: https://machines.example
  audiences: [shop]
  jwks: {{ keys: [{{ kid: one, {EC} }}] }}
"
    )))
    .await;
    let issuers = &stored.data["spec"]["auth"]["issuers"];
    assert_eq!((issuers[1]["userIdClaim"].as_str(), issuers[1]["scopeClaim"].as_str()), (Some("sub"), Some("scope")));
    accepted(&group("issuers: []")).await;
}

#[tokio::test]
async fn a_slot_may_have_issuers_of_its_own() {
    let slot = format!(
        "{{ name: dev, size: small, release: v1, auth: {{ issuers: [{{ issuer: i, audiences: [a], jwks: {{ keys: [{{ kid: a, {ED25519} }}] }} }}] }} }}"
    );
    accepted(&group("issuers: []").replace("{ name: dev, size: small, release: v1 }", &slot)).await;
    let private = slot.replace("kid: a", "kid: a, d: AAAA");
    refused(&group("issuers: []").replace("{ name: dev, size: small, release: v1 }", &private), "this is a private key").await;
}

#[tokio::test]
async fn a_private_key_is_refused_and_called_one() {
    let (n, e) = rsa();
    refused(&key(&format!("{ED25519}, d: nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")), "this is a private key").await;
    refused(&key(&format!("{EC}, d: AAAA")), "this is a private key").await;
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        refused(&key(&format!("kty: RSA, n: {n}, e: {e}, {member}: AAAA")), "this is a private key").await;
    }
    refused(&key(&format!("{ED25519}, k: AAAA")), "this is a private key").await;
}

#[tokio::test]
async fn a_shared_secret_is_no_key_of_an_issuer() {
    refused(&key("kty: oct, k: c2VjcmV0"), "supported values: \"RSA\", \"EC\", \"OKP\"").await;
    for algorithm in ["HS256", "none", "RSA-OAEP"] {
        refused(&key(&format!("{ED25519}, alg: {algorithm}")), "Unsupported value").await;
    }
    refused(&key(&format!("{ED25519}, use: enc")), "supported values: \"sig\"").await;
}

#[tokio::test]
async fn a_keys_members_fit_its_kind() {
    let (n, e) = rsa();
    refused(&key(&format!("kty: RSA, n: {n}")), "a key of kty RSA has the members n and e").await;
    refused(&key(&format!("kty: RSA, n: {}, e: {e}", &n[..171])), "an RSA key needs at least 2048 bits").await;
    refused(&key(&format!("kty: RSA, n: {n}{n}, e: {e}")), "may not be more than 683").await;
    refused(&key(&format!("kty: RSA, n: \"{}=\", e: {e}", &n[1..])), "n, e, x and y must be base64url without padding").await;
    refused(&key(&EC.replace("P-256", "P-384")), "a key of kty EC has crv P-256 with x and y of 43 characters").await;
    refused(&key(&EC.replace("kty: EC", "kty: OKP")), "a key of kty OKP has crv Ed25519").await;
    refused(&key(&format!("{EC}, n: {n}")), "a key of kty EC has crv P-256").await;
    refused(&key(&EC.replace("P-256", "P-521")), "Unsupported value").await;
}

#[tokio::test]
async fn an_algorithm_fits_its_key() {
    let (n, e) = rsa();
    for wrong in [
        format!("kty: RSA, n: {n}, e: {e}, alg: ES256"),
        format!("{EC}, alg: ES384"),
        format!("{EC}, alg: RS256"),
        format!("{ED25519}, alg: ES256"),
    ] {
        refused(&key(&wrong), "alg does not fit the key: RSA takes").await;
    }
}

#[tokio::test]
async fn issuers_keys_and_audiences_are_named_once() {
    let one = format!("issuer: i\n  audiences: [a]\n  jwks: {{ keys: [{{ kid: a, {ED25519} }}] }}");
    refused(&group(&format!("issuers:\n- {one}\n- {one}")), "uplicate").await;
    refused(&group(&format!("issuers:\n- {}", one.replace("[a]", "[a, a]"))), "uplicate").await;
    let keys = format!("[{{ kid: a, {ED25519} }}, {{ kid: a, {EC} }}]");
    refused(&group(&format!("issuers:\n- issuer: i\n  audiences: [a]\n  jwks: {{ keys: {keys} }}")), "uplicate").await;
}

#[tokio::test]
async fn an_issuer_needs_audiences_and_a_name_that_is_its_own() {
    refused(&issuer("issuer: https://login.example\n  audiences: []"), "should have at least 1 items").await;
    refused(&issuer("issuer: \"\"\n  audiences: [a]"), "should be at least 1 chars long").await;
    refused(&issuer("issuer: urn:tenantry:trial\n  audiences: [a]"), "issuers that begin with urn:tenantry: are the services themselves")
        .await;
    refused(&group("issuers:\n- issuer: i\n  audiences: [a]\n  jwks: { keys: [] }"), "should have at least 1 items").await;
    let many: String =
        (0..5).map(|number| format!("- issuer: i{number}\n  audiences: [a]\n  jwks: {{ keys: [{{ kid: a, {ED25519} }}] }}\n")).collect();
    refused(&group(&format!("issuers:\n{many}")), "must have at most 4 items").await;
}
