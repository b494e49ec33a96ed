//! The one layer around all handlers: gives every request an id and a span, writes the access log and the metrics, renders problems (a panic
//! is one) with the id, and tells clients of a stopping process to take their connection elsewhere.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tracing::Instrument;

use super::Process;
use super::gate::Gate;
use super::health::{OWN_PATHS, QUIET_PATHS};
use crate::problem::{INTERNAL, Problem, ProblemOnPage};
use crate::shutdown::Shutdown;
use crate::telemetry::{Metrics, continue_trace};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 128;

pub(super) struct Observer {
    shutdown: Shutdown,
    metrics: RequestMetrics,
    /// What requests pass that are not the kit's own.
    gate: Option<Gate>,
}

impl Observer {
    pub(super) fn new(process: &Process, gate: Option<Gate>) -> Self {
        Self { shutdown: process.shutdown.clone(), metrics: RequestMetrics::register(&process.metrics), gate }
    }

    async fn answer(&self, route: &str, request: Request, next: Next) -> Response {
        match &self.gate {
            Some(gate) if !OWN_PATHS.contains(&route) => gate.pass(request, next).await.into_response(),
            _ => next.run(request).await,
        }
    }
}

pub(super) async fn observe(State(observer): State<Arc<Observer>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let method = known_method(request.method());
    // Both share what the request has, and cost no copy.
    let (uri, route) = (request.uri().clone(), request.extensions().get::<MatchedPath>().cloned());
    let (path, route) = (uri.path(), route.as_ref().map_or("unmatched", MatchedPath::as_str));
    let span = tracing::info_span!("request", request_id = %id, otel.name = %format_args!("{method} {route}"), otel.kind = "server");
    continue_trace(&span, request.headers());

    let under_way = UnderWay::of(&observer.metrics.under_way);
    // A handler that panics leaves nothing behind that others see half done: what they share is locked or atomic.
    let answer = AssertUnwindSafe(observer.answer(route, request, next)).catch_unwind();
    let mut response = answer
        .instrument(span.clone())
        .await
        .unwrap_or_else(|_| Problem::new(INTERNAL, "the service has a defect; its logs have this request's id").into_response());
    drop(under_way);

    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => {
            response = problem.render(Some(&id));
            Some(problem)
        }
        None => response.extensions_mut().remove().map(|ProblemOnPage(problem)| problem),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if observer.shutdown.is_requested() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let took = started.elapsed();
    observer.metrics.record(method, route, response.status(), took);
    span.in_scope(|| log(method, path, route, response.status(), took, problem.as_ref()));
    response
}

fn log(method: &str, path: &str, route: &str, status: StatusCode, took: Duration, problem: Option<&Problem>) {
    let (status, took_ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
    let problem = problem.map(|problem| tracing::field::display(problem.detail()));
    match status {
        _ if QUIET_PATHS.contains(&route) => tracing::debug!(method, path, route, status, took_ms, problem, "request"),
        500.. => tracing::warn!(method, path, route, status, took_ms, problem, "request"),
        _ => tracing::info!(method, path, route, status, took_ms, problem, "request"),
    }
}

/// The caller's id where it is one that can go into logs and headers as it is, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
    };
    match headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_plain) {
        Some(id) => id.to_owned(),
        None => new_request_id(),
    }
}

/// A UUID of version 7, by the generator of the thread: the crate's own `now_v7` asks the kernel for each.
fn new_request_id() -> String {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let id = uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or_default(), &rand::random()).into_uuid();
    id.to_string()
}

/// The method as a label of bounded number.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    under_way: Gauge,
    /// What was counted before, by route: found without a label being made for it.
    known: RwLock<HashMap<String, Vec<Known>>>,
}

/// The metrics of one route, method and status.
struct Known {
    method: &'static str,
    status: u16,
    requests: Counter,
    durations: Histogram,
}

impl Known {
    fn record(&self, took: Duration) {
        self.durations.observe(took.as_secs_f64());
        self.requests.inc();
    }
}

impl RequestMetrics {
    fn register(metrics: &Metrics) -> Self {
        const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
        let this = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            under_way: Gauge::default(),
            known: RwLock::default(),
        };
        metrics.register(|registry| {
            registry.register("http_requests", "Requests answered", this.requests.clone());
            registry.register("http_request_duration_seconds", "Time from a request's head to its answer's", this.durations.clone());
            registry.register("http_requests_under_way", "Requests that are not answered yet", this.under_way.clone());
        });
        this
    }

    fn record(&self, method: &'static str, route: &str, status: StatusCode, took: Duration) {
        let status = status.as_u16();
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let of_route = known.get(route).into_iter().flatten();
            if let Some(known) = of_route.into_iter().find(|known| known.method == method && known.status == status) {
                return known.record(took);
            }
        }
        let name = || route.to_owned();
        let requests = self.requests.get_or_create(&RequestLabels { method, route: name(), status }).clone();
        let durations = self.durations.get_or_create(&RouteLabels { method, route: name() }).clone();
        let new = Known { method, status, requests, durations };
        new.record(took);
        self.known.write().unwrap_or_else(PoisonError::into_inner).entry(name()).or_default().push(new);
    }
}

/// Counts a request for as long as it lives, also when its client goes away.
struct UnderWay(Gauge);

impl UnderWay {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_id_is_taken_and_another_replaced() {
        let of = |id: &str| request_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(id).unwrap())]));
        assert_eq!(of("abc-1.2_3"), "abc-1.2_3");
        assert_ne!(of("a b"), "a b");
        assert_ne!(of(&"a".repeat(129)).len(), 129);
        assert_eq!(request_id(&HeaderMap::new()).len(), 36);
    }
}
