//! What surrounds the operations: admission, limits, problems, health.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tenantry_kit::auth::StaticToken;
use tenantry_kit::http::{JsonBody, Limits, Operations, Process, api_router, routes};
use tenantry_kit::problem::{Problem, UNAVAILABLE};
use tenantry_kit::shutdown::{Readiness, Shutdown};
use tenantry_kit::telemetry::Metrics;
use tokio::sync::Semaphore;
use tower::ServiceExt;

const LIMITS: Limits = Limits { body_bytes: 1000, request_time: Duration::from_millis(200), concurrent_requests: 2 };

#[utoipa::path(get, path = "/open", responses((status = 200)))]
async fn open() -> &'static str {
    "open"
}

#[utoipa::path(get, path = "/closed/{id}", responses((status = 200)))]
async fn closed() -> &'static str {
    "closed"
}

#[utoipa::path(post, path = "/echo", responses((status = 200)))]
async fn echo(JsonBody(body): JsonBody<Value>) -> axum::Json<Value> {
    axum::Json(body)
}

#[utoipa::path(get, path = "/panicking", responses((status = 200)))]
async fn panicking() -> &'static str {
    panic!("a secret detail")
}

/// Ends when the test adds a permit.
#[utoipa::path(get, path = "/waiting", responses((status = 200)))]
async fn waiting(State(end): State<Arc<Semaphore>>) -> &'static str {
    end.acquire().await.unwrap().forget();
    "waited"
}

#[utoipa::path(get, path = "/page", responses((status = 200)))]
async fn page() -> Response {
    Problem::new(UNAVAILABLE, "the shelf is empty").with_retry_after(1).on_page(Html("<p>Later</p>").into_response())
}

fn operations() -> Operations<Arc<Semaphore>> {
    Operations::new("Test", "For tests.", "1")
        .open(routes!(open))
        .authenticated(routes!(closed))
        .authenticated(routes!(echo))
        .open(routes!(panicking))
        .open(routes!(waiting))
        .open(routes!(page))
}

struct Api {
    router: Router,
    end: Arc<Semaphore>,
    readiness: Readiness,
    shutdown: Shutdown,
    _credentials: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The last part of the problem's type, after checking that it is one.
    fn problem(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        assert_eq!(json["instance"], format!("urn:tenantry:request:{}", self.headers["x-request-id"].to_str().unwrap()));
        json["type"].as_str().unwrap().strip_prefix("urn:tenantry:problem:").unwrap().to_owned()
    }
}

