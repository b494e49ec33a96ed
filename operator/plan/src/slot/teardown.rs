//! What a deleted slot leaves, in waves: workloads and their pods; then database and roles; then the rest. The policies
//! and the quota stay until the namespace goes: the slot is isolated to its last pod.

use tenantry_crds::names::{ABANDON_DATABASE_ANNOTATION, TEARDOWN_FINALIZER};
use tenantry_crds::{DatabasePlacement, DeletionPolicy, Slot};

use super::intent::{Intent, intent};
use super::placement::{holders, recorded_server, several};
use super::{deletions, has_finalizer, identity, place, recorded_database};
use crate::live::{Live, describe, id_of};
use crate::names::Comment;
use crate::objects::{abandonment, autoscaler};
use crate::{DatabaseFacts, DatabaseStep, Observation, SlotFacts, Stall, Step, Track, TrackName, Wait, reasons};

/// What makes pods, or leads to them.
const WORKLOADS: [&str; 5] = [autoscaler::KIND, "Deployment", "Job", "Service", "PodDisruptionBudget"];
/// What has to be gone before the database is dropped.
const MAKERS: [&str; 2] = ["Deployment", "Job"];
/// What the workloads needed.
const REST: [&str; 3] = ["ConfigMap", "Secret", "ServiceAccount"];

pub(crate) fn teardown(slot: &Slot, facts: &SlotFacts, live: &Live<'_>) -> Track {
    let mut track = Track::new(TrackName::Teardown);
    if !has_finalizer(slot) {
        return track;
    }
    let policy = match intent(slot, facts) {
        Intent::Keep => {
            track.then(vec![Step::RemoveFinalizer(TEARDOWN_FINALIZER)]);
            return track;
        }
        Intent::Hold(wait) => return track.waiting(wait),
        Intent::GiveUp(policy) => policy,
    };
    track.then(doomed(live, &WORKLOADS));
    let makers = MAKERS.iter().flat_map(|kind| live.owned(kind)).map(describe);
    let pods = live.pods().iter().map(|pod| format!("Pod/{}", pod.metadata.name.as_deref().unwrap_or_default()));
    let present: Vec<String> = makers.chain(pods).collect();
    if !present.is_empty() {
        let message = format!("waiting until these are gone: {}", enumeration(&present));
        return track.waiting(Wait::new(reasons::DELETING, message));
    }
    match database(slot, facts, policy) {
        Ok(waves) => waves.into_iter().for_each(|steps| track.then(steps)),
        Err(obstacle) => match abandoned(slot, facts) {
            Some(database) => {
                let (place, operator) = (place(slot), &facts.operator.namespace);
                let record = abandonment::abandonment(operator, &place, database, &obstacle.message, &facts.now);
                track.then(vec![Step::Apply(Box::new(record))]);
            }
            None => return track.waiting(with_a_way_out(obstacle, slot)),
        },
    }
    track.then(doomed(live, &REST));
    track.then(vec![Step::RemoveFinalizer(TEARDOWN_FINALIZER)]);
    track
}

/// The slot's database, if its group's annotation says that it is lost.
fn abandoned<'a>(slot: &'a Slot, facts: &SlotFacts) -> Option<&'a DatabasePlacement> {
    let annotations = facts.group.as_ref()?.metadata.annotations.as_ref()?;
    let mut named = annotations.get(ABANDON_DATABASE_ANNOTATION)?.split(',').map(str::trim);
    recorded_database(slot).filter(|recorded| named.any(|name| name == recorded.name))
}

fn with_a_way_out(obstacle: Wait, slot: &Slot) -> Wait {
    let Some(recorded) = recorded_database(slot) else { return obstacle };
    let message = format!(
        "{}. If it is lost for ever, let the slot go without it: kubectl annotate resourcegroup.tenantry.dev/{} {ABANDON_DATABASE_ANNOTATION}={}",
        obstacle.message, slot.spec.group_ref.name, recorded.name
    );
    Wait::new(obstacle.reason, message)
}

fn doomed(live: &Live<'_>, kinds: &[&str]) -> Vec<Step> {
    let owned = kinds.iter().flat_map(|kind| live.owned(kind));
    deletions(owned.filter(|object| object.metadata.deletion_timestamp.is_none()).map(id_of))
}

