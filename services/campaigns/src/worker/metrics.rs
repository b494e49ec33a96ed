//! What the worker tells of the stages. Computed from the database, so that every worker tells the same: over workers, take the maximum.
//!
//! While the database does not answer, the values stay what they were; `operations_observed_timestamp_seconds` says of when they are.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tenantry_kit::stream::StreamMetrics;
use tenantry_kit::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use super::pause;
use crate::domain::operations::{Operations, WaitsFor};
use crate::domain::payment::UnpaidPrizes;
use crate::settings::Settings;
use crate::store::Store;

const INTERVAL: Duration = Duration::from_secs(5);

type Seconds = Gauge<f64, AtomicU64>;

/// Observes until `shutdown`.
pub(super) async fn run(metrics: WorkerMetrics, streams: StreamMetrics, store: Store, settings: Settings, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        match store.operations(settings.late_purchase_grace_seconds, settings.max_rate_age_days).await {
            Ok(operations) => {
                streams.observe(&operations.lags);
                metrics.observe(&operations);
            }
            Err(error) => tracing::warn!(%error, "the stages cannot be observed"),
        }
        pause(INTERVAL, &shutdown).await;
    }
}

/// The metrics of a worker. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct WorkerMetrics {
    observed: Seconds,
    announced: Counter,
    unannounced: Gauge,
    unannounced_seconds: Seconds,
    running: Gauge,
    awaiting: Family<WaitsForLabels, Gauge>,
    awaiting_seconds: Family<WaitsForLabels, Seconds>,
    parked: Gauge,
    parked_seconds: Seconds,
    gaps: Gauge,
    dead_letters: Family<ReasonLabels, Gauge>,
    unpaid: Family<StateLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitsForLabels {
    waits_for: &'static str,
}

impl WorkerMetrics {
    /// Registers the metrics; once a process.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "operations_observed_timestamp_seconds",
                "When what is computed from the database was computed last, in seconds since 1970",
                own.observed.clone(),
            );
            registry.register(
                "lifecycle_events_announced",
                "Starts and ends of campaigns that this process announced",
                own.announced.clone(),
            );
            registry.register(
                "lifecycle_events_overdue",
                "Starts and ends of campaigns that are due and not announced, as far as 1000 of each",
                own.unannounced.clone(),
            );
            registry.register(
                "lifecycle_events_overdue_seconds",
                "For how long the first of them has been due",
                own.unannounced_seconds.clone(),
            );
            registry.register("campaigns_running", "Campaigns that run, as far as 1000", own.running.clone());
            registry.register(
                "campaigns_awaiting_completion",
                "Campaigns whose end and grace are over and that have no winner yet, by what they wait for, as far as 1000",
                own.awaiting.clone(),
            );
            registry.register(
                "campaigns_awaiting_completion_seconds",
                "For how long the first of them has waited",
                own.awaiting_seconds.clone(),
            );
            registry.register("parked_purchases", "Purchases that wait for an exchange rate, as far as 100000", own.parked.clone());
            registry.register("parked_purchases_oldest_seconds", "For how long the first of them has waited", own.parked_seconds.clone());
            registry.register("exchange_rate_gaps", "Exchange rates that purchases wait for, as far as 1000", own.gaps.clone());
            registry.register(
                "purchase_dead_letters",
                "Purchases that do not count for a campaign that they concern, as far as 100000",
                own.dead_letters.clone(),
            );
            registry.register("prizes_unpaid", "Prizes that are not paid, each state as far as 100000", own.unpaid.clone());
        });
        own
    }

    pub(super) fn announced(&self, events: usize) {
        self.announced.inc_by(events as u64);
    }

    fn observe(&self, operations: &Operations) {
        self.unannounced.set(whole(operations.unannounced.count));
        self.unannounced_seconds.set(operations.unannounced.oldest.as_secs_f64());
        self.running.set(whole(operations.running));
        for waits_for in WaitsFor::ALL {
            let waiting = || operations.awaiting_completion.iter().filter(|campaign| campaign.waits_for == waits_for);
            let labels = WaitsForLabels { waits_for: waits_for.word() };
            self.awaiting.get_or_create(&labels).set(whole(waiting().count() as u64));
            let longest = waiting().map(|campaign| campaign.waiting).max().unwrap_or_default();
            self.awaiting_seconds.get_or_create(&labels).set(longest.as_secs_f64());
        }
        self.parked.set(whole(operations.parked.count));
        self.parked_seconds.set(operations.parked.oldest.as_secs_f64());
        self.gaps.set(whole(operations.rate_gaps.len() as u64));
        for (reason, letters) in &operations.dead_letters {
            self.dead_letters.get_or_create(&ReasonLabels { reason: reason.to_string() }).set(whole(*letters));
        }
        let UnpaidPrizes { held, waiting, dead } = operations.unpaid;
        for (state, prizes) in [("held", held), ("waiting", waiting), ("dead", dead)] {
            self.unpaid.get_or_create(&StateLabels { state }).set(prizes);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.observed.set(now.as_secs_f64());
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
