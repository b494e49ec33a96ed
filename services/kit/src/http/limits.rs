//! Bounds of what a process takes on: body, time, requests at once. Beyond them it refuses, rather than grow.

use std::future::Future;
use std::time::Duration;

use axum::response::Response;
use tokio::sync::{Semaphore, SemaphorePermit};

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

/// A place among the requests that are under way.
pub(super) fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Problem> {
    places.try_acquire().map_err(|_| {
        Problem::new(OVERLOADED, "too many requests are under way: try again after the time in Retry-After").with_retry_after(1)
    })
}

/// The answer, if it comes in time.
pub(super) async fn within(time: Duration, answer: impl Future<Output = Result<Response, Problem>>) -> Result<Response, Problem> {
    tokio::time::timeout(time, answer).await.map_err(|_| {
        let seconds = time.as_secs_f32();
        Problem::new(TIME_LIMIT, format!("the request was not answered within {seconds} s; it may or may not have taken effect"))
            .with_retry_after(1)
    })?
}