/// What is to be done with what is the slot's on its server. Where no place is recorded, all servers have to say that they
/// have nothing of it; if it needs none, none is asked.
fn database(slot: &Slot, facts: &SlotFacts, policy: DeletionPolicy) -> Result<Vec<Vec<Step>>, Wait> {
    let name = identity(slot, facts).database();
    let Some(recorded) = recorded_server(slot, &facts.live) else {
        if let holders @ [_, _, ..] = &holders(facts)[..] {
            let Stall { reason, message } = several(slot, facts, holders);
            return Err(Wait { reason, message });
        }
        let silent = facts.servers.values().find_map(|server| match server {
            Observation::Failed { reason, message } => Some((*reason, message)),
            _ => None,
        });
        let unseen = |(reason, message): (&'static str, &String)| {
            Wait::new(reason, format!("whether the slot has a database cannot be seen: {message}"))
        };
        return match &facts.database {
            Observation::Known(server) => Ok(ending(slot, facts, server, policy)),
            Observation::NotAsked => silent.map_or(Ok(vec![]), |silent| Err(unseen(silent))),
            Observation::Failed { reason, message } => Err(unseen((reason, message))),
        };
    };
    let servers = facts.class.iter().flat_map(|class| &class.spec.postgres.servers);
    if !servers.into_iter().any(|server| server.name == recorded) {
        let message = format!(
            "the database {name} cannot be dropped: the class {} does not offer its server {recorded} any more; put it back until the slot is gone",
            slot.spec.class_ref.name
        );
        return Err(Wait::new(reasons::DATABASE_ELSEWHERE, message));
    }
    match &facts.database {
        Observation::Known(server) if is_foreign(slot, facts, server) => {
            let message = format!(
                "the comment of the database {name} does not say that it is this slot's, and it is left alone; drop it, or give it the comment '{}'",
                identity(slot, facts).comment()
            );
            Err(Wait::new(reasons::DATABASE_NOT_OURS, message))
        }
        Observation::Known(server) => Ok(ending(slot, facts, server, policy)),
        Observation::Failed { reason, message } => {
            let message = format!("the database {name} cannot be dropped: {message}");
            Err(Wait::new(reason, message))
        }
        Observation::NotAsked => {
            let message = format!("the server of the database {name} has not been asked yet");
            Err(Wait::new(reasons::POSTGRES_NOT_ASKED, message))
        }
    }
}

/// Whether a database of the slot's name is there that is not the slot's. One that was made, but not marked before the
/// operator was stopped, never accepted a connection.
fn is_foreign(slot: &Slot, facts: &SlotFacts, server: &DatabaseFacts) -> bool {
    let identity = identity(slot, facts);
    match &server.comment {
        Some(Some(comment)) => !identity.owns(Some(comment)) && !identity.has_retained(Some(comment)),
        Some(None) => server.open,
        None => false,
    }
}

/// A database that is retained already stays so, whatever the policy says by now.
fn ending(slot: &Slot, facts: &SlotFacts, server: &DatabaseFacts, policy: DeletionPolicy) -> Vec<Vec<Step>> {
    let identity = identity(slot, facts);
    let comment = server.comment.as_ref().and_then(Option::as_deref);
    if identity.has_retained(comment) {
        return vec![];
    }
    let roles = server.roles.iter().filter(|(_, role)| identity.owns(role.comment.as_deref()));
    // Of a Slot that was deleted before it took its database over, a former one's.
    let (name, holder) = (identity.database(), comment.and_then(Comment::parse).and_then(|comment| comment.holder));
    if policy == DeletionPolicy::Retain && identity.owns(comment) {
        let logins = roles.filter(|(_, role)| role.login).map(|(name, _)| name.clone()).collect();
        let retained = Some(facts.now.0.to_string());
        let comment = Comment { retained, name: Some(slot.spec.group_ref.name.clone()), ..identity.comment() }.to_string();
        return vec![vec![Step::Database(DatabaseStep::RetainDatabase { name, holder, comment, logins })]];
    }
    let ours = server.comment.is_some() && !is_foreign(slot, facts, server);
    let database = ours.then_some(Step::Database(DatabaseStep::DropDatabase { name, holder }));
    let roles = roles.map(|(role, _)| Step::Database(DatabaseStep::DropRole { role: role.clone() }));
    vec![database.into_iter().collect(), roles.collect()]
}

fn enumeration(names: &[String]) -> String {
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(5) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}
