//! Answers that go on end with the credential of their request, whatever ends it.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::json;
use tenantry_harness::issuer::in_seconds as unix_time_in;
use tenantry_kit::auth::ApiKeys;
use tower::ServiceExt;

use crate::auth_credentials::{Replica, Slot, TOKEN, in_seconds};

/// How long a busy machine may take for what takes no time.
const MARGIN: Duration = Duration::from_secs(3);

/// An answer that goes on.
struct Watch(Body);

impl Watch {
    /// Its first part has come.
    async fn begin(api: &Replica, token: &str) -> Self {
        let request = Request::get("/watch").header(header::AUTHORIZATION, format!("Bearer {token}"));
        let response = api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut watch = Self(response.into_body());
        assert_eq!(watch.next().await, "begun ");
        watch
    }

    async fn next(&mut self) -> String {
        let frame = tokio::time::timeout(Duration::from_secs(30), self.0.frame()).await.expect("it ends in time");
        String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap()
    }

    /// Waits for its end; how long that took.
    async fn end(mut self) -> Duration {
        let began = Instant::now();
        assert_eq!(self.next().await, "over");
        began.elapsed()
    }

    async fn goes_on(&mut self, time: Duration) {
        assert!(tokio::time::timeout(time, self.0.frame()).await.is_err(), "it ended before its credential");
    }
}

#[tokio::test]
async fn an_answer_ends_when_the_issuers_token_is_refused() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let mut claims = slot.issuer.claims("things:read");
    // Clocks may differ by 30 seconds, for answers that go on as for requests.
    claims["exp"] = json!(unix_time_in(-27));
    let token = slot.issuer.sign(&claims).unwrap();
    let mut lasting = Watch::begin(&api, &slot.issuer.token("things:read").unwrap()).await;
    let watch = Watch::begin(&api, &token).await;
    let took = watch.end().await;
    assert!((Duration::from_secs(2)..Duration::from_secs(4) + MARGIN).contains(&took), "{took:?}");
    api.get("/watch", &token).await.assert_problem(401, "unauthenticated", "expired");
    lasting.goes_on(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn an_answer_ends_with_a_token_for_trials() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let made = api.post("/tokens", TOKEN, json!({ "scopes": ["things:read"], "expiresInSeconds": 2 })).await.json();
    let token = made["token"].as_str().unwrap();
    let took = Watch::begin(&api, token).await.end().await;
    assert!(took < Duration::from_secs(3) + MARGIN, "{took:?}");
    api.get("/watch", token).await.assert_problem(401, "unauthenticated", "expired");
}

#[tokio::test]
async fn an_answer_ends_within_two_seconds_after_its_api_key_was_revoked_on_another_replica() {
    assert_eq!(ApiKeys::REVOKED_WITHIN, Duration::from_secs(2), "docs/operations/access.md says so");
    let slot = Slot::new().await;
    let (api, other) = (slot.replica(), slot.replica());
    let (id, key) = api.key(TOKEN, json!({ "name": "a", "scopes": ["things:read"] })).await;
    let (_, kept) = api.key(TOKEN, json!({ "name": "b", "scopes": ["things:read"] })).await;
    let mut watch = Watch::begin(&other, &key).await;
    let mut lasting = Watch::begin(&other, &kept).await;
    watch.goes_on(ApiKeys::REVOKED_WITHIN).await;
    assert_eq!(api.send(Method::DELETE, &format!("/api-keys/{id}"), TOKEN, None).await.status, StatusCode::NO_CONTENT);
    let took = watch.end().await;
    assert!(took < ApiKeys::REVOKED_WITHIN + MARGIN, "{took:?}");
    lasting.goes_on(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn an_answer_ends_with_an_api_key_that_expires_by_the_databases_clock() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let (_, key) = api.key(TOKEN, json!({ "name": "a", "scopes": ["things:read"], "expiresAt": in_seconds(60) })).await;
    let watch = Watch::begin(&api, &key).await;
    slot.shift_clock(61).await;
    let took = watch.end().await;
    assert!(took < ApiKeys::REVOKED_WITHIN + MARGIN, "{took:?}");
}

#[tokio::test]
async fn an_answer_ends_when_its_api_key_cannot_be_looked_up_any_more() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let (_, key) = api.key(TOKEN, json!({ "name": "a", "scopes": ["things:read"] })).await;
    let watch = Watch::begin(&api, &key).await;
    slot.fixture.database.close().await;
    watch.end().await;
}

#[tokio::test]
async fn a_rotation_of_the_slots_token_ends_its_answers_and_those_of_tokens_for_trials() {
    let slot = Slot::new().await;
    let api = slot.replica();
    let made = api.post("/tokens", TOKEN, json!({ "scopes": ["things:read"] })).await.json();
    let (own, trial) = (Watch::begin(&api, TOKEN).await, Watch::begin(&api, made["token"].as_str().unwrap()).await);
    let mut issued = Watch::begin(&api, &slot.issuer.token("things:read").unwrap()).await;
    std::fs::write(slot.credentials.path().join("token"), "another-token").unwrap();
    let (own, trial) = tokio::join!(own.end(), trial.end());
    let longest = Duration::from_secs(10) + MARGIN;
    assert!(own < longest && trial < longest, "{own:?} {trial:?}");
    issued.goes_on(Duration::from_millis(100)).await;
}
