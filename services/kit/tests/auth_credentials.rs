//! The credentials of a slot at the door of a service: scopes, API keys, tokens for trials; on real tables, over the router.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::{Extension, Router};
use futures::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenantry_contract::Identity;
use tenantry_harness::issuer::{Algorithm, Issuer};
use tenantry_kit::auth::{
    ApiKeys, Issuance, MAX_CREDENTIAL, NewApiKey, Principal, Scope, SlotAuthenticator, StaticToken, TrialTokens, TrustedIssuers, Validity,
};
use tenantry_kit::http::{Limits, Operations, Process, api_router, routes};
use tenantry_kit::shutdown::{Readiness, Shutdown};
use tenantry_kit::telemetry::Metrics;
use tenantry_kit::time::UtcDateTime;
use tower::ServiceExt;

use crate::fixture::{Fixture, eventually};

pub const TOKEN: &str = "the-token-of-the-slot";
const READ: Scope = Scope::new("things:read", "read things");
const WRITE: Scope = Scope::new("things:write", "change things");

#[utoipa::path(get, path = "/things", responses((status = 200)))]
async fn read(principal: Principal) -> String {
    format!("{} {:?}", principal.subject(), principal.user_id())
}

#[utoipa::path(post, path = "/things", responses((status = 200)))]
async fn write() -> &'static str {
    "written"
}

#[utoipa::path(get, path = "/whoami", responses((status = 200)))]
async fn whoami(principal: Principal) -> String {
    principal.subject()
}

/// An answer that goes on as long as its credential is valid.
#[utoipa::path(get, path = "/watch", responses((status = 200)))]
async fn watch(validity: Validity) -> Body {
    let end = stream::once(validity.ended()).map(|()| Ok::<_, std::convert::Infallible>("over"));
    Body::from_stream(stream::iter([Ok("begun ")]).chain(end))
}

fn operations() -> Operations<()> {
    Operations::new("Test", "For tests.", "1")
        .scoped(&[READ, WRITE], routes!(read))
        .scoped(&[WRITE], routes!(write))
        .authenticated(routes!(whoami))
        .scoped(&[READ], routes!(watch))
        .issuing_credentials()
}

/// A slot with a service: its database, its token, its issuer.
pub struct Slot {
    pub fixture: Fixture,
    pub issuer: Issuer,
    pub credentials: TempDir,
}

/// One replica of the service's API.
pub struct Replica {
    pub router: Router,
    keys: ApiKeys,
    metrics: Metrics,
}

pub struct Answer {
    pub status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// Status, the last part of the problem's type, and what it says.
    fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{} {}", self.status, self.text);
        let json = self.json();
        let kind = json["type"].as_str().unwrap().strip_prefix("urn:tenantry:problem:").unwrap();
        (self.status.as_u16(), kind.to_owned(), json["detail"].as_str().unwrap().to_owned())
    }

    pub fn assert_problem(&self, status: u16, kind: &str, detail: &str) {
        let problem = self.problem();
        assert_eq!((problem.0, problem.1.as_str()), (status, kind), "{}", problem.2);
        assert!(problem.2.contains(detail), "{}", problem.2);
    }
}

impl Slot {
    pub async fn new() -> Self {
        let credentials = tempfile::tempdir().unwrap();
        std::fs::write(credentials.path().join("token"), TOKEN).unwrap();
        Self { fixture: Fixture::new().await, issuer: Issuer::new("https://login.example", Algorithm::ES256).unwrap(), credentials }
    }

    pub fn replica(&self) -> Replica {
        let shutdown = Shutdown::new();
        let metrics = Metrics::new();
        let process = Process { metrics: metrics.clone(), readiness: Readiness::new(shutdown.clone()), shutdown };
        let static_token = Arc::new(StaticToken::open(self.credentials.path().join("token")).unwrap());
        let issuers = TrustedIssuers::new(&serde_json::from_value(self.issuer.auth().unwrap()).unwrap()).unwrap();
        let identity = Identity { group: "g".into(), slot: "dev".into(), service: "things".into(), release: "r".into() };
        let trial_tokens = Arc::new(TrialTokens::new(Arc::clone(&static_token), &identity));
        let keys = ApiKeys::new(self.fixture.database.clone());
        let issuance = Issuance::new(keys.clone(), Arc::clone(&trial_tokens), operations().scopes());
        let authenticator = SlotAuthenticator::new(static_token, issuers, trial_tokens, Some(keys.clone()), &metrics);
        let router = api_router(operations(), (), Arc::new(authenticator), Limits::default(), &process);
        Replica { router: router.layer(Extension(Arc::new(issuance))), keys, metrics }
    }

