//! The worker: three stages that stand on the streams, the release of what waits, and the chores.
//!
//! `lifecycle` announces starts and ends; `qualification` (PQS) turns purchases into qualified purchases; `results` (RCS) adds them up; what has no
//! exchange rate yet waits until `release` has one; `completion` fixes the winners when all is counted; `payments` has them paid.
//! Each stage's effect and its position in the stream are one transaction, so that any number of workers can run, and be killed.

mod chores;
mod completion;
mod conversion;
mod lifecycle;
mod metrics;
mod payments;
mod qualification;
mod release;
mod results;

use std::time::Duration;

use tenantry_kit::service::{Context, ServiceError};
use tenantry_kit::stream::{Consumer, StreamError, StreamMetrics, Wake};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;
use crate::store::{QUALIFICATION_GROUP, RESULTS_GROUP, Store};
use chores::Retentions;
use conversion::Conversion;
pub use metrics::WorkerMetrics;
pub use payments::{Payments, WEBHOOK_CREDENTIAL};
use qualification::Qualification;
use results::Results;

/// How many consumers a stage has in one process. Two, so that one computes while the other waits for the database.
const CONSUMERS: usize = 2;
/// How long to wait for the database before the streams are looked for again.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// Why the worker ends before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The process was not given what the worker needs.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The schema has not what the worker needs.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// TLS cannot be set up.
    #[error("the webhook cannot be set up: {0}")]
    Webhook(#[from] rustls::Error),
    /// A stage broke off.
    #[error("a stage of the worker broke off: {0}")]
    Stage(#[from] JoinError),
}

/// Runs until shutdown is requested; what is in work is finished.
///
/// # Errors
/// See [`WorkerError`]. A database that is not available is none: the worker waits for it.
pub async fn run(context: Context<Settings>) -> Result<(), WorkerError> {
    let store = Store::new(context.database()?.clone());
    let streams = StreamMetrics::register(&context.metrics);
    let metrics = WorkerMetrics::register(&context.metrics);
    let payments = Payments::of(&context)?;
    run_stages_with(&context.settings, store, streams, metrics, payments, context.shutdown.token().clone()).await
}

/// [`run`] with its parts, and the default settings.
///
/// # Errors
/// As [`run`].
pub async fn run_stages(store: Store, streams: StreamMetrics, shutdown: CancellationToken) -> Result<(), WorkerError> {
    run_stages_with(&Settings::default(), store, streams, WorkerMetrics::default(), Payments::held(), shutdown).await
}

/// [`run`], with its parts.
///
/// # Errors
/// As [`run`].
pub async fn run_stages_with(
    settings: &Settings,
    store: Store,
    streams: StreamMetrics,
    metrics: WorkerMetrics,
    payments: Payments,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let rules = settings.qualification_rules();
    let conversion = Conversion { max_rate_age_days: settings.max_rate_age_days };
    let topics = store.topics().clone();
    let qualified = Wake::default();
    let purchases =
        || Consumer::new(store.database().clone(), topics.purchase_events.clone(), QUALIFICATION_GROUP, &streams).waking(qualified.clone());
    let qualifications = || {
        Consumer::new(store.database().clone(), topics.qualified_purchase_events.clone(), RESULTS_GROUP, &streams)
            .woken_by(qualified.clone())
    };
    for consumer in [purchases(), qualifications()] {
        wait_for(&consumer, &shutdown).await?;
    }
    let mut stages = JoinSet::new();
    for _ in 0..CONSUMERS {
        stages.spawn(purchases().run(Qualification::new(&topics, rules), shutdown.clone()));
        stages.spawn(qualifications().run(Results::new(&topics, conversion), shutdown.clone()));
    }
    stages.spawn(lifecycle::run(store.clone(), metrics.clone(), shutdown.clone()));
    stages.spawn(release::run(store.clone(), conversion, shutdown.clone()));
    stages.spawn(completion::run(store.clone(), settings.late_purchase_grace_seconds, settings.prizes(), shutdown.clone()));
    stages.spawn(metrics::run(metrics, streams.clone(), store.clone(), settings.clone(), shutdown.clone()));
    stages.spawn(payments.run(store.clone(), shutdown.clone()));
    stages.spawn(chores::run(store.clone(), Retentions::of(settings), shutdown.clone()));
    while let Some(ended) = stages.join_next().await {
        ended?;
    }
    Ok(())
}

async fn wait_for(consumer: &Consumer, shutdown: &CancellationToken) -> Result<(), StreamError> {
    while !shutdown.is_cancelled() {
        match consumer.check().await {
            Err(error) if error.is_unavailable() => tracing::warn!(%error, "waiting for the database"),
            outcome => return outcome,
        }
        pause(START_INTERVAL, shutdown).await;
    }
    Ok(())
}

/// Waits, but not longer than until shutdown.
async fn pause(duration: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        () = shutdown.cancelled() => {}
    }
}
