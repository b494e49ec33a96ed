//! What can go wrong in a reconcile, as a reason for conditions and metrics and a message for people. Never with a secret.

use std::time::Duration;

use tenantry_plan::reasons;
use thiserror::Error;

/// A failed observation, step or report.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Failure {
    /// CamelCase constant.
    pub reason: &'static str,
    /// What failed, on what, and what to do.
    pub message: String,
}

impl Failure {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A request to the API server that failed.
    pub fn kubernetes(doing: &str, error: &kube::Error) -> Self {
        let reason = match error {
            kube::Error::Api(status) => match status.code {
                403 => reasons::FORBIDDEN,
                404 => reasons::NOT_FOUND,
                409 => reasons::CONFLICT,
                400 | 422 => reasons::INVALID,
                429 => reasons::TOO_MANY_REQUESTS,
                _ => reasons::API_ERROR,
            },
            _ => reasons::API_UNREACHABLE,
        };
        let message = match error {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        };
        Self::new(reason, format!("{doing}: {message}"))
    }

    /// A request to the API server that was not answered in time.
    pub fn no_answer(doing: &str, after: Duration) -> Self {
        Self::new(reasons::API_UNREACHABLE, format!("{doing}: the API server did not answer within {} s", after.as_secs()))
    }
}

/// Why a reconcile did not end well; the object is tried again after its back-off.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The facts could not be had.
    #[error("observing: {0}")]
    Observe(#[source] Failure),
    /// Tracks failed; they are in the conditions too.
    #[error("applying: {0}")]
    Apply(#[source] Failure),
    /// The status could not be written.
    #[error("reporting: {0}")]
    Report(#[source] Failure),
    /// A bug: the log has its place.
    #[error("the reconcile panicked")]
    Panicked,
}

impl ReconcileError {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Observe(failure) | Self::Apply(failure) | Self::Report(failure) => failure.reason,
            Self::Panicked => reasons::PANICKED,
        }
    }
}
