//! What the standings tell the outside. No label has a campaign's or a user's id: bounded.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tenantry_kit::telemetry::Metrics;

/// The metrics of the standings of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct LiveMetrics {
    tops: Counter,
    positions: Counter,
    reads: Histogram,
    rebuilds: Counter,
    lag: Gauge,
    current: Gauge<f64, AtomicU64>,
    campaigns: Gauge,
    users: Gauge,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Answer {
    /// The first positions.
    Top,
    /// A user's position.
    Position,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    answer: Answer,
}

impl LiveMetrics {
    /// Registers the metrics; once a process.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        const BUCKETS: [f64; 8] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];
        let served: Family<AnswerLabels, Counter> = Family::default();
        let of = |answer| served.get_or_create(&AnswerLabels { answer }).clone();
        let live = Self {
            tops: of(Answer::Top),
            positions: of(Answer::Position),
            reads: Histogram::new(BUCKETS),
            rebuilds: Counter::default(),
            lag: Gauge::default(),
            current: Gauge::default(),
            campaigns: Gauge::default(),
            users: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("standings_answers", "Questions for positions that were answered", served.clone());
            registry.register("standings_read_seconds", "Time to read the standings of a campaign from the database", live.reads.clone());
            registry.register(
                "standings_rebuilds",
                "Times that the standings of a campaign were to be read again, as events were missing",
                live.rebuilds.clone(),
            );
            registry.register(
                "standings_current_timestamp_seconds",
                "When this process had last applied every event of changed totals, in seconds since 1970",
                live.current.clone(),
            );
            registry.register("standings_lag_events", "Events of changed totals that this process has not applied", live.lag.clone());
            registry.register("standings_campaigns", "Campaigns whose standings are in memory", live.campaigns.clone());
            registry.register("standings_users", "Users in the standings that are in memory", live.users.clone());
        });
        live
    }

    /// One question was answered.
    pub(super) fn answered(&self, answer: Answer) {
        match answer {
            Answer::Top => self.tops.inc(),
            Answer::Position => self.positions.inc(),
        };
    }

    pub(super) fn read(&self, took: Duration) {
        self.reads.observe(took.as_secs_f64());
    }

    pub(super) fn rebuilt(&self) {
        self.rebuilds.inc();
    }

    /// The topic was read, and so many events of it were not reached.
    pub(super) fn lags(&self, events: u64) {
        self.lag.set(i64::try_from(events).unwrap_or(i64::MAX));
        if events == 0 {
            self.current.set(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        }
    }

    /// How many events were not reached, and for how long this process has not had them all; `None` if it never had.
    pub(super) fn behind(&self) -> (u64, Option<Duration>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let current = Duration::try_from_secs_f64(self.current.get()).ok().filter(|current| !current.is_zero());
        (self.lag.get().unsigned_abs(), current.map(|current| now.saturating_sub(current)))
    }

    pub(super) fn held(&self, campaigns: usize, users: usize) {
        self.campaigns.set(i64::try_from(campaigns).unwrap_or(i64::MAX));
        self.users.set(i64::try_from(users).unwrap_or(i64::MAX));
    }
}
