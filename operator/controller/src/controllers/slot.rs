//! Slot: everything that one environment of one group is made of.

use std::sync::Arc;
use std::time::Duration;

use kube::{Resource, ResourceExt};
use tenantry_crds::Slot;
use tenantry_plan::reasons::MIGRATING;
use tenantry_plan::status::slot_status;
use tenantry_plan::{Observation, Outcome, Plan, SlotFacts, SlotIdentity, Step, Track, TrackName};

use super::{Again, Done, ended};
use crate::apply::{self, Planned, Target};
use crate::context::Context;
use crate::error::ReconcileError;
use crate::primary::Primary;
use crate::{observe, report};

/// Nothing in the cluster tells that a migration has recorded its version.
const MIGRATION_INTERVAL: Duration = Duration::from_secs(5);

pub async fn reconcile(slot: Arc<Slot>, context: Arc<Context>) -> Result<Done, ReconcileError> {
    let mut outcome = isolate(&slot, &context).await;
    let facts = observe::slot(&slot, &context).await.map_err(ReconcileError::Observe)?;
    let plan = tenantry_plan::slot(&slot, &facts);
    let others: Vec<Track> = plan.tracks.iter().filter(|track| track.name != TrackName::Isolation).cloned().collect();
    outcome.tracks.extend(apply::tracks(&others, &target(&slot, &facts, &context), &context).await.tracks);
    remember_database(&slot, &facts, &plan, &outcome, &context);
    if report::is_gone(&plan, &outcome) {
        context.secrets.forget(&slot.namespace().unwrap_or_default());
    } else {
        let status = slot_status(&slot, &facts, &plan, &outcome, report::now());
        report::status(&*slot, status, &context).await.map_err(ReconcileError::Report)?;
    }
    match report::failure(&outcome) {
        Some(failure) => Err(ReconcileError::Apply(failure)),
        None => Ok(Done { ended: ended(&plan), again: again(&facts, &plan, &context) }),
    }
}

/// The isolation track, from what the caches know alone: it waits neither for a PostgreSQL server that hangs nor for Secrets.
async fn isolate(slot: &Slot, context: &Context) -> Outcome {
    let facts = observe::isolation_of_slot(slot, context);
    let plan = tenantry_plan::slot(slot, &facts);
    let isolation: Vec<Track> = plan.tracks.into_iter().filter(|track| track.name == TrackName::Isolation).collect();
    let planned = Planned { kind: Slot::KIND, meta: slot.meta() };
    apply::tracks(&isolation, &Target { planned, database: None }, context).await
}

fn target<'a>(slot: &'a Slot, facts: &SlotFacts, context: &Context) -> Target<'a> {
    let server = facts.class.as_ref().and_then(|class| observe::server_of(slot, class));
    Target {
        planned: Planned { kind: Slot::KIND, meta: slot.meta() },
        database: server.map(|server| (SlotIdentity::of(slot, &context.operator.cluster_uid), context.servers.server(server))),
    }
}

/// While nothing is missing or awaited in the data services, what they said is believed for a while.
fn remember_database(slot: &Slot, facts: &SlotFacts, plan: &Plan, outcome: &Outcome, context: &Context) {
    let uid = slot.uid().unwrap_or_default();
    let settled = plan.tracks.iter().filter(|track| track.name == TrackName::Data).all(Track::is_settled);
    match &facts.database {
        Observation::Known(known) if settled && report::failure(outcome).is_none() && slot.metadata.deletion_timestamp.is_none() => {
            context.database_facts.put(&uid, observe::database_inputs(slot, facts), known.clone());
        }
        _ => context.database_facts.forget(&uid),
    }
}

fn again(facts: &SlotFacts, plan: &Plan, context: &Context) -> Again {
    let failed = matches!(facts.database, Observation::Failed { .. }) || matches!(facts.master_key, Observation::Failed { .. });
    let mut steps = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    if failed {
        Again::BackingOff
    } else if steps.any(|step| matches!(step, Step::Database(_))) {
        // No watch tells of what changed in PostgreSQL.
        Again::Soon
    } else if plan.tracks.iter().any(|track| track.wait.as_ref().is_some_and(|wait| wait.reason == MIGRATING)) {
        Again::After(MIGRATION_INTERVAL.min(context.secret_interval))
    } else {
        Again::After(context.secret_interval)
    }
}
