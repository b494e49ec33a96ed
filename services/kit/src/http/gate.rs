//! What every operation's request passes before its handler: is there room, may its caller do this; and within which time it is answered.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;

use super::admission::Admission;
use super::limits::{self, Limits};
use super::operations::AccessTable;
use crate::auth::Authenticator;
use crate::problem::Problem;

pub(super) struct Gate {
    places: Semaphore,
    limits: Limits,
    admission: Admission,
}

impl Gate {
    pub(super) fn new(access: AccessTable, authenticator: Arc<dyn Authenticator>, limits: Limits) -> Self {
        Self { places: Semaphore::new(limits.concurrent_requests), limits, admission: Admission::new(access, authenticator) }
    }

    /// Has the request answered, or says why not.
    pub(super) async fn pass(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        let _place = limits::place(&self.places)?;
        // Extractors of bodies look at them.
        request.extensions_mut().insert(self.limits);
        limits::within(self.limits.request_time, async {
            self.admission.admit(&mut request).await?;
            Ok(next.run(request).await)
        })
        .await
    }
}
