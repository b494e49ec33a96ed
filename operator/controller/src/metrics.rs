//! The operator's metrics and where they are served. Labels are bounded: kinds, tracks, steps and reasons are constants of the
//! code, never names of tenants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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
    track: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    kind: &'static str,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: String,
}

/// What the operator counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_seconds: Family<KindLabel, Histogram, fn() -> Histogram>,
    tracks: Family<TrackLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    steps: Family<StepLabels, Counter>,
    database_steps: Family<StepLabels, Counter>,
    status_writes: Family<KindLabel, Counter>,
    watch_failures: Family<KindLabel, Counter>,
    running: Gauge<i64, AtomicI64>,
    leader: Gauge<i64, AtomicI64>,
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

impl Metrics {
    pub fn new() -> Self {
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.5, 12));
        let mut metrics = Self {
            registry: Registry::with_prefix("tenantry"),
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(buckets),
            tracks: Family::default(),
            errors: Family::default(),
            steps: Family::default(),
            database_steps: Family::default(),
            status_writes: Family::default(),
            watch_failures: Family::default(),
            running: Gauge::default(),
            leader: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("reconciles", "Reconciles, by kind and result", self.reconciles.clone());
        registry.register("reconcile_seconds", "Duration of reconciles, by kind", self.reconcile_seconds.clone());
        registry.register("tracks", "Executed tracks, by kind, track and result", self.tracks.clone());
        registry.register("errors", "Failed tracks and reconciles, by kind and reason", self.errors.clone());
        registry.register("steps", "Steps that changed the cluster, by kind of step and object", self.steps.clone());
        registry.register("database_steps", "Steps that changed a PostgreSQL server, by kind of step", self.database_steps.clone());
        registry.register("status_writes", "Written statuses, by kind", self.status_writes.clone());
        registry.register("watch_failures", "Failures of watches, by kind", self.watch_failures.clone());
        registry.register("reconciles_running", "Reconciles that are under way", self.running.clone());
        registry.register("leader", "1 while this replica leads", self.leader.clone());
    }

    pub fn reconciled(&self, kind: &'static str, ended: Ended, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { kind, result: ended.label() }).inc();
        self.reconcile_seconds.get_or_create(&KindLabel { kind: kind.to_owned() }).observe(took.as_secs_f64());
    }

    pub fn track_ended(&self, kind: &'static str, track: &str, ended: Ended) {
        self.tracks.get_or_create(&TrackLabels { kind, track: track.to_owned(), result: ended.label() }).inc();
    }

    pub fn failed(&self, kind: &'static str, reason: &str) {
        self.errors.get_or_create(&ErrorLabels { kind, reason: reason.to_owned() }).inc();
    }

    pub fn step_done(&self, step: String) {
        self.steps.get_or_create(&StepLabels { step }).inc();
    }

    pub fn database_step_done(&self, step: &str) {
        self.database_steps.get_or_create(&StepLabels { step: step.to_owned() }).inc();
    }

    pub fn status_written(&self, kind: &str) {
        self.status_writes.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    pub fn watch_failed(&self, kind: &str) {
        self.watch_failures.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    pub fn running(&self) -> &Gauge<i64, AtomicI64> {
        &self.running
    }

    pub fn leads(&self) {
        self.leader.set(1);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Serves `/metrics` until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, shutdown: CancellationToken) -> std::io::Result<()> {
    let answer = move || {
        let metrics = Arc::clone(&metrics);
        async move { ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text()) }
    };
    let router = Router::new().route("/metrics", get(answer));
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving metrics");
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
