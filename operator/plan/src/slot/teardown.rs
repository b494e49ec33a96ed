//! What a deleted slot leaves, in waves: workloads and their pods; then database and roles; then the rest. The policies
//! and the quota stay until the namespace goes: the slot is isolated to its last pod.

use tenantry_crds::Slot;
use tenantry_crds::names::TEARDOWN_FINALIZER;

use super::{deletions, has_finalizer, identity, recorded_database};
use crate::live::{Live, describe, id_of};
use crate::{DatabaseFacts, DatabaseStep, Observation, SlotFacts, Step, Track, TrackName, Wait, reasons};

/// What makes pods, or leads to them.
const WORKLOADS: [&str; 4] = ["Deployment", "Job", "Service", "PodDisruptionBudget"];
/// What has to be gone before the database is dropped.
const MAKERS: [&str; 2] = ["Deployment", "Job"];
/// What the workloads needed.
const REST: [&str; 3] = ["ConfigMap", "Secret", "ServiceAccount"];

pub(crate) fn teardown(slot: &Slot, facts: &SlotFacts, live: &Live<'_>) -> Track {
    let mut track = Track::new(TrackName::Teardown);
    if !has_finalizer(slot) {
        return track;
    }
    track.then(doomed(live, &WORKLOADS));
    let makers = MAKERS.iter().flat_map(|kind| live.owned(kind)).map(describe);
    let pods = live.pods().iter().map(|pod| format!("Pod/{}", pod.metadata.name.as_deref().unwrap_or_default()));
    let present: Vec<String> = makers.chain(pods).collect();
    if !present.is_empty() {
        let message = format!("waiting until these are gone: {}", enumeration(&present));
        return track.waiting(Wait::new(reasons::DELETING, message));
    }
    match database(slot, facts) {
        Ok(waves) => waves.into_iter().for_each(|steps| track.then(steps)),
        Err(wait) => return track.waiting(wait),
    }
    track.then(doomed(live, &REST));
    track.then(vec![Step::RemoveFinalizer(TEARDOWN_FINALIZER)]);
    track
}

fn doomed(live: &Live<'_>, kinds: &[&str]) -> Vec<Step> {
    let owned = kinds.iter().flat_map(|kind| live.owned(kind));
    deletions(owned.filter(|object| object.metadata.deletion_timestamp.is_none()).map(id_of))
}

/// Drops what is the slot's on its server. Where no place was ever recorded, nothing was made: then the server need not
/// answer.
fn database(slot: &Slot, facts: &SlotFacts) -> Result<[Vec<Step>; 2], Wait> {
    let Some(recorded) = recorded_database(slot) else {
        return Ok(match &facts.database {
            Observation::Known(server) => drops(slot, facts, server),
            Observation::Failed { .. } | Observation::NotAsked => [vec![], vec![]],
        });
    };
    let servers = facts.class.iter().flat_map(|class| &class.spec.postgres.servers);
    if !servers.into_iter().any(|server| server.name == recorded.server) {
        let message = format!(
            "the database {} cannot be dropped: the class {} does not offer its server {} any more; put it back until the slot is gone",
            recorded.name, slot.spec.class_ref.name, recorded.server
        );
        return Err(Wait::new(reasons::DATABASE_ELSEWHERE, message));
    }
    match &facts.database {
        Observation::Known(server) if is_foreign(slot, facts, server) => {
            let message = format!(
                "the comment of the database {} does not say that it is this slot's, and it is left alone; drop it, or give it the comment '{}'",
                recorded.name,
                identity(slot, facts).comment()
            );
            Err(Wait::new(reasons::DATABASE_NOT_OURS, message))
        }
        Observation::Known(server) => Ok(drops(slot, facts, server)),
        Observation::Failed { reason, message } => {
            let message = format!("the database {} cannot be dropped: {message}", recorded.name);
            Err(Wait::new(reason, message))
        }
        Observation::NotAsked => {
            let message = format!("the server of the database {} has not been asked yet", recorded.name);
            Err(Wait::new(reasons::POSTGRES_NOT_ASKED, message))
        }
    }
}

/// Whether a database of the slot's name is there that is not the slot's. One that was made, but not marked before the
/// operator was stopped, never accepted a connection.
fn is_foreign(slot: &Slot, facts: &SlotFacts, server: &DatabaseFacts) -> bool {
    match &server.comment {
        Some(Some(comment)) => !identity(slot, facts).owns(Some(comment)),
        Some(None) => server.open,
        None => false,
    }
}

fn drops(slot: &Slot, facts: &SlotFacts, server: &DatabaseFacts) -> [Vec<Step>; 2] {
    let identity = identity(slot, facts);
    let ours = server.comment.is_some() && !is_foreign(slot, facts, server);
    let database = ours.then(|| Step::Database(DatabaseStep::DropDatabase { name: identity.database() }));
    let roles = server.roles.iter().filter(|(_, role)| identity.owns(role.comment.as_deref()));
    let roles = roles.map(|(role, _)| Step::Database(DatabaseStep::DropRole { role: role.clone() }));
    [database.into_iter().collect(), roles.collect()]
}

fn enumeration(names: &[String]) -> String {
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(5) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}
