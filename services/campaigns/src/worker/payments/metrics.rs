//! What the payments tell the outside, beside what every queue does.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tenantry_kit::telemetry::Metrics;
use tenantry_kit::webhook::Undelivered;

/// The metrics of the payments. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct PaymentMetrics {
    tries: Family<TryLabels, Counter>,
    credential_usable: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TryLabels {
    outcome: &'static str,
}

/// How a try ends: each is told from the start, as none.
const OUTCOMES: [&str; 6] = ["paid", "refused", "later", "timed_out", "unreachable", "no_credential"];

impl PaymentMetrics {
    /// Registers the metrics; once a process.
    pub(super) fn register(metrics: &Metrics) -> Self {
        let payments = Self::default();
        for outcome in OUTCOMES {
            payments.tries.get_or_create(&TryLabels { outcome }).inc_by(0);
        }
        metrics.register(|registry| {
            registry.register("prize_payment_tries", "Tries to have a prize paid by the webhook", payments.tries.clone());
            registry.register(
                "prize_webhook_credential_usable",
                "Whether the webhook's credential can be used; 0 where there is no webhook",
                payments.credential_usable.clone(),
            );
        });
        payments
    }

    /// Counts a try.
    pub(super) fn tried(&self, sent: &Result<(), Undelivered>) {
        let outcome = match sent {
            Ok(()) => "paid",
            Err(Undelivered::Refused { .. }) => "refused",
            Err(Undelivered::Later { .. }) => "later",
            Err(Undelivered::TimedOut(_)) => "timed_out",
            Err(Undelivered::Unreachable(_)) => "unreachable",
            Err(Undelivered::Credential(_)) => "no_credential",
        };
        self.tries.get_or_create(&TryLabels { outcome }).inc();
    }

    pub(super) fn credential_is_usable(&self, usable: bool) {
        self.credential_usable.set(usable.into());
    }
}
