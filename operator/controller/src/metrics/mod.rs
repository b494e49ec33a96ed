//! The operator's metrics and where they are served. Labels are bounded: kinds, tracks, steps and reasons are constants of the
//! code, never names of tenants; a PostgreSQL server's gauges carry its class and name, of a limited number. What the operator
//! does is counted here; what it sees, [`fleet`] reads from the caches when it is asked.

mod fleet;
mod servers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tenantry_plan::TrackName;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use fleet::Fleet;
pub use servers::ServerStates;

/// Prefix of every metric.
const PREFIX: &str = "tenantry";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrackLabels {
    kind: &'static str,
    track: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrackLabel {
    kind: &'static str,
    track: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    verb: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// What the operator counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    queue_seconds: Seconds<KindLabel>,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_seconds: Seconds<KindLabel>,
    tracks: Family<TrackLabels, Counter>,
    track_seconds: Seconds<TrackLabel>,
    errors: Family<ErrorLabels, Counter>,
    objects: Family<ObjectLabels, Counter>,
    database_step_seconds: Seconds<StepLabel>,
    status_writes: Family<KindLabel, Counter>,
    events: Family<KindLabel, Counter>,
    watch_failures: Family<KindLabel, Counter>,
    watch_restarts: Family<KindLabel, Counter>,
    leader: Gauge<i64, AtomicI64>,
    /// Reconciles that occupy a worker.
    pub working: Gauge<i64, AtomicI64>,
    confined: Gauge<i64, AtomicI64>,
    /// What the PostgreSQL servers said last.
    pub servers: ServerStates,
}

/// How a reconcile or a track ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Settled,
    Changed,
    Waiting,
    Stalled,
    Failed,
}

impl Ended {
    fn label(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Changed => "changed",
            Self::Waiting => "waiting",
            Self::Stalled => "stalled",
            Self::Failed => "failed",
        }
    }
}

/// What was done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Apply,
    Delete,
    SetFinalizer,
}

impl Verb {
    fn label(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::SetFinalizer => "set-finalizer",
        }
    }
}

/// From a millisecond to a minute, with bounds where goals are.
fn buckets() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0])
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            queue_seconds: Family::new_with_constructor(buckets),
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(buckets),
            tracks: Family::default(),
            track_seconds: Family::new_with_constructor(buckets),
            errors: Family::default(),
            objects: Family::default(),
            database_step_seconds: Family::new_with_constructor(buckets),
            status_writes: Family::default(),
            events: Family::default(),
            watch_failures: Family::default(),
            watch_restarts: Family::default(),
            leader: Gauge::default(),
            working: Gauge::default(),
            confined: Gauge::default(),
            servers: ServerStates::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("queue_seconds", "From the event that wakes an object to the begin of its reconcile", self.queue_seconds.clone());
        registry.register("reconciles", "Reconciles, by kind and result", self.reconciles.clone());
        registry.register("reconcile_seconds", "Duration of reconciles, by kind", self.reconcile_seconds.clone());
        registry.register("tracks", "Executed tracks, by kind, track and result", self.tracks.clone());
        registry.register("track_seconds", "Duration of a track's execution, by kind and track", self.track_seconds.clone());
        registry.register("errors", "Failed tracks and reconciles, by kind and reason", self.errors.clone());
        registry.register("objects", "Writes to objects, statuses apart, by verb and kind", self.objects.clone());
        registry.register(
            "database_step_seconds",
            "Duration of steps that changed a PostgreSQL server, by kind of step",
            self.database_step_seconds.clone(),
        );
        registry.register("status_writes", "Written statuses, by kind", self.status_writes.clone());
        registry.register("events", "Published events, by kind", self.events.clone());
        registry.register("watch_failures", "Failures of watches, by kind", self.watch_failures.clone());
        registry.register("watch_restarts", "Lists that a watch began with again, by kind", self.watch_restarts.clone());
        registry.register("leader", "1 while this replica leads", self.leader.clone());
        registry.register("reconciles_working", "Reconciles that occupy a worker, and do not wait for PostgreSQL", self.working.clone());
        let confined = "1 while the admission policies are there without which the operator writes nothing";
        registry.register("confined", confined, self.confined.clone());
    }

    pub fn queued(&self, kind: &'static str, waited: Duration) {
        self.queue_seconds.get_or_create(&KindLabel { kind: kind.to_owned() }).observe(waited.as_secs_f64());
    }

    pub fn reconciled(&self, kind: &'static str, ended: Ended, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { kind, result: ended.label() }).inc();
        self.reconcile_seconds.get_or_create(&KindLabel { kind: kind.to_owned() }).observe(took.as_secs_f64());
    }

    pub fn track_ended(&self, kind: &'static str, track: TrackName, ended: Ended, took: Duration) {
        let track = track.name();
        self.tracks.get_or_create(&TrackLabels { kind, track, result: ended.label() }).inc();
        self.track_seconds.get_or_create(&TrackLabel { kind, track }).observe(took.as_secs_f64());
    }

    pub fn failed(&self, kind: &'static str, reason: &'static str) {
        self.errors.get_or_create(&ErrorLabels { kind, reason }).inc();
    }

    pub fn object_written(&self, verb: Verb, kind: &'static str) {
        self.objects.get_or_create(&ObjectLabels { verb: verb.label(), kind }).inc();
    }

    pub fn database_step_done(&self, step: &'static str, took: Duration) {
        self.database_step_seconds.get_or_create(&StepLabel { step }).observe(took.as_secs_f64());
    }

    pub fn status_written(&self, kind: &'static str) {
        self.status_writes.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    pub fn event_published(&self, kind: &str) {
        self.events.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// Counts from zero: an alert on an increase would miss the first.
    pub fn watch_begins(&self, kind: &str) {
        let label = KindLabel { kind: kind.to_owned() };
        drop(self.watch_failures.get_or_create(&label));
        drop(self.watch_restarts.get_or_create(&label));
    }

    pub fn watch_failed(&self, kind: &str) {
        self.watch_failures.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    pub fn watch_restarted(&self, kind: &str) {
        self.watch_restarts.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    pub fn confined(&self, confined: bool) {
        self.confined.set(confined.into());
    }

    pub fn leads(&self) {
        self.leader.set(1);
    }

    fn is_leading(&self) -> bool {
        self.leader.get() == 1
    }

    fn text(&self, fleet: &Fleet) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &fleet.registry(self));
        let _ = encode_eof(&mut text);
        text
    }
}

/// Serves `/metrics` until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, fleet: Fleet, shutdown: CancellationToken) -> std::io::Result<()> {
    let fleet = Arc::new(fleet);
    let answer = move || {
        let (metrics, fleet) = (Arc::clone(&metrics), Arc::clone(&fleet));
        async move { ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text(&fleet)) }
    };
    let router = Router::new().route("/metrics", get(answer));
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
