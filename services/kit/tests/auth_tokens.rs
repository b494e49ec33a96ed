//! Tokens of issuers: what is accepted, and every way in which one that is not ours comes in.

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value, json};
use tenantry_harness::issuer::{Algorithm, EncodingKey, Issuer, SigningKey, compact, in_seconds};
use tenantry_kit::auth::{Principal, TokenFault, TrustedIssuers};

const NAME: &str = "https://login.shop.example";

fn issuer() -> Issuer {
    Issuer::new(NAME, Algorithm::EdDSA).unwrap()
}

fn trusted(auth: Value) -> TrustedIssuers {
    TrustedIssuers::new(&serde_json::from_value(auth).unwrap()).unwrap()
}

fn trusting(issuer: &Issuer) -> TrustedIssuers {
    trusted(issuer.auth().unwrap())
}

/// What becomes of a token whose claims were changed.
fn with_claims(change: impl FnOnce(&mut Value)) -> Result<Principal, TokenFault> {
    let issuer = issuer();
    let mut claims = issuer.claims("records:read");
    change(&mut claims);
    trusting(&issuer).authenticate(&issuer.sign(&claims).unwrap())
}

/// What becomes of a token whose header was changed.
fn with_header(change: impl FnOnce(&mut Value)) -> Result<Principal, TokenFault> {
    let issuer = issuer();
    let mut header = issuer.header();
    change(&mut header);
    trusting(&issuer).authenticate(&issuer.key.token(&header, &issuer.claims("")).unwrap())
}

fn remove(value: &mut Value, member: &str) {
    value.as_object_mut().unwrap().remove(member).unwrap();
}

#[test]
fn a_token_says_who_it_is_for_and_what_it_permits() {
    let principal = with_claims(|_| ()).unwrap();
    assert_eq!(principal.subject(), format!("{NAME}#ada"));
    assert_eq!(principal.user_id(), Some("7"));
    assert_eq!(principal.scopes().unwrap().to_vec(), ["records:read"]);
}

#[test]
fn every_algorithm_of_the_configuration_is_understood() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA] {
        let issuer = Issuer::new(NAME, algorithm).unwrap();
        let token = issuer.token("").unwrap();
        assert!(trusting(&issuer).authenticate(&token).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_key_without_alg_has_the_usual_one() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let issuer = Issuer::new(NAME, algorithm).unwrap();
        let mut auth = issuer.auth().unwrap();
        remove(&mut auth["issuers"][0]["jwks"]["keys"][0], "alg");
        assert!(trusted(auth).authenticate(&issuer.token("").unwrap()).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_key_is_used_with_its_own_algorithm_alone() {
    let mut issuer = Issuer::new(NAME, Algorithm::RS256).unwrap();
    let trusted = trusting(&issuer);
    for other in [Algorithm::RS512, Algorithm::PS256] {
        issuer.key.algorithm = other;
        assert_eq!(trusted.authenticate(&issuer.token("").unwrap()), Err(TokenFault::Algorithm), "{other:?}");
    }
}

#[test]
fn unsigned_tokens_are_refused_however_none_is_written() {
    let issuer = issuer();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": none, "kid": issuer.key.kid });
        let parts = [header, issuer.claims("")].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
        for signature in ["", "AAAA"] {
            let token = format!("{}.{}.{signature}", parts[0], parts[1]);
            assert_eq!(trusting(&issuer).authenticate(&token), Err(TokenFault::Unreadable), "{none}");
        }
    }
}

/// The attack on libraries that let the token say how its key is to be used.
#[test]
fn a_public_key_is_no_shared_secret() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let issuer = Issuer::new(NAME, algorithm).unwrap();
        let public = issuer.key.public().unwrap();
        let mut secrets: Vec<Vec<u8>> = vec![public.to_string().into_bytes(), Vec::new()];
        for member in ["n", "x"].into_iter().filter_map(|member| public[member].as_str()) {
            secrets.extend([member.as_bytes().to_vec(), BASE64URL_NOPAD.decode(member.as_bytes()).unwrap()]);
        }
        for secret in secrets {
            for hmac in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let header = json!({ "alg": hmac, "kid": issuer.key.kid });
                let token = compact(&header, &issuer.claims(""), &EncodingKey::from_secret(&secret), hmac).unwrap();
                assert_eq!(trusting(&issuer).authenticate(&token), Err(TokenFault::Algorithm), "{algorithm:?} as {hmac:?}");
            }
            // and with the header of a proper token
            let token = compact(&issuer.header(), &issuer.claims(""), &EncodingKey::from_secret(&secret), Algorithm::HS256).unwrap();
            assert_eq!(trusting(&issuer).authenticate(&token), Err(TokenFault::Signature), "{algorithm:?}");
        }
    }
}

