//! What the worker tells of purchases that do not count, or not yet. Computed from the database, so that every worker tells the same.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tenantry_kit::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use super::pause;
use crate::domain::dead_letter::REASONS;
use crate::store::{Store, StoreError};

const INTERVAL: Duration = Duration::from_secs(5);

/// Observes until `shutdown`.
pub(super) async fn run(metrics: WorkerMetrics, store: Store, max_rate_age_days: u32, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = metrics.observe(&store, max_rate_age_days).await {
            tracing::warn!(%error, "parked purchases and dead letters cannot be observed");
        }
        pause(INTERVAL, &shutdown).await;
    }
}

/// The metrics of a worker. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct WorkerMetrics {
    parked: Gauge,
    gaps: Gauge,
    dead_letters: Family<ReasonLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

impl WorkerMetrics {
    /// Registers the metrics; once a process.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let worker = Self::default();
        metrics.register(|registry| {
            registry.register("parked_purchases", "Purchases that wait for an exchange rate, as far as 100000", worker.parked.clone());
            registry.register("exchange_rate_gaps", "Exchange rates that purchases wait for, as far as 1000", worker.gaps.clone());
            registry.register(
                "purchase_dead_letters",
                "Purchases that do not count for a campaign that they concern, as far as 100000",
                worker.dead_letters.clone(),
            );
        });
        worker
    }

    async fn observe(&self, store: &Store, max_rate_age_days: u32) -> Result<(), StoreError> {
        self.parked.set(store.parked_purchases().await?);
        let gaps = store.rate_gaps(max_rate_age_days).await?.len();
        self.gaps.set(i64::try_from(gaps).unwrap_or(i64::MAX));
        for reason in &REASONS {
            let letters = store.count_purchase_dead_letters(reason).await?;
            self.dead_letters.get_or_create(&ReasonLabels { reason: reason.to_string() }).set(letters);
        }
        Ok(())
    }
}