impl Api {
    fn new(limits: Limits) -> Self {
        let credentials = tempfile::tempdir().unwrap();
        std::fs::write(credentials.path().join("token"), "good").unwrap();
        let token = StaticToken::open(credentials.path().join("token")).unwrap();
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let process = Process { metrics: Metrics::new(), readiness: readiness.clone(), shutdown: shutdown.clone() };
        let end = Arc::new(Semaphore::new(0));
        let router = api_router(operations(), Arc::clone(&end), Arc::new(token), limits, &process);
        Self { router, end, readiness, shutdown, _credentials: credentials }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn get_with(&self, path: &str, authorization: &str) -> Answer {
        self.send(Request::get(path).header(header::AUTHORIZATION, authorization).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, body: String, content_type: &str) -> Answer {
        let request = Request::post("/echo").header(header::AUTHORIZATION, "Bearer good").header(header::CONTENT_TYPE, content_type);
        self.send(request.body(Body::from(body)).unwrap()).await
    }
}

#[tokio::test]
async fn an_operation_declared_open_needs_no_credential() {
    assert_eq!(Api::new(LIMITS).get("/open").await.text, "open");
}

#[tokio::test]
async fn every_other_operation_refuses_without_a_valid_credential() {
    let api = Api::new(LIMITS);
    let none = api.get("/closed/1").await;
    assert_eq!((none.status, none.problem().as_str()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    assert!(none.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Bearer"));
    assert_eq!(api.get_with("/closed/1", "Bearer bad").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(api.get_with("/closed/1", "Basic good").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(api.get_with("/closed/1", "Bearer good").await.text, "closed");
}

#[tokio::test]
async fn a_head_request_needs_what_its_get_needs() {
    let api = Api::new(LIMITS);
    let head = |path: &str| Request::builder().method(Method::HEAD).uri(path).body(Body::empty()).unwrap();
    assert_eq!(api.send(head("/open")).await.status, StatusCode::OK);
    assert_eq!(api.send(head("/closed/1")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_document_says_who_may_call_what() {
    let document = serde_json::to_value(operations().document()).unwrap();
    assert_eq!(document["paths"]["/open"]["get"]["security"], json!([{}]));
    assert_eq!(document["paths"]["/closed/{id}"]["get"]["security"], json!([{ "bearer": [] }]));
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
}

#[tokio::test]
async fn unknown_paths_and_other_methods_are_problems() {
    let api = Api::new(LIMITS);
    let unknown = api.get("/nothing").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (StatusCode::NOT_FOUND, "unknown-path"));
    for (path, allowed) in [("/echo", Some("POST")), ("/open", None), ("/livez", None)] {
        let request = Request::builder().method(if allowed.is_some() { "GET" } else { "PUT" }).uri(path);
        let answer = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"));
        assert!(allowed.is_none_or(|allowed| answer.headers[header::ALLOW] == allowed));
    }
}

#[tokio::test]
async fn a_problem_on_a_page_stays_a_page_and_is_in_the_access_log() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_writer(Mutex::new(log.reopen().unwrap())).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let answer = Api::new(LIMITS).get("/page").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "<p>Later</p>"));
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(log.contains("the shelf is empty"), "{log}");
}

#[tokio::test]
async fn a_panic_is_a_problem_that_tells_nothing() {
    let answer = Api::new(LIMITS).get("/panicking").await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"));
    assert!(!answer.text.contains("secret"));
}

#[tokio::test]
async fn a_request_beyond_its_time_limit_is_given_up() {
    let answer = Api::new(LIMITS).get("/waiting").await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "time-limit"));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn too_many_requests_at_once_are_refused_but_health_is_not() {
    let api = Api::new(Limits { request_time: Duration::from_secs(60), concurrent_requests: 1, ..LIMITS });
    let (first, ()) = tokio::join!(biased; api.get("/waiting"), async {
        let refused = api.get("/open").await;
        assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
        assert_eq!(refused.headers[header::RETRY_AFTER], "1");
        assert_eq!(api.get("/livez").await.status, StatusCode::OK);
        api.end.add_permits(1);
    });
    assert_eq!(first.text, "waited");
    assert_eq!(api.get("/open").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_is_taken_up_to_the_limit() {
    let api = Api::new(LIMITS);
    let of_length = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(api.post(of_length(1000), "application/json").await.status, StatusCode::OK);
    let refused = api.post(of_length(1001), "application/json").await;
    assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
    assert_eq!(api.post(of_length(1_000_000), "application/json").await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_must_be_json_and_say_so() {
    let api = Api::new(LIMITS);
    assert_eq!(api.post("{}".to_owned(), "application/json; charset=utf-8").await.status, StatusCode::OK);
    assert_eq!(api.post("{}".to_owned(), "text/plain").await.problem(), "unsupported-media-type");
    assert_eq!(api.post("{".to_owned(), "application/json").await.problem(), "malformed-json");
    assert_eq!(api.post("[".repeat(900), "application/json").await.problem(), "malformed-json");
}

#[tokio::test]
async fn the_callers_request_id_comes_back() {
    let api = Api::new(LIMITS);
    let request = Request::get("/nothing").header("x-request-id", "from-the-caller").body(Body::empty()).unwrap();
    let answer = api.send(request).await;
    assert_eq!(answer.headers["x-request-id"], "from-the-caller");
    assert_eq!(answer.json()["instance"], "urn:tenantry:request:from-the-caller");
}

#[tokio::test]
async fn readiness_follows_gates_and_shutdown_and_liveness_does_not() {
    let api = Api::new(LIMITS);
    let gate = api.readiness.gate("database");
    let closed = api.get("/readyz").await;
    assert_eq!((closed.status, closed.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "not-ready"));
    assert!(closed.text.contains("waiting for database"));
    gate.open();
    assert_eq!(api.get("/readyz").await.status, StatusCode::OK);
    api.shutdown.request();
    assert_eq!(api.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.get("/livez").await.status, StatusCode::OK);
    assert_eq!(api.get("/open").await.headers[header::CONNECTION], "close");
}

#[tokio::test]
async fn metrics_have_routes_and_not_paths_as_labels() {
    let api = Api::new(LIMITS);
    api.get("/closed/4711").await;
    api.get("/nothing/4711").await;
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains(r#"http_requests_total{method="GET",route="/closed/{id}",status="401"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"route="unmatched",status="404""#) && !metrics.contains("4711"), "{metrics}");
}