#[test]
fn a_key_is_found_by_its_id_alone() {
    assert_eq!(with_header(|header| header["kid"] = json!("second")), Err(TokenFault::UnknownKey));
    assert_eq!(with_header(|header| header["kid"] = json!("../first")), Err(TokenFault::UnknownKey));
    assert_eq!(with_header(|header| remove(header, "kid")), Err(TokenFault::NoKeyId));
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let (issuer, stranger) = (issuer(), SigningKey::new("first", Algorithm::EdDSA).unwrap());
    let mut header = issuer.header();
    header["jwk"] = stranger.public().unwrap();
    header["jku"] = json!("https://stranger.example/jwks");
    header["x5u"] = json!("https://stranger.example/certificate");
    let token = stranger.token(&header, &issuer.claims("")).unwrap();
    assert_eq!(trusting(&issuer).authenticate(&token), Err(TokenFault::Signature));
    assert!(trusting(&issuer).authenticate(&issuer.key.token(&header, &issuer.claims("")).unwrap()).is_ok());
}

#[test]
fn critical_extensions_are_refused() {
    assert_eq!(with_header(|header| header["crit"] = json!(["b64"])), Err(TokenFault::Critical));
    assert_eq!(with_header(|header| header["crit"] = json!([])), Err(TokenFault::Critical));
}

#[test]
fn both_keys_are_taken_while_an_issuer_changes_its_key() {
    let (mut issuer, second) = (issuer(), SigningKey::new("second", Algorithm::ES256).unwrap());
    let mut auth = issuer.auth().unwrap();
    auth["issuers"][0]["jwks"]["keys"].as_array_mut().unwrap().push(second.public().unwrap());
    let trusted = trusted(auth);
    assert!(trusted.authenticate(&issuer.token("").unwrap()).is_ok());
    issuer.key = second;
    assert!(trusted.authenticate(&issuer.token("").unwrap()).is_ok());
}

#[test]
fn the_signature_must_be_the_issuers() {
    let (ours, theirs) = (issuer(), issuer());
    assert_eq!(trusting(&ours).authenticate(&theirs.token("").unwrap()), Err(TokenFault::Signature));
    let token = ours.token("").unwrap();
    let unsigned = &token[..=token.rfind('.').unwrap()];
    assert_eq!(trusting(&ours).authenticate(unsigned), Err(TokenFault::Signature));
}

#[test]
fn another_issuer_is_refused_also_with_a_name_that_begins_alike() {
    for name in ["https://login.shop.example/", "https://login.shop.example.evil.example", "HTTPS://login.shop.example", ""] {
        assert_eq!(with_claims(|claims| claims["iss"] = json!(name)), Err(TokenFault::UnknownIssuer), "{name}");
    }
    assert_eq!(with_claims(|claims| claims["iss"] = json!([NAME])), Err(TokenFault::Claims));
}

/// Two tenants that trust the same issuer tell its tokens apart by the audience.
#[test]
fn a_token_for_another_audience_is_refused() {
    assert_eq!(with_claims(|claims| claims["aud"] = json!("other-shop")), Err(TokenFault::Audience));
    assert_eq!(with_claims(|claims| claims["aud"] = json!(["other-shop", "third"])), Err(TokenFault::Audience));
    assert!(with_claims(|claims| claims["aud"] = json!(["other-shop", "shop"])).is_ok());
    assert_eq!(with_claims(|claims| claims["aud"] = json!([])), Err(TokenFault::Audience));
    assert_eq!(with_claims(|claims| claims["aud"] = json!(7)), Err(TokenFault::Claims));
}

#[test]
fn times_count_with_half_a_minute_of_leeway() {
    assert_eq!(with_claims(|claims| claims["exp"] = json!(in_seconds(-40))), Err(TokenFault::Expired));
    assert!(with_claims(|claims| claims["exp"] = json!(in_seconds(-20))).is_ok());
    assert_eq!(with_claims(|claims| claims["nbf"] = json!(in_seconds(40))), Err(TokenFault::NotYetValid));
    assert!(with_claims(|claims| claims["nbf"] = json!(in_seconds(20))).is_ok());
    assert!(with_claims(|claims| claims["exp"] = json!(in_seconds(300) as f64 + 0.5)).is_ok());
    for (claim, time) in [("exp", json!("tomorrow")), ("exp", json!(-1)), ("exp", json!(null)), ("nbf", json!("now")), ("nbf", json!([]))] {
        assert_eq!(with_claims(|claims| claims[claim] = time.clone()), Err(TokenFault::Claims), "{claim} {time}");
    }
    assert!(with_claims(|claims| claims["exp"] = json!(u64::MAX)).is_ok());
}

