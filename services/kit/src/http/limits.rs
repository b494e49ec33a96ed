//! Bounds of what a process takes on: body, time, requests at once. Beyond them it refuses, rather than grow.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;

use crate::problem::{OVERLOADED, Problem, TIME_LIMIT};

/// The bounds of one process.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest body.
    pub body_bytes: usize,
    /// The longest that a request may take, from its head to its answer's head.
    pub request_time: Duration,
    /// The most requests at once.
    pub concurrent_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 1024 * 1024, request_time: Duration::from_secs(30), concurrent_requests: 512 }
    }
}

impl Limits {
    pub(super) fn gauge(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.concurrent_requests))
    }
}

pub(super) async fn back_pressure(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Result<Response, Problem> {
    let _place = places.try_acquire().map_err(|_| {
        Problem::new(OVERLOADED, "too many requests are under way: try again after the time in Retry-After").with_retry_after(1)
    })?;
    Ok(next.run(request).await)
}

pub(super) async fn time_limit(State(limits): State<Limits>, request: Request, next: Next) -> Result<Response, Problem> {
    tokio::time::timeout(limits.request_time, next.run(request)).await.map_err(|_| {
        let seconds = limits.request_time.as_secs_f32();
        Problem::new(TIME_LIMIT, format!("the request was not answered within {seconds} s; it may or may not have taken effect"))
            .with_retry_after(1)
    })
}