    /// Moves the database's clock ahead, for all sessions.
    pub async fn shift_clock(&self, seconds: u32) {
        let statement = format!(
            "CREATE OR REPLACE FUNCTION tenantry_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
             AS 'SELECT statement_timestamp() + interval ''{seconds} seconds'''"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut self.fixture.test.connect().await.unwrap()).await.unwrap();
    }
}

impl Replica {
    pub async fn send(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, token, None).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Method::POST, path, token, Some(&body)).await
    }

    /// Makes an API key; its id and the key.
    pub async fn key(&self, maker: &str, body: Value) -> (String, String) {
        let answer = self.post("/api-keys", maker, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let json = answer.json();
        (json["id"].as_str().unwrap().to_owned(), json["key"].as_str().unwrap().to_owned())
    }
}

pub fn in_seconds(seconds: i64) -> String {
    UtcDateTime::from_unix_micros(UtcDateTime::now().unix_micros() + seconds * 1_000_000).unwrap().to_string()
}

#[tokio::test]
async fn an_operation_takes_a_credential_with_any_of_its_scopes() {
    let slot = Slot::new().await;
    let api = slot.replica();
    for scopes in ["things:read", "things:write", "openid things:read profile"] {
        let answer = api.get("/things", &slot.issuer.token(scopes).unwrap()).await;
        assert_eq!(answer.text, "https://login.example#ada Some(\"7\")");
    }
    assert_eq!(api.get("/things", TOKEN).await.text, "slot-token None");
    assert_eq!(api.get("/whoami", &slot.issuer.token("").unwrap()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_credential_without_the_scope_is_told_which_one_it_lacks() {
    let slot = Slot::new().await;
    let api = slot.replica();
    for scopes in ["", "things:read", "things:writ", "THINGS:WRITE", "things:write:all"] {
        let answer = api.send(Method::POST, "/things", &slot.issuer.token(scopes).unwrap(), None).await;
        answer.assert_problem(403, "insufficient-scope", "lacks the scope things:write");
        assert_eq!(
            answer.headers[header::WWW_AUTHENTICATE],
            r#"Bearer realm="tenantry", error="insufficient_scope", scope="things:write""#
        );
    }
}

#[test]
fn the_document_says_which_scopes_an_operation_needs_and_what_they_permit() {
    let document = serde_json::to_value(operations().document()).unwrap();
    let alternatives = json!([{ "bearer": ["things:read"] }, { "bearer": ["things:write"] }]);
    assert_eq!(document["paths"]["/things"]["get"]["security"], alternatives);
    assert_eq!(document["paths"]["/whoami"]["get"]["security"], json!([{ "bearer": [] }]));
    assert_eq!(document["paths"]["/tokens"]["post"]["security"], json!([{ "bearer": ["keys:manage"] }]));
    let described = document["components"]["securitySchemes"]["bearer"]["description"].as_str().unwrap();
    assert!(described.contains("- `things:read`: read things\n") && described.contains("- `keys:manage`: "), "{described}");
    assert!(document["paths"]["/things"]["get"]["responses"]["403"].is_object());
    assert!(document["paths"]["/whoami"]["get"]["responses"]["403"].is_null());
}

#[tokio::test]
async fn what_is_no_credential_is_refused_before_it_costs_anything() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let send = async |authorization: &[&str]| {
        let mut request = Request::get("/things");
        for value in authorization {
            request = request.header(header::AUTHORIZATION, *value);
        }
        api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(send(&[&bearer]).await.status(), StatusCode::OK);
    let huge = format!("Bearer {}", "a".repeat(MAX_CREDENTIAL + 1));
    let huge_token = format!("Bearer {}.{}.{}", "a".repeat(4000), "b".repeat(4000), "c".repeat(4000));
    let cases: [&[&str]; 9] =
        [&[], &[""], &["Bearer"], &["Bearer "], &["Basic dTpw"], &[TOKEN], &[&bearer, "Bearer other"], &[&huge], &[&huge_token]];
    for case in cases {
        let refused = send(case).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert!(refused.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
    }
    let metrics = api.metrics.encode();
    for counted in [r#"{reason="missing"} 1"#, r#"{reason="malformed"} 6"#, r#"{reason="too_long"} 2"#] {
        assert!(metrics.contains(&format!("credentials_refused_total{counted}")), "{metrics}");
    }
}

#[tokio::test]
async fn an_api_key_is_shown_once_stored_hashed_and_permits_what_it_says() {
    let slot = Slot::new().await;
    let (api, other) = (slot.replica(), slot.replica());
    let answer = api.post("/api-keys", TOKEN, json!({ "name": "till 7", "scopes": ["things:read"], "expiresAt": in_seconds(60) })).await;
    assert_eq!((answer.status, &answer.headers[header::CACHE_CONTROL]), (StatusCode::CREATED, &"no-store".parse().unwrap()));
    let made = answer.json();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with(&format!("tk_{}_", made["id"].as_str().unwrap().replace('-', ""))), "{key}");

    for replica in [&api, &other] {
        assert_eq!(replica.get("/things", key).await.text, format!("api-key:{} None", made["id"].as_str().unwrap()));
        replica.send(Method::POST, "/things", key, None).await.assert_problem(403, "insufficient-scope", "things:write");
    }
    let secret = key.rsplit_once(&made["id"].as_str().unwrap().replace('-', "")).unwrap().1.strip_prefix('_').unwrap();
    let listed = api.get("/api-keys", TOKEN).await;
    assert!(!listed.text.contains(secret), "{}", listed.text);
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("key");
    assert_eq!(listed.json()["keys"], json!([expected]));
    assert_eq!(expected["madeBy"], "slot-token");
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT k::text FROM api_keys k").fetch_all(&mut slot.fixture.test.connect().await.unwrap()).await.unwrap();
    assert!(stored.len() == 1 && !stored[0].contains(secret), "{stored:?}");
}

#[tokio::test]
async fn a_key_with_another_secret_or_id_and_a_key_of_another_slot_are_refused() {
    let (slot, elsewhere) = (Slot::new().await, Slot::new().await);
    let (api, there) = (slot.replica(), elsewhere.replica());
    let (_, key) = api.key(TOKEN, json!({ "name": "a", "scopes": ["things:read"] })).await;
    let (_, other) = api.key(TOKEN, json!({ "name": "b", "scopes": ["things:read"] })).await;
    let crossed = format!("{}{}", &key[..36], &other[36..]);
    let shortened = key[..key.len() - 1].to_owned();
    for wrong in [crossed, shortened, format!("{key}A"), "tk_".to_owned(), "tk__".to_owned()] {
        api.get("/things", &wrong).await.assert_problem(401, "unauthenticated", "API key");
    }
    there.get("/things", &key).await.assert_problem(401, "unauthenticated", "API key");
    assert_eq!(api.get("/things", &key).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_key_ends_at_once_here_and_within_seconds_elsewhere() {
    let slot = Slot::new().await;
    let (api, other) = (slot.replica(), slot.replica());
    let (id, key) = api.key(TOKEN, json!({ "name": "a", "scopes": ["things:read"] })).await;
    assert_eq!(other.get("/things", &key).await.status, StatusCode::OK);
    assert_eq!(api.send(Method::DELETE, &format!("/api-keys/{id}"), TOKEN, None).await.status, StatusCode::NO_CONTENT);
    let revoked = Instant::now();
    assert_eq!(api.get("/things", &key).await.status, StatusCode::UNAUTHORIZED);
    eventually("the other replica refuses it", async || other.get("/things", &key).await.status == StatusCode::UNAUTHORIZED).await;
    assert!(revoked.elapsed() < ApiKeys::REVOKED_WITHIN + Duration::from_secs(2), "{:?}", revoked.elapsed());
    let again = api.send(Method::DELETE, &format!("/api-keys/{id}"), TOKEN, None).await;
    again.assert_problem(404, "unknown-api-key", "GET /api-keys");
    api.send(Method::DELETE, "/api-keys/7", TOKEN, None).await.assert_problem(400, "invalid-parameter", "UUID");
}

#[tokio::test]
async fn a_key_ends_by_the_databases_clock() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let (_, key) = api.key(TOKEN, json!({ "name": "a", "scopes": ["things:read"], "expiresAt": in_seconds(60) })).await;
    assert_eq!(api.get("/things", &key).await.status, StatusCode::OK);
    slot.shift_clock(61).await;
    eventually("the key is refused", async || api.get("/things", &key).await.status == StatusCode::UNAUTHORIZED).await;
    let past = api.post("/api-keys", TOKEN, json!({ "name": "a", "scopes": ["things:read"], "expiresAt": in_seconds(30) })).await;
    past.assert_problem(422, "invalid-body", "/expiresAt: this time has passed");
}

#[tokio::test]
async fn nobody_gives_away_what_he_does_not_have() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let admin = slot.issuer.token("keys:manage things:read").unwrap();
    for path in ["/api-keys", "/tokens"] {
        let asked =
            |scopes: &[&str]| if path == "/tokens" { json!({ "scopes": scopes }) } else { json!({ "name": "a", "scopes": scopes }) };
        let refused = api.post(path, &admin, asked(&["things:read", "things:write"])).await;
        refused.assert_problem(403, "insufficient-scope", "lacks the scope things:write itself");
        assert!(refused.headers[header::WWW_AUTHENTICATE].to_str().unwrap().contains(r#"scope="things:write""#));
        assert_eq!(api.post(path, &admin, asked(&["things:read"])).await.status, StatusCode::CREATED);
        let plain = slot.issuer.token("things:read things:write").unwrap();
        api.post(path, &plain, asked(&["things:read"])).await.assert_problem(403, "insufficient-scope", "keys:manage");
        api.post(path, TOKEN, asked(&[])).await.assert_problem(422, "invalid-body", "/scopes: name at least one");
        let unknown = api.post(path, TOKEN, asked(&["things:read", "things:delete"])).await;
        unknown.assert_problem(422, "invalid-body", "/scopes/1: there is no such scope; there are: keys:manage, things:read, things:write");
        api.post(path, TOKEN, asked(&vec!["things:read"; 65])).await.assert_problem(422, "invalid-body", "at most 64");
    }
}

#[tokio::test]
async fn nothing_that_a_key_makes_outlives_it() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let body = json!({ "name": "admin", "scopes": ["keys:manage", "things:read"], "expiresAt": in_seconds(600) });
    let (_, admin) = api.key(TOKEN, body).await;
    for end in [json!(null), json!(in_seconds(700))] {
        let refused = api.post("/api-keys", &admin, json!({ "name": "a", "scopes": ["things:read"], "expiresAt": end })).await;
        refused.assert_problem(422, "invalid-body", "/expiresAt: the key that makes this one ends at");
    }
    let (_, key) = api.key(&admin, json!({ "name": "a", "scopes": ["things:read"], "expiresAt": in_seconds(500) })).await;
    assert_eq!(api.get("/things", &key).await.status, StatusCode::OK);
    let token = api.post("/tokens", &admin, json!({ "scopes": ["things:read"] })).await.json();
    assert!(token["expiresAt"].as_str().unwrap() <= in_seconds(601).as_str(), "{token}");
    let lasting = api.post("/tokens", TOKEN, json!({ "scopes": ["keys:manage"] })).await;
    lasting.assert_problem(403, "insufficient-scope", "a token for trials cannot have the scope keys:manage");
}

#[tokio::test]
async fn names_and_numbers_that_cannot_be_meant_are_refused() {
    let slot = Slot::new().await;
    let api = slot.replica();
    for name in ["", "   ", "a\u{0}b", "line\nbreak", &"n".repeat(101)] {
        api.post("/api-keys", TOKEN, json!({ "name": name, "scopes": ["things:read"] })).await.assert_problem(422, "invalid-body", "/name");
        let token = api.post("/tokens", TOKEN, json!({ "userId": name.repeat(2), "scopes": ["things:read"] })).await;
        token.assert_problem(422, "invalid-body", "/userId");
    }
    for seconds in [0, 3601, 86_400] {
        let token = api.post("/tokens", TOKEN, json!({ "scopes": ["things:read"], "expiresInSeconds": seconds })).await;
        token.assert_problem(422, "invalid-body", "/expiresInSeconds: write a number from 1 to 3600");
    }
    api.post("/api-keys", TOKEN, json!({ "name": "a", "scopes": ["things:read"], "admin": true })).await.assert_problem(
        422,
        "invalid-body",
        "admin",
    );
}

#[tokio::test]
async fn a_token_for_trials_is_taken_by_every_replica_for_one_user_and_ends_with_the_slots_token() {
    let slot = Slot::new().await;
    let (api, other) = (slot.replica(), slot.replica());
    let answer = api.post("/tokens", TOKEN, json!({ "scopes": ["things:read"], "userId": "12", "expiresInSeconds": 60 })).await;
    assert_eq!((answer.status, &answer.headers[header::CACHE_CONTROL]), (StatusCode::CREATED, &"no-store".parse().unwrap()));
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    for replica in [&api, &other] {
        assert_eq!(replica.get("/things", &token).await.text, "trial-token of slot-token Some(\"12\")");
        replica.send(Method::POST, "/things", &token, None).await.assert_problem(403, "insufficient-scope", "things:write");
    }
    std::fs::write(slot.credentials.path().join("token"), "another-token").unwrap();
    eventually("the token is refused", async || other.get("/things", &token).await.status == StatusCode::UNAUTHORIZED).await;
    other.get("/things", &token).await.assert_problem(401, "unauthenticated", "signature");
}

/// Keys can be looked up by strangers: what they make up costs the database a bounded number of statements at once, and leaves
/// a bounded number of entries.
#[tokio::test]
async fn made_up_keys_are_refused_and_do_not_keep_others_out() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let (_, key) = api.key(TOKEN, json!({ "name": "a", "scopes": ["things:read"] })).await;
    let strangers = (0..3000_u32).map(|number| {
        let made_up = format!("tk_{number:032x}_{}", &key[36..]);
        let api = &api;
        async move { api.get("/things", &made_up).await.status }
    });
    let (refused, ours) = tokio::join!(futures::future::join_all(strangers), api.get("/things", &key));
    assert!(refused.iter().all(|status| [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE].contains(status)));
    assert_ne!(ours.status, StatusCode::UNAUTHORIZED);
    assert_eq!(api.get("/things", &key).await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_the_database_a_key_is_neither_accepted_nor_refused() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let (_, key) = api.key(TOKEN, json!({ "name": "a", "scopes": ["things:read"] })).await;
    slot.fixture.database.close().await;
    let answer = api.get("/things", &key).await;
    answer.assert_problem(503, "unavailable", "send the request again");
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    // what needs no database goes on
    assert_eq!(api.get("/things", &slot.issuer.token("things:read").unwrap()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn there_are_no_more_keys_than_there_may_be() {
    let slot = Slot::new().await;
    let api = slot.replica();
    sqlx::query(
        "INSERT INTO api_keys (id, name, secret_sha256, scopes, made_by)
         SELECT gen_random_uuid(), 'n', sha256(''), '{}', 'test' FROM generate_series(1, $1)",
    )
    .bind(ApiKeys::MOST)
    .execute(&mut slot.fixture.test.connect().await.unwrap())
    .await
    .unwrap();
    let refused = api.post("/api-keys", TOKEN, json!({ "name": "a", "scopes": ["things:read"] })).await;
    refused.assert_problem(409, "too-many-api-keys", "revoke those that are not used");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever its maker has and asks for: a key is made exactly if all that is asked for is the maker's, and then permits just that.
    #[test]
    fn a_key_never_permits_more_than_its_maker(
        has in prop::sample::subsequence(vec!["things:read", "things:write"], 0..=2),
        asks in prop::sample::subsequence(vec!["keys:manage", "things:read", "things:write"], 1..=3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let slot = Slot::new().await;
            let api = slot.replica();
            let mut all = has.clone();
            all.push("keys:manage");
            let maker = api.keys.make(NewApiKey {
                name: "maker".into(),
                scopes: all.iter().copied().collect(),
                expires_at: None,
                made_by: "test".into(),
            });
            let maker = maker.await.unwrap().1.expose().to_owned();
            let answer = api.post("/api-keys", &maker, json!({ "name": "made", "scopes": asks })).await;
            assert_eq!(answer.status == StatusCode::CREATED, asks.iter().all(|scope| all.contains(scope)), "{}", answer.text);
            if answer.status == StatusCode::CREATED {
                let key = answer.json()["key"].as_str().unwrap().to_owned();
                let may_write = api.send(Method::POST, "/things", &key, None).await.status == StatusCode::OK;
                let may_read = api.get("/things", &key).await.status == StatusCode::OK;
                let may_manage = api.get("/api-keys", &key).await.status == StatusCode::OK;
                assert_eq!(may_write, asks.contains(&"things:write"));
                assert_eq!(may_read, asks.contains(&"things:read") || asks.contains(&"things:write"));
                assert_eq!(may_manage, asks.contains(&"keys:manage"));
            }
        });
    }
}
