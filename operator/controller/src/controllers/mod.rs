//! The control loops: one per kind, each a sentence of observe, plan, apply and report.

mod class;
mod group;
mod release;
mod slot;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tenantry_plan::{Outcome, Plan};
use tokio_util::sync::CancellationToken;

use crate::caches::Triggers;
use crate::context::Context;
use crate::error::ReconcileError;
use crate::metrics::Ended;
use crate::primary::Primary;
use crate::queue::Queue;
use crate::workers::Workers;

/// How a reconcile that did not fail ended, and when to look again without an event.
pub struct Done {
    ended: Ended,
    again: Again,
    /// The least time to the next reconcile of the same object, whatever wakes it.
    spacing: Duration,
}

impl Done {
    fn new(ended: Ended, again: Again) -> Self {
        Self { ended, again, spacing: Duration::ZERO }
    }

    /// For what counts its users: not anew for each of a thousand that come at once. The first is not waited with, since from
    /// then on the object is held.
    fn counting(self, users: &[String]) -> Self {
        Self { spacing: if users.is_empty() { Duration::ZERO } else { COUNTING }, ..self }
    }
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
/// An object that failed is not tried again at once whatever wakes it; drift in it is still repaired in time.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
const COUNTING: Duration = Duration::from_secs(2);
/// After a bug.
const PANICKED: Duration = Duration::from_secs(30);

/// Runs all controllers until `stop`, and what was begun to its end.
pub async fn run(triggers: Arc<Triggers>, context: Arc<Context>, workers: u16, stop: CancellationToken) {
    let few = (workers / 4).max(1);
    tokio::join!(
        control(&triggers.groups, few, &context, &stop, group::reconcile),
        control(&triggers.slots, workers, &context, &stop, slot::reconcile),
        control(&triggers.classes, few, &context, &stop, class::reconcile),
        control(&triggers.releases, few, &context, &stop, release::reconcile),
        context.attempts.follow(&stop),
    );
}

async fn control<K, F>(
    queue: &Queue,
    workers: u16,
    context: &Arc<Context>,
    stop: &CancellationToken,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Primary,
    F: Future<Output = Result<Done, ReconcileError>> + Send + 'static,
{
    let workers = Workers::new(workers, context.metrics.working.clone());
    let mut running = FuturesUnordered::new();
    loop {
        let next = async {
            queue.wait_for_one().await;
            workers.turn().await
        };
        let turn = tokio::select! {
            () = stop.cancelled() => break,
            Some(()) = running.next(), if !running.is_empty() => continue,
            turn = next => turn,
        };
        let Some(due) = queue.take() else { continue };
        let known = K::cache(&context.caches).objects.get(due.place.namespace(), due.place.name());
        let Some(object) = known else {
            let key = key_of::<K>(due.place.namespace(), due.place.name());
            context.backoff.succeeded(&key);
            context.unsaid.said(&key);
            queue.gone(&due.place);
            continue;
        };
        if let Some(waited) = due.waited {
            context.metrics.queued(K::KIND.kind, waited);
        }
        // Each on a task of its own, so that planning uses all cores.
        let task = tokio::spawn(turn.work(timed(object, Arc::clone(context), reconcile)));
        running.push(async move {
            let (again, pause) = task.await.unwrap_or((PANICKED, PANICKED));
            queue.done(&due.place, again, pause);
        });
    }
    while running.next().await.is_some() {}
}

/// Gives when to look again, and how long not to even if something wakes the object.
async fn timed<K, F>(object: Arc<K>, context: Arc<Context>, reconcile: fn(Arc<K>, Arc<Context>) -> F) -> (Duration, Duration)
where
    K: Primary,
    F: Future<Output = Result<Done, ReconcileError>> + Send + 'static,
{
    if context.confinement.fault().is_some() {
        // Everything is looked at again as soon as the policies are back.
        return (context.resync_interval, Duration::ZERO);
    }
    let key = key(&*object);
    let _running = context.health.begin(key.clone());
    let began = Instant::now();
    let result = AssertUnwindSafe(reconcile(object, Arc::clone(&context))).catch_unwind().await.unwrap_or(Err(ReconcileError::Panicked));
    let ended = result.as_ref().map_or(Ended::Failed, |done| done.ended);
    context.metrics.reconciled(K::KIND.kind, ended, began.elapsed());
    match result {
        Ok(Done { again: Again::BackingOff, .. }) => {
            // Whoever repairs it waits for it: never longer than for a Secret.
            let wait = context.backoff.failed(key, Instant::now()).min(context.secret_interval);
            (wait, wait.min(FAILED_PAUSE))
        }
        Ok(Done { again, spacing, .. }) => {
            context.backoff.succeeded(&key);
            let again = match again {
                Again::After(duration) => crate::backoff::jittered(duration),
                _ => SOON,
            };
            (again, spacing)
        }
        Err(error) => {
            tracing::warn!(object = key, reason = error.reason(), %error, "a reconcile failed");
            context.metrics.failed(K::KIND.kind, error.reason());
            let wait = context.backoff.failed(key, Instant::now());
            (wait, wait.min(FAILED_PAUSE))
        }
    }
}

impl Again {
    /// That, or earlier.
    fn at_most(self, wait: Option<Duration>) -> Self {
        match (self, wait) {
            (Self::After(after), Some(wait)) => Self::After(after.min(wait)),
            (again, _) => again,
        }
    }
}

/// How an executed plan ended.
pub fn ended(plan: &Plan, outcome: &Outcome) -> Ended {
    let tracks = &plan.tracks;
    if crate::report::failure(outcome).is_some() {
        Ended::Failed
    } else if tracks.iter().any(|track| track.stall.is_some()) {
        Ended::Stalled
    } else if tracks.iter().any(|track| !track.waves.is_empty()) {
        Ended::Changed
    } else if tracks.iter().any(|track| track.wait.is_some()) {
        Ended::Waiting
    } else {
        Ended::Settled
    }
}

/// What an object is called in logs, and in what is remembered about it.
pub fn key<K: Primary>(object: &K) -> String {
    key_of::<K>(object.meta().namespace.as_deref().unwrap_or_default(), object.meta().name.as_deref().unwrap_or_default())
}

fn key_of<K: Primary>(namespace: &str, name: &str) -> String {
    let separator = if namespace.is_empty() { "" } else { "/" };
    format!("{} {namespace}{separator}{name}", K::KIND.kind)
}
