//! What a worker does now and then: the lag of the streams as a metric, and deleting what is old in them.

use std::time::Duration;

use tenantry_kit::stream::{Retention, StreamMetrics, delete_expired, observe_lag};
use tokio_util::sync::CancellationToken;

use super::pause;
use crate::store::Store;

const INTERVAL: Duration = Duration::from_secs(5);
/// Events stay for a week after all groups have passed them.
const RETENTION: Retention = Retention { age: Duration::from_secs(7 * 24 * 3600), batch: 1000 };

/// Runs until `shutdown`.
pub(super) async fn run(store: Store, streams: StreamMetrics, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = observe_lag(store.database(), &streams).await {
            tracing::warn!(%error, "the lag of the streams cannot be observed");
        }
        delete_old_events(&store, &shutdown).await;
        pause(INTERVAL, &shutdown).await;
    }
}

async fn delete_old_events(store: &Store, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        match delete_expired(store.database(), RETENTION).await {
            Ok(0) => return,
            Ok(events) => tracing::debug!(events, "deleted old events"),
            Err(error) => {
                tracing::warn!(%error, "old events cannot be deleted");
                return;
            }
        }
    }
}