#[test]
fn a_token_needs_its_claims() {
    for claim in ["iss", "aud", "sub", "exp"] {
        assert_eq!(with_claims(|claims| remove(claims, claim)), Err(TokenFault::Claims), "{claim}");
    }
    for sub in ["", "a\u{0}da", "ada\nadmin"] {
        assert_eq!(with_claims(|claims| claims["sub"] = json!(sub)), Err(TokenFault::Claims), "{sub:?}");
    }
}

#[test]
fn a_user_id_is_a_text_or_a_whole_number() {
    let user = |id: Value| with_claims(|claims| claims["user_id"] = id).unwrap().user_id().map(str::to_owned);
    assert_eq!(user(json!("7")), Some("7".to_owned()));
    assert_eq!(user(json!(9_223_372_036_854_775_807_u64)), Some("9223372036854775807".to_owned()));
    for other in [json!(""), json!(7.5), json!(["7"]), json!(null), json!("7".repeat(201)), json!("7\u{0}")] {
        assert_eq!(user(other.clone()), None, "{other}");
    }
}

#[test]
fn scopes_are_a_text_or_a_list_in_the_claim_that_the_configuration_names() {
    let scopes = |scopes: Value| with_claims(|claims| claims["scope"] = scopes).unwrap().scopes().unwrap().to_vec();
    assert_eq!(scopes(json!("b a  a")), ["a", "b"]);
    assert_eq!(scopes(json!(["b", "a", 7])), ["a", "b"]);
    assert_eq!(scopes(json!({ "a": true })), Vec::<String>::new());
    let issuer = issuer();
    let mut auth = issuer.auth().unwrap();
    auth["issuers"][0]["scopeClaim"] = json!("scp");
    let mut claims = issuer.claims("from:scope");
    claims["scp"] = json!(["from:scp"]);
    let principal = trusted(auth).authenticate(&issuer.sign(&claims).unwrap()).unwrap();
    assert_eq!(principal.scopes().unwrap().to_vec(), ["from:scp"]);
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_with_its_place() {
    let refusal = |change: fn(&mut Value)| {
        let mut auth = Issuer::new(NAME, Algorithm::ES256).unwrap().auth().unwrap();
        change(&mut auth["issuers"]);
        let error = TrustedIssuers::new(&serde_json::from_value(auth).unwrap()).unwrap_err();
        format!("{}: {}", error.pointer, error.message)
    };
    let twice = refusal(|issuers| {
        let first = issuers[0].clone();
        issuers.as_array_mut().unwrap().push(first);
    });
    assert!(twice.starts_with("/issuers/1: this issuer stands above already"), "{twice}");
    let key = refusal(|issuers| {
        let first = issuers[0]["jwks"]["keys"][0].clone();
        issuers[0]["jwks"]["keys"].as_array_mut().unwrap().push(first);
    });
    assert!(key.starts_with("/issuers/0/jwks/keys/1: a key with this kid"), "{key}");
    let algorithm = refusal(|issuers| issuers[0]["jwks"]["keys"][0]["alg"] = json!("ES384"));
    assert!(algorithm.contains("/jwks/keys/0: the algorithm ES384 does not go with"), "{algorithm}");
    let member = refusal(|issuers| remove(&mut issuers[0]["jwks"]["keys"][0], "y"));
    assert!(member.contains("lacks its member y"), "{member}");
    let form = refusal(|issuers| issuers[0]["jwks"]["keys"][0]["y"] = json!("not base64url!"));
    assert!(form.contains("not base64url"), "{form}");
    let audiences = refusal(|issuers| issuers[0]["audiences"] = json!([]));
    assert!(audiences.starts_with("/issuers/0/audiences"), "{audiences}");
    for private in ["d", "k"] {
        let mut auth = issuer().auth().unwrap();
        auth["issuers"][0]["jwks"]["keys"][0][private] = json!("AAAA");
        assert!(serde_json::from_value::<tenantry_contract::AuthConfiguration>(auth).is_err(), "{private}");
    }
}

proptest! {
    /// Whatever character of a token is changed to whatever other, it is refused.
    #[test]
    fn any_change_of_a_token_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        let issuer = issuer();
        let token = issuer.token("records:read:all").unwrap();
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != to);
        let mut changed = token;
        changed.replace_range(at..=at, &to);
        prop_assert!(trusting(&issuer).authenticate(&changed).is_err());
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in ".{0,200}", header in "[ -~]{0,60}", claims in "[ -~]{0,60}") {
        let trusted = trusting(&issuer());
        prop_assert!(trusted.authenticate(&text).is_err());
        let encode = |part: &str| BASE64URL_NOPAD.encode(part.as_bytes());
        let token = format!("{}.{}.{}", encode(&header), encode(&claims), encode(&text));
        prop_assert!(trusted.authenticate(&token).is_err());
    }
}
