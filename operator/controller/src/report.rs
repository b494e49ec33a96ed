//! Report: writes what the plan's pure functions say of an outcome, when it differs from what is there; and an event when a
//! condition changed.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tenantry_crds::names::FIELD_MANAGER;
use tenantry_plan::{Now, Plan, Step, TrackOutcome};

use crate::context::Context;
use crate::error::Failure;
use crate::events::truncated;
use crate::primary::Primary;

/// The longest message of a condition, in bytes; the API server refuses longer ones.
const LONGEST_MESSAGE: usize = 4096;

/// The clock's reading that goes into conditions.
pub fn now() -> Now {
    // Conditions have whole seconds: a reading with more would never equal what comes back.
    let seconds = k8s_openapi::jiff::Timestamp::now().as_second();
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap_or_default())
}

/// Writes the status of an object if it changed.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn status<K: Primary>(object: &K, mut status: K::Status, context: &Context) -> Result<(), Failure> {
    for condition in K::conditions_mut(&mut status) {
        condition.message = truncated(&condition.message, LONGEST_MESSAGE);
    }
    if object.status() == Some(&status) {
        return Ok(());
    }
    let name = object.name_any();
    let patch = json!({
        "apiVersion": K::KIND.api_version(),
        "kind": K::KIND.kind,
        // With the UID the status of an object cannot land on its successor.
        "metadata": { "name": name, "uid": object.uid() },
        "status": status,
    });
    let api = K::KIND.api(&context.client, object.namespace().as_deref());
    let doing = format!("writing the status of {} {name}", K::KIND.kind);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match context.in_time(&doing, api.patch_status(&name, &parameters, &Patch::Apply(&patch))).await {
        Ok(written) => context.put_written(K::KIND, written),
        // Gone meanwhile.
        Err(failure) if failure.reason == "NotFound" => return Ok(()),
        Err(failure) => return Err(failure),
    }
    context.metrics.status_written(K::KIND.kind);
    let before = object.status().map(K::conditions).unwrap_or_default();
    context.events.publish_transitions(object, before, K::conditions(&status)).await;
    Ok(())
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
