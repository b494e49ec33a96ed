//! Completes campaigns: fixes their winners soon after nothing can change them any more.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::pause;
use crate::domain::payment::Prizes;
use crate::store::Store;

const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until `shutdown`.
pub(super) async fn run(store: Store, grace_seconds: u32, prizes: Prizes, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        match store.complete_due(grace_seconds, prizes).await {
            Ok(0) => {}
            Ok(campaigns) => tracing::info!(campaigns, "completed campaigns"),
            Err(error) => tracing::warn!(%error, "campaigns cannot be completed"),
        }
        pause(INTERVAL, &shutdown).await;
    }
}
