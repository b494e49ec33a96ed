//! The HTTP side of a process. A service gives its [`Operations`]; this module puts around them, from the outside in:
//! observation (request id, access log, metrics, rendering of problems, a net for panics), and for operations the gate:
//! back-pressure, the time limit, admission (which operations need a credential), the body limit.
//! These are one layer, not one for each purpose: every layer costs each request some allocations.
//! [`serve`] runs the whole so that stopping drops nothing.

mod admission;
mod browser;
mod conditional;
mod extract;
mod gate;
mod health;
mod lanes;
mod limits;
mod observe;
mod operations;
mod page;
mod server;

use std::sync::Arc;

use axum::{Router, middleware};

use crate::auth::Authenticator;
use crate::shutdown::{Readiness, Shutdown};
use crate::telemetry::Metrics;

use gate::Gate;

pub use browser::asks_for_page;
pub use conditional::{EntityTag, IfMatch, RequiredIfMatch};
pub use extract::{JsonBody, PathParameters, QueryParameters, is_json, media_type, parse_json, read_body};
pub use limits::Limits;
pub use operations::Operations;
pub use page::PageLimit;
pub use server::{ServerOptions, serve};
/// Collects the operations of handlers annotated with `#[utoipa::path]`, for [`Operations`].
pub use utoipa_axum::routes;

/// The router of an `api` process.
pub fn api_router<S: Clone + Send + Sync + 'static>(
    operations: Operations<S>,
    state: S,
    authenticator: Arc<dyn Authenticator>,
    limits: Limits,
    process: &Process,
) -> Router {
    let (router, document, access) = operations.into_parts();
    let router = router.with_state(state).merge(health::router(process)).merge(health::document(&document));
    finish(router, process, Some(Gate::new(access, authenticator, limits)))
}

/// The router of a `worker` process: health and metrics only.
pub fn worker_router(process: &Process) -> Router {
    finish(health::router(process), process, None)
}

/// What the routers need of the process they are in.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its metrics.
    pub metrics: Metrics,
    /// Whether it should be sent requests.
    pub readiness: Readiness,
    /// Whether it is stopping.
    pub shutdown: Shutdown,
}

fn finish(router: Router, process: &Process, gate: Option<Gate>) -> Router {
    let observer = Arc::new(observe::Observer::new(process, gate));
    router.fallback(admission::unknown_path).layer(middleware::from_fn_with_state(observer, observe::observe))
}
