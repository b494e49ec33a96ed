//! Announces starts and ends within a second of their time, as long as a worker runs; those missed meanwhile, as soon as one runs again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{WorkerMetrics, pause};
use crate::store::Store;

/// How soon a campaign that is created meanwhile is seen; with a statement or two, well within the second.
const LONGEST_INTERVAL: Duration = Duration::from_millis(500);
/// A campaign that another worker is announcing right now looks due: it is not asked for again without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(5);

/// Runs until `shutdown`.
pub(super) async fn run(store: Store, metrics: WorkerMetrics, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let interval = match store.announce_due().await {
            Ok(announcements) => {
                if announcements.appended > 0 {
                    metrics.announced(announcements.appended);
                    tracing::info!(events = announcements.appended, "announced starts and ends of campaigns");
                }
                announcements.next_in.unwrap_or(LONGEST_INTERVAL)
            }
            Err(error) => {
                tracing::warn!(%error, "starts and ends of campaigns cannot be announced");
                LONGEST_INTERVAL
            }
        };
        pause(interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL), &shutdown).await;
    }
}
