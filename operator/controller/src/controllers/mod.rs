//! The control loops: one per kind, each a sentence of observe, plan, apply and report.

mod class;
mod group;
mod release;
mod slot;

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, StreamExt};
use kube::ResourceExt;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::ObjectRef;
use tenantry_plan::Plan;
use tokio_util::sync::CancellationToken;

use crate::caches::Queues;
use crate::context::Context;
use crate::error::ReconcileError;
use crate::metrics::Ended;
use crate::primary::Primary;

/// How a reconcile that did not fail ended, and when to look again without an event.
pub struct Done {
    ended: Ended,
    again: Again,
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// At once: something changed that no event will tell of.
    Soon,
    /// After that long, give or take a tenth.
    After(Duration),
    /// As after a failure: something outside of the cluster has to come back.
    BackingOff,
}

const SOON: Duration = Duration::from_millis(20);

/// Runs all controllers until `stop`, and what was begun to its end.
pub async fn run(queues: Queues, context: Arc<Context>, workers: u16, stop: CancellationToken) {
    let few = (workers / 4).max(1);
    tokio::join!(
        control(queues.groups, few, &context, &stop, group::reconcile),
        control(queues.slots, workers, &context, &stop, slot::reconcile),
        control(queues.classes, few, &context, &stop, class::reconcile),
        control(queues.releases, few, &context, &stop, release::reconcile),
    );
}

async fn control<K, F>(
    queue: UnboundedReceiver<ObjectRef<K>>,
    workers: u16,
    context: &Arc<Context>,
    stop: &CancellationToken,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Primary,
    F: Future<Output = Result<Done, ReconcileError>> + Send + 'static,
{
    let queue = queue.map(Ok::<_, Infallible>).take_until(stop.clone().cancelled_owned());
    let store = K::cache(&context.caches).store.clone();
    let timed = move |object: Arc<K>, context: Arc<Context>| {
        let object = K::cache(&context.caches).latest(&object);
        // Each on a task of its own, so that planning uses all cores.
        let task = tokio::spawn(timed(object, context, reconcile));
        async move { task.await.unwrap_or(Err(ReconcileError::Panicked)) }.boxed()
    };
    let retry =
        |object: Arc<K>, _: &ReconcileError, context: Arc<Context>| Action::requeue(context.backoff.failed(key(&*object), Instant::now()));
    let config = Config::default().concurrency(workers);
    applier(timed, retry, Arc::clone(context), store, queue, config).for_each(|_| std::future::ready(())).await;
}

async fn timed<K, F>(object: Arc<K>, context: Arc<Context>, reconcile: fn(Arc<K>, Arc<Context>) -> F) -> Result<Action, ReconcileError>
where
    K: Primary,
    F: Future<Output = Result<Done, ReconcileError>> + Send + 'static,
{
    let key = key(&*object);
    let _running = context.health.begin(key.clone());
    context.metrics.running().inc();
    let began = Instant::now();
    let result = reconcile(object, Arc::clone(&context)).await;
    context.metrics.running().dec();
    let ended = result.as_ref().map_or(Ended::Failed, |done| done.ended);
    context.metrics.reconciled(K::KIND.kind, ended, began.elapsed());
    match result {
        Ok(Done { again: Again::BackingOff, .. }) => {
            // Whoever repairs it waits for it: never longer than for a Secret.
            Ok(Action::requeue(context.backoff.failed(key, Instant::now()).min(context.secret_interval)))
        }
        Ok(Done { again, .. }) => {
            context.backoff.succeeded(&key);
            Ok(Action::requeue(match again {
                Again::After(duration) => crate::backoff::jittered(duration),
                _ => SOON,
            }))
        }
        Err(error) => {
            tracing::warn!(object = key, reason = error.reason(), %error, "a reconcile failed");
            context.metrics.failed(K::KIND.kind, error.reason());
            Err(error)
        }
    }
}

/// How a plan that was executed without failure ended.
pub fn ended(plan: &Plan) -> Ended {
    let tracks = &plan.tracks;
    if tracks.iter().any(|track| track.stall.is_some()) {
        Ended::Stalled
    } else if tracks.iter().any(|track| !track.waves.is_empty()) {
        Ended::Changed
    } else if tracks.iter().any(|track| track.wait.is_some()) {
        Ended::Waiting
    } else {
        Ended::Settled
    }
}

fn key<K: Primary>(object: &K) -> String {
    let name: &dyn Display = &object.name_any();
    match object.namespace() {
        Some(namespace) => format!("{} {namespace}/{name}", K::KIND.kind),
        None => format!("{} {name}", K::KIND.kind),
    }
}
