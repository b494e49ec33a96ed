//! Report: writes what the plan's pure functions say of an outcome, when it differs from what is there; and an event when a
//! condition changed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tenantry_crds::names::FIELD_MANAGER;
use tenantry_plan::{Now, Plan, Step, TrackOutcome, reasons};

use crate::apply::{Planned, Point};
use crate::context::Context;
use crate::controllers;
use crate::error::Failure;
use crate::events::truncated;
use crate::kinds::{Kind, RESOURCE_GROUP};
use crate::metrics::Ended;
use crate::primary::Primary;

/// The longest message of a condition, in bytes; the API server refuses longer ones.
const LONGEST_MESSAGE: usize = 4096;

/// The clock's reading that goes into conditions.
pub fn now() -> Now {
    // Conditions have whole seconds: a reading with more would never equal what comes back.
    let seconds = k8s_openapi::jiff::Timestamp::now().as_second();
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap_or_default())
}

/// What is on its way is not said at every step: a slot whose steps take a second goes from nothing to Ready in one write.
/// So long a state of waiting is not worth a word.
const WAITING_UNSAID: Duration = Duration::from_secs(2);
/// So long not of a group, which says from the beginning that it is on its way, and whose slots say how far.
const GROUP_WAITING_UNSAID: Duration = Duration::from_secs(30);
/// And so long one in which each run changes something, and the next will say what came of it.
const CHANGING_UNSAID: Duration = Duration::from_secs(20);

/// Since when objects are on their way without their status saying how far, by their keys.
#[derive(Debug, Default)]
pub struct Unsaid {
    since: Mutex<HashMap<String, Instant>>,
}

impl Unsaid {
    /// How long the present state need not be said yet; none if it is time.
    fn patience(&self, kind: Kind, key: String, ended: Ended, now: Instant) -> Option<Duration> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.entry(key).or_insert(now);
        let unsaid = match ended {
            Ended::Changed => CHANGING_UNSAID,
            _ if kind == RESOURCE_GROUP => GROUP_WAITING_UNSAID,
            _ => WAITING_UNSAID,
        };
        (since + unsaid).checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// It was said, or there is nobody any more of whom to say it.
    pub fn said(&self, key: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Writes the status of an object if it changed; gives how long to wait with it, where there is no hurry.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn status<K: Primary>(object: &K, mut status: K::Status, ended: Ended, context: &Context) -> Result<Option<Duration>, Failure> {
    for condition in K::conditions_mut(&mut status) {
        condition.message = truncated(&condition.message, LONGEST_MESSAGE);
    }
    let key = controllers::key(object);
    if object.status() == Some(&status) {
        context.unsaid.said(&key);
        return Ok(None);
    }
    let is_news = is_news(object, &status);
    if !is_news
        && ended != Ended::Failed
        && let Some(patience) = context.unsaid.patience(K::KIND, key.clone(), ended, Instant::now())
    {
        return Ok(Some(patience));
    }
    context.unsaid.said(&key);
    context.confinement.checked()?;
    let name = object.name_any();
    // The API server ignores a UID in what is written to a status: only the resource version keeps the status of an object
    // from landing on its successor, when a former leader goes on.
    let known = K::cache(&context.caches).objects.get(&object.namespace().unwrap_or_default(), &name);
    let Some(known) = known.filter(|known| known.uid() == object.uid()) else { return Ok(None) };
    // What another writer put there meanwhile (a second leader, by mistake) would be undone from what was read before it.
    if known.status() != object.status() {
        return Ok(None);
    }
    let Some(version) = known.resource_version() else { return Ok(None) };
    let patch = json!({
        "apiVersion": K::KIND.api_version(),
        "kind": K::KIND.kind,
        "metadata": { "name": name, "resourceVersion": version },
        "status": status,
    });
    let api = K::KIND.api(&context.client, object.namespace().as_deref());
    let doing = format!("writing the status of {} {name}", K::KIND.kind);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let request = async {
        let written = context.in_time(&doing, api.patch_status(&name, &parameters, &Patch::Apply(&patch))).await?;
        context.put_written(K::KIND, written);
        Ok(())
    };
    let planned = Planned { kind: K::KIND, meta: object.meta() };
    match context.gate.around(|| Point::status(planned.to_string()), request).await {
        Ok(()) => {}
        // Gone meanwhile, or changed: the watch will tell, and lead here again.
        Err(failure) if matches!(failure.reason, reasons::NOT_FOUND | reasons::CONFLICT) => return Ok(None),
        Err(failure) => return Err(failure),
    }
    context.metrics.status_written(K::KIND.kind);
    let before = object.status().map(K::conditions).unwrap_or_default();
    context.events.publish_transitions(object, before, K::conditions(&status), K::is_ready_news(object.status())).await;
    Ok(None)
}

/// Whether a status says more than how far an object is that is on its way, and was before.
fn is_news<K: Primary>(object: &K, status: &K::Status) -> bool {
    let before = object.status();
    let conditions = before.map(K::conditions).unwrap_or_default();
    let current = conditions.iter().all(|condition| condition.observed_generation == object.meta().generation);
    let was_under_way = conditions.is_empty() || (current && is_under_way(conditions));
    !was_under_way || !is_under_way(K::conditions(status)) || before.map(K::on_record).unwrap_or_default() != K::on_record(status)
}

fn is_under_way(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == "Reconciling" && condition.status == "True")
}

/// Whether an executed plan has let go of its object, whose status then nobody reads.
pub fn is_gone(plan: &Plan, outcome: &tenantry_plan::Outcome) -> bool {
    let lets_go = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    lets_go.into_iter().any(|step| matches!(step, Step::RemoveFinalizer(_))) && failure(outcome).is_none()
}

/// The first failure of an outcome.
pub fn failure(outcome: &tenantry_plan::Outcome) -> Option<Failure> {
    outcome.tracks.iter().find_map(|(_, outcome)| match outcome {
        TrackOutcome::Failed { reason, message } => Some(Failure { reason, message: message.clone() }),
        TrackOutcome::Done { .. } => None,
    })
}
