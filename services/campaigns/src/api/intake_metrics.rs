//! What the intake of purchases tells the outside. Labels are the kinds of problem: bounded.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tenantry_kit::problem::Problem;
use tenantry_kit::telemetry::Metrics;

/// The metrics of the intake of a process. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct IntakeMetrics {
    accepted: Counter,
    repeated: Counter,
    refused: Family<RefusalLabels, Counter>,
    commits: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

impl IntakeMetrics {
    /// Registers the metrics; once a process.
    pub(super) fn register(metrics: &Metrics) -> Self {
        const BUCKETS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 10_000.0];
        let intake = Self {
            accepted: Counter::default(),
            repeated: Counter::default(),
            refused: Family::default(),
            commits: Histogram::new(BUCKETS),
        };
        metrics.register(|registry| {
            registry.register("purchases_accepted", "Purchases that are durable since the request", intake.accepted.clone());
            registry.register("purchases_repeated", "Purchases that were durable already, with the same content", intake.repeated.clone());
            registry.register(
                "purchases_refused",
                "Purchases, and requests with purchases that were refused whole, by the kind of problem",
                intake.refused.clone(),
            );
            registry.register("purchases_per_commit", "Purchases that were committed together", intake.commits.clone());
        });
        intake
    }

    pub(super) fn accepted(&self, purchases: usize) {
        self.accepted.inc_by(purchases as u64);
    }

    pub(super) fn repeated(&self, purchases: usize) {
        self.repeated.inc_by(purchases as u64);
    }

    /// One purchase, or one request whole.
    pub(super) fn refused(&self, problem: &Problem) {
        self.refused.get_or_create(&RefusalLabels { reason: problem.kind().slug() }).inc();
    }

    pub(super) fn committed(&self, purchases: usize) {
        self.commits.observe(purchases as f64);
    }
}
