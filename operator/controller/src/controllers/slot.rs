//! Slot: everything that one environment of one group is made of.

use std::sync::Arc;
use std::time::Duration;

use kube::{Resource, ResourceExt};
use tenantry_crds::Slot;
use tenantry_plan::reasons::{DATABASE_ABANDONED, MIGRATING, POSTGRES_SERVER_FULL};
use tenantry_plan::status::slot_status;
use tenantry_plan::{Observation, Outcome, Plan, SlotFacts, SlotIdentity, Standing, Step, Track, TrackName};

use super::{Again, Done, ended};
use crate::apply::{self, Planned, Target};
use crate::context::Context;
use crate::error::{Failure, ReconcileError};
use crate::metrics::Ended;
use crate::primary::Primary;
use crate::{observe, report};

/// Nothing in the cluster tells that a migration has recorded its version.
const MIGRATION_INTERVAL: Duration = Duration::from_secs(5);
/// How often a slot looks for a place when others take it in the same moment.
const PLACING_ATTEMPTS: usize = 16;

pub async fn reconcile(slot: Arc<Slot>, context: Arc<Context>) -> Result<Done, ReconcileError> {
    let mut known = observe::isolation_of_slot(&slot, &context);
    if let Some(done) = ignored(&slot, &known, &context) {
        return Ok(done);
    }
    let offers = observe::offers(&slot, &mut known, &context).await;
    let (mut outcome, changed) = isolate(&slot, &known, &context).await;
    offers.map_err(ReconcileError::Observe)?;
    // What the caches know is looked up once more only where it has changed.
    if changed {
        known = observe::isolation_of_slot(&slot, &context);
        observe::offers(&slot, &mut known, &context).await.map_err(ReconcileError::Observe)?;
    }
    let mut facts = observe::slot(&slot, known, &context).await.map_err(ReconcileError::Observe)?;
    reserve_place(&slot, &mut facts, &context).await.map_err(ReconcileError::Observe)?;
    let plan = tenantry_plan::slot(&slot, &facts).behind_isolation(&outcome);
    let others: Vec<Track> = plan.tracks.iter().filter(|track| track.name != TrackName::Isolation).cloned().collect();
    outcome.tracks.extend(apply::tracks(&others, &target(&slot, &facts, &context), &context).await.tracks);
    remember_database(&slot, &facts, &plan, &outcome, &context);
    let ended = ended(&plan, &outcome);
    let mut again = again(&facts, &plan, &context);
    if report::is_gone(&plan, &outcome) {
        tell_of_abandonment(&facts, &plan, &context).await;
        context.secrets.forget(&slot.namespace().unwrap_or_default());
    } else {
        let status = slot_status(&slot, &facts, &plan, &outcome, report::now());
        again = again.at_most(report::status(&*slot, status, ended, &context).await.map_err(ReconcileError::Report)?);
    }
    match report::failure(&outcome) {
        Some(failure) => Err(ReconcileError::Apply(failure)),
        None => Ok(Done::new(ended, again)),
    }
}

/// For a Slot that does not count: nothing is done, and where it stands nothing is written either.
fn ignored(slot: &Slot, known: &SlotFacts, context: &Context) -> Option<Done> {
    let again = Again::After(context.resync_interval);
    match tenantry_plan::standing(slot, known) {
        Standing::Member | Standing::Orphan(_) => None,
        Standing::Unlisted(_) => Some(Done::new(Ended::Waiting, again)),
        Standing::Stranger(stall) => {
            let (namespace, name) = (slot.namespace().unwrap_or_default(), slot.name_any());
            tracing::warn!(namespace, name, reason = stall.reason, message = stall.message, "a Slot is ignored");
            context.metrics.failed(Slot::KIND.kind, stall.reason);
            Some(Done::new(Ended::Stalled, again))
        }
    }
}

/// The isolation track, from what the caches know alone: it waits neither for a PostgreSQL server that hangs nor for Secrets.
/// Gives whether anything was done, too.
async fn isolate(slot: &Slot, known: &SlotFacts, context: &Context) -> (Outcome, bool) {
    let isolation = tenantry_plan::isolation(slot, known);
    let changed = isolation.iter().any(|track| !track.waves.is_empty());
    let planned = Planned { kind: Slot::KIND, meta: slot.meta() };
    (apply::tracks(isolation.as_slice(), &Target { planned, database: None }, context).await, changed)
}

fn target<'a>(slot: &'a Slot, facts: &SlotFacts, context: &Context) -> Target<'a> {
    let server = observe::server_of(slot, facts);
    Target {
        planned: Planned { kind: Slot::KIND, meta: slot.meta() },
        database: server.map(|server| (SlotIdentity::of(slot, &context.operator.cluster_uid), context.servers.server(server))),
    }
}

/// A database that was given up is on record; who looks at the group is told as well.
async fn tell_of_abandonment(facts: &SlotFacts, plan: &Plan, context: &Context) {
    let steps = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    let records = steps.filter_map(|step| match step {
        Step::Apply(manifest) if manifest.namespace() == Some(context.operator.namespace.as_str()) => Some(manifest.name()),
        _ => None,
    });
    for record in records {
        tracing::warn!(record, "a database was given up, as the group's annotation says");
        if let Some(group) = &facts.group {
            let namespace = &context.operator.namespace;
            let note = format!(
                "a database was given up, as the annotation says; on record in the ConfigMap {record} in the namespace {namespace}"
            );
            context.events.warn(group, DATABASE_ABANDONED, &note).await;
        }
    }
}

/// A place that was just chosen is kept before the slot's database is there: whoever is placed meanwhile sees it. When others
/// were faster, the servers are asked again.
///
/// # Errors
/// `PostgresServerFull` when others are always faster.
async fn reserve_place(slot: &Slot, facts: &mut SlotFacts, context: &Context) -> Result<(), Failure> {
    for _ in 0..PLACING_ATTEMPTS {
        if is_reserved(slot, facts, context) {
            return Ok(());
        }
        facts.servers = observe::servers(slot, facts, context).await;
    }
    Err(Failure::new(POSTGRES_SERVER_FULL, "other slots took the connections that were left, and servers are looked for again"))
}

/// Whether nothing is to be reserved, or it was. On a server that was chosen before, and of which no note could be written,
/// nothing is reserved any more. The choice is made once more, from what others have reserved while the servers were asked:
/// of slots that are placed at the same time, each sees the ones before it.
fn is_reserved(slot: &Slot, facts: &mut SlotFacts, context: &Context) -> bool {
    let chosen = |facts: &SlotFacts| tenantry_plan::placed(slot, facts).filter(|placed| placed.chosen);
    if chosen(facts).is_none() {
        return true;
    }
    let database = SlotIdentity::of(slot, &context.operator.cluster_uid).database();
    let _turn = context.servers.placing();
    for server in facts.class.iter().flat_map(|class| &class.spec.postgres.servers) {
        let promised = context.servers.server(server).budget().promised_but_to(&database);
        if let (Some(Observation::Known(known)), Some(promised)) = (facts.servers.get_mut(&server.name), promised) {
            known.promised_connections = promised;
        }
    }
    let Some(placed) = chosen(facts) else { return true };
    let mut reserved = true;
    for server in facts.class.iter().flat_map(|class| &class.spec.postgres.servers) {
        let known = context.servers.server(server);
        if server.name == placed.server {
            // What is there already is not turned away.
            let limit = (!placed.found).then_some(server.connection_limit);
            reserved = known.budget().reserve(&database, placed.connections, limit);
        } else {
            known.budget().release(&database);
        }
    }
    reserved
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
