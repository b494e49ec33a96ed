//! Who may do what: the OpenAPI document is walked, so that an operation added later is tried too, with every credential that is
//! none, or not enough, and with those that are.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tenantry_harness::issuer::{Algorithm, EncodingKey, SigningKey, compact, in_seconds};

use crate::api_client::{Client, campaign};
use crate::fixture::{Api, Slot, TOKEN};

const OPEN: [&str; 7] = [
    "GET /campaigns/active",
    "GET /records/top/{n}/{campaignId}",
    "GET /leaderboards",
    "GET /leaderboards/{campaignId}",
    "GET /leaderboards/{campaignId}/events",
    "GET /leaderboards/assets/leaderboard.js",
    "GET /leaderboards/assets/leaderboard.css",
];

/// An operation of the document.
struct Operation {
    method: Method,
    template: String,
    /// With values for its parameters. The user is the one that the issuer's tokens name.
    path: String,
    /// Any one of these is enough. Empty where any credential is, none where none is needed.
    scopes: Option<Vec<String>>,
}

impl Operation {
    async fn all(api: &Api) -> Vec<Self> {
        let document = Client::anonymous(api).get("/openapi.json").await.body;
        let paths = document["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, methods)| methods.as_object().unwrap().iter().map(move |entry| (path, entry)));
        all.map(|(path, (method, operation))| Self::of(path, method, &operation["security"])).collect()
    }

    fn of(path: &str, method: &str, security: &Value) -> Self {
        let value = |segment: &str| match segment {
            "{userId}" => "7".to_owned(),
            "{n}" => "10".to_owned(),
            "{keyId}" | "{paymentId}" => "0192f0a8-0000-7000-8000-000000000000".to_owned(),
            parameter if parameter.starts_with('{') => "1".to_owned(),
            other => other.to_owned(),
        };
        let alternatives = security.as_array().unwrap();
        let is_open = alternatives.iter().any(|needs| needs.as_object().unwrap().is_empty());
        let scopes = alternatives.iter().flat_map(|needs| needs["bearer"].as_array().into_iter().flatten());
        Self {
            method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
            template: path.to_owned(),
            path: path.split('/').map(value).collect::<Vec<_>>().join("/"),
            scopes: (!is_open).then(|| scopes.map(|scope| scope.as_str().unwrap().to_owned()).collect()),
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.template)
    }
}

/// Sends a request with this Authorization header; status, headers, and the body of what was refused.
async fn send(api: &Api, operation: &Operation, authorization: Option<&str>) -> (StatusCode, HeaderMap, Value) {
    let url = format!("http://127.0.0.1:{}{}", api.port, operation.path);
    let mut request = reqwest::Client::new().request(operation.method.clone(), url);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    // what is answered may be a stream without an end
    let body = if status.is_success() { Value::Null } else { response.json().await.unwrap_or_default() };
    (status, headers, body)
}

async fn status(api: &Api, operation: &Operation, token: &str) -> u16 {
    send(api, operation, Some(&format!("Bearer {token}"))).await.0.as_u16()
}

fn assert_problem((status, headers, body): (StatusCode, HeaderMap, Value), expected: u16, kind: &str, what: &str) {
    assert_eq!(status.as_u16(), expected, "{what}: {body}");
    assert_eq!(body["type"], format!("urn:tenantry:problem:{kind}"), "{what}");
    assert_eq!(headers["content-type"], "application/problem+json", "{what}");
    assert!(headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{what}");
    assert!(!body["detail"].as_str().unwrap().is_empty(), "{what}");
}

/// Makes an API key with these scopes.
async fn api_key(api: &Api, scopes: &[&str]) -> String {
    let answer = Client::of(api).post("/api-keys", &json!({ "name": "test", "scopes": scopes })).await;
    answer.body["key"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

/// Makes a token for trials with these scopes, for user 7.
async fn trial_token(api: &Api, scopes: &[&str]) -> String {
    let answer = Client::of(api).post("/tokens", &json!({ "userId": "7", "scopes": scopes })).await;
    answer.body["token"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

fn all_scopes(operations: &[Operation]) -> Vec<String> {
    let scopes: BTreeSet<&String> = operations.iter().filter_map(|operation| operation.scopes.as_ref()).flatten().collect();
    scopes.into_iter().cloned().collect()
}

/// Every Authorization header that nobody with rights in this slot sends: what is wrong with it, and the header.
async fn no_credentials(slot: &Slot, api: &Api, scopes: &[String]) -> Vec<(&'static str, Option<String>)> {
    let scopes_text = scopes.join(" ");
    let issuer = &slot.issuer;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut claims = issuer.claims(&scopes_text);
        change(&mut claims);
        issuer.sign(&claims).unwrap()
    };
    let unsigned = {
        let parts = [json!({ "alg": "none", "kid": issuer.key.kid }), issuer.claims(&scopes_text)];
        let [header, claims] = parts.map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
        format!("{header}.{claims}.")
    };
    let public = BASE64URL_NOPAD.decode(issuer.key.public().unwrap()["x"].as_str().unwrap().as_bytes()).unwrap();
    let confused = {
        let header = json!({ "alg": "HS256", "kid": issuer.key.kid });
        compact(&header, &issuer.claims(&scopes_text), &EncodingKey::from_secret(&public), Algorithm::HS256).unwrap()
    };
    let forged = SigningKey::new(&issuer.key.kid, Algorithm::EdDSA).unwrap();
    let unknown_key = SigningKey::new("unknown", Algorithm::EdDSA).unwrap();
    let header_of = |key: &SigningKey| json!({ "alg": "EdDSA", "kid": key.kid });
    let forged_trial = {
        let mut claims = issuer.claims(&scopes_text);
        claims["iss"] = json!("urn:tenantry:trial");
        claims["aud"] = json!("urn:tenantry:test:dev:campaigns");
        compact(&json!({ "alg": "HS256" }), &claims, &EncodingKey::from_secret(b"a-token-for-test"), Algorithm::HS256).unwrap()
    };

    let elsewhere = Slot::new().await.with_token("the-token-of-another-tenant");
    let their_api = elsewhere.api().await;
    let their_client = reqwest::Client::new();
    let made_elsewhere = async |path: &str, member: &str, body: Value| {
        let url = format!("http://127.0.0.1:{}{path}", their_api.port);
        let answer = their_client.post(url).bearer_auth("the-token-of-another-tenant").json(&body).send().await.unwrap();
        answer.json::<Value>().await.unwrap()[member].as_str().unwrap().to_owned()
    };
    let without_management: Vec<&String> = scopes.iter().filter(|scope| *scope != "keys:manage").collect();
    let their_key = made_elsewhere("/api-keys", "key", json!({ "name": "theirs", "scopes": scopes })).await;
    let their_trial = made_elsewhere("/tokens", "token", json!({ "scopes": without_management })).await;
    let mut their_claims = elsewhere.issuer.claims(&scopes_text);
    their_claims["iss"] = json!("https://login.other.example");

    let revoked = {
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let key = api_key(api, &scopes).await;
        let id = &key["tk_".len()..][..32];
        let client = Client::of(api);
        assert_eq!(client.send(client.request(Method::DELETE, &format!("/api-keys/{id}"))).await.status, 204);
        key
    };
    let bearer = |token: String| Some(format!("Bearer {token}"));
    vec![
        ("no credential", None),
        ("an empty header", Some(String::new())),
        ("another scheme", Some("Basic dTpw".to_owned())),
        ("no token", Some("Bearer".to_owned())),
        ("a token without a scheme", Some(TOKEN.to_owned())),
        ("a token that is none", bearer("wrong".to_owned())),
        ("three parts that are none", bearer("a.b.c".to_owned())),
        ("a huge token", bearer("x".repeat(20_000))),
        ("a huge signed token", bearer(changed(&|claims| claims["more"] = json!("x".repeat(20_000))))),
        ("an unsigned token", bearer(unsigned)),
        ("a public key as a shared secret", bearer(confused)),
        ("another key under the same id", bearer(forged.token(&header_of(&forged), &issuer.claims(&scopes_text)).unwrap())),
        ("a key that is unknown", bearer(unknown_key.token(&header_of(&unknown_key), &issuer.claims(&scopes_text)).unwrap())),
        ("an expired token", bearer(changed(&|claims| claims["exp"] = json!(in_seconds(-60))))),
        ("a token of the future", bearer(changed(&|claims| claims["nbf"] = json!(in_seconds(60))))),
        ("a token for another audience", bearer(changed(&|claims| claims["aud"] = json!("another-shop")))),
        ("a token of an unknown issuer", bearer(changed(&|claims| claims["iss"] = json!("https://stranger.example")))),
        ("a forged token for trials", bearer(forged_trial)),
        ("a revoked API key", bearer(revoked)),
        ("an API key that was never made", bearer(format!("tk_{}_{}", "0".repeat(32), "A".repeat(43)))),
        ("another tenant's static token", bearer("the-token-of-another-tenant".to_owned())),
        ("another tenant's token by the same issuer's name", bearer(elsewhere.issuer.token(&scopes_text).unwrap())),
        ("another tenant's issuer", bearer(elsewhere.issuer.sign(&their_claims).unwrap())),
        ("another tenant's API key", bearer(their_key)),
        ("another tenant's token for trials", bearer(their_trial)),
    ]
}

#[tokio::test]
async fn every_operation_refuses_what_is_no_credential_here_and_open_ones_do_not_ask() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let operations = Operation::all(&api).await;
    assert_eq!(operations.len(), 34, "an operation that is added or taken away is to be thought of here");
    let open = operations.iter().filter(|operation| operation.scopes.is_none()).map(Operation::name).collect::<BTreeSet<_>>();
    assert_eq!(open, BTreeSet::from(OPEN.map(str::to_owned)));
    for (what, authorization) in no_credentials(&slot, &api, &all_scopes(&operations)).await {
        for operation in &operations {
            let name = format!("{}, {what}", operation.name());
            let answer = send(&api, operation, authorization.as_deref()).await;
            match operation.scopes {
                Some(_) => assert_problem(answer, 401, "unauthenticated", &name),
                None => assert!(![401, 403].contains(&answer.0.as_u16()), "{name}"),
            }
        }
    }
}

#[tokio::test]
async fn every_operation_refuses_a_credential_without_its_scope() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let operations = Operation::all(&api).await;
    let all = all_scopes(&operations);
    for operation in &operations {
        let Some(needed) = operation.scopes.as_ref().filter(|scopes| !scopes.is_empty()) else { continue };
        let others: Vec<&str> = all.iter().filter(|scope| !needed.contains(scope)).map(String::as_str).collect();
        let for_trials: Vec<&str> = others.iter().copied().filter(|scope| *scope != "keys:manage").collect();
        let lacking = [
            slot.issuer.token(&others.join(" ")).unwrap(),
            slot.issuer.token("").unwrap(),
            api_key(&api, &others).await,
            trial_token(&api, &for_trials).await,
        ];
        for token in lacking {
            let answer = send(&api, operation, Some(&format!("Bearer {token}"))).await;
            assert!(needed.iter().all(|scope| answer.2["detail"].as_str().unwrap_or_default().contains(scope)), "{}", answer.2);
            assert_problem(answer, 403, "insufficient-scope", &operation.name());
        }
    }
}

#[tokio::test]
async fn every_operation_takes_a_credential_with_its_scope() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let operations = Operation::all(&api).await;
    for operation in &operations {
        let Some(needed) = &operation.scopes else { continue };
        let is_let_through = async |token: &str| ![401, 403].contains(&status(&api, operation, token).await);
        assert!(is_let_through(TOKEN).await, "{}", operation.name());
        let mut machines = needed.is_empty();
        for scope in needed {
            assert!(is_let_through(&slot.issuer.token(scope).unwrap()).await, "{} with {scope}", operation.name());
            if scope != "keys:manage" {
                assert!(is_let_through(&trial_token(&api, &[scope]).await).await, "{} with {scope}", operation.name());
            }
            machines |= is_let_through(&api_key(&api, &[scope]).await).await;
        }
        assert!(machines, "no API key may {}", operation.name());
    }
}

#[tokio::test]
async fn a_user_reads_and_watches_the_own_position_and_others_only_by_the_scope_for_all() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    Client::of(&api).post("/campaigns", &campaign(Some("42"))).await;
    let watch = async |user: &str, token: &str| {
        let anybody = Client::anonymous(&api);
        let request = anybody.request(Method::GET, &format!("/leaderboards/42/positions/{user}/events"));
        anybody.stream(request.bearer_auth(token)).await.status().as_u16()
    };
    let read = async |user: &str, token: &str| {
        let anybody = Client::anonymous(&api);
        anybody.send(anybody.request(Method::GET, &format!("/records/position/42/{user}")).bearer_auth(token)).await
    };
    let own = slot.issuer.token("records:read").unwrap();
    read("7", &own).await.assert_refused(404, "no-purchases", "");
    let others = read("8", &own).await;
    others.assert_refused(403, "insufficient-scope", "");
    let detail = others.body["detail"].as_str().unwrap();
    assert!(detail.contains("user 7's") && detail.contains("records:read:all"), "{detail}");
    let all = slot.issuer.token("records:read:all").unwrap();
    read("8", &all).await.assert_refused(404, "no-purchases", "");
    assert_eq!((watch("7", &own).await, watch("8", &own).await, watch("8", &all).await), (200, 403, 200));

    let named = |id: Value| {
        let mut claims = slot.issuer.claims("records:read");
        claims["user_id"] = id;
        slot.issuer.sign(&claims).unwrap()
    };
    read("7", &named(json!(7))).await.assert_refused(404, "no-purchases", "");
    for other in [json!("07"), json!("ada"), json!(""), json!(null), json!(-7), json!(7.0)] {
        read("7", &named(other.clone())).await.assert_refused(403, "insufficient-scope", "");
    }
    read("7", &trial_token(&api, &["records:read"]).await).await.assert_refused(404, "no-purchases", "");
    read("8", &trial_token(&api, &["records:read"]).await).await.assert_refused(403, "insufficient-scope", "");
    read("7", &api_key(&api, &["records:read"]).await).await.assert_refused(403, "insufficient-scope", "");
    read("7", &api_key(&api, &["records:read:all"]).await).await.assert_refused(404, "no-purchases", "");
}

#[tokio::test]
async fn the_checked_descriptor_asks_for_what_the_service_uses() {
    let descriptor = serde_json::to_value(tenantry_kit::service::descriptor::<campaigns::Campaigns>()).unwrap();
    assert_eq!(descriptor["name"], "campaigns");
    assert_eq!(descriptor["roles"]["api"]["port"], 8080);
    assert_eq!(descriptor["roles"]["worker"]["metricsPort"], 8081);
    for need in ["database", "auth"] {
        assert!(descriptor["needs"][need].is_object(), "{need}");
    }
    assert!(descriptor["needs"]["cache"].is_null(), "nothing of it is cached outside of the process");
    let webhook = json!([{ "name": "webhook", "roles": ["worker"], "files": ["key"], "optionalFiles": ["previous-key", "ca.crt"] }]);
    assert_eq!((&descriptor["needs"]["credentials"], &descriptor["needs"]["egress"]), (&webhook, &json!({ "roles": ["worker"] })));
    let currencies = descriptor["settings"]["properties"]["baseCurrency"]["enum"].as_array().unwrap();
    assert!(currencies.contains(&Value::from("EUR")));
    assert_eq!(descriptor["settings"]["additionalProperties"], false);
}
