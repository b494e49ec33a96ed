//! What every process answers to anybody: `/livez`, `/readyz`, `/metrics`, and an API's `/openapi.json`.

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use http::header;
use utoipa::openapi::OpenApi;

use super::Process;
use crate::problem::{METHOD_NOT_ALLOWED, NOT_READY, Problem};
use crate::shutdown::Readiness;
use crate::telemetry::Metrics;

/// The paths that are answered to anybody.
pub(super) const OWN_PATHS: [&str; 4] = ["/livez", "/readyz", "/metrics", "/openapi.json"];

/// Paths that are not worth an access log at the usual level.
pub(super) const QUIET_PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

pub(super) fn router(process: &Process) -> Router {
    without_other_methods(
        Router::new()
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(ready).with_state(process.readiness.clone()))
            .route("/metrics", get(metrics).with_state(process.metrics.clone())),
    )
}

pub(super) fn document(document: &OpenApi) -> Router {
    let json = Bytes::from(serde_json::to_vec(document).expect("an OpenAPI document always serialises"));
    let answer = async move || ([(header::CONTENT_TYPE, "application/json")], json.clone());
    without_other_methods(Router::new().route("/openapi.json", get(answer)))
}

/// Answers other methods on the routes that `router` has already.
fn without_other_methods(router: Router) -> Router {
    router.method_not_allowed_fallback(async || Problem::new(METHOD_NOT_ALLOWED, "this path takes GET"))
}

async fn ready(State(readiness): State<Readiness>) -> Result<&'static str, Problem> {
    let blockers = readiness.blockers();
    if blockers.is_empty() { Ok("ready\n") } else { Err(Problem::new(NOT_READY, blockers.join(", "))) }
}

async fn metrics(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.encode())
}
