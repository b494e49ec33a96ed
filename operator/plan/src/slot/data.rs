//! Credentials, database, cache and schema.

use std::collections::BTreeMap;

use tenantry_crds::Slot;

use super::content::Content;
use super::credentials::{self, Credentials};
use super::placement::Placement;
use super::{adoption, database, has_finalizer, health, migration, retention};
use crate::live::Live;
use crate::names::Purpose;
use crate::objects::pod::Role;
use crate::objects::{Place, cache, secret};
use crate::{DatabaseFacts, DatabaseStep, Manifest, MasterKey, Observation, SlotFacts, Stall, Step, Track, TrackName, Wait, reasons};

/// Whether the workloads may move to the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Every schema is what the release needs.
    Open,
    /// Not yet, or not known: what runs is left as it is.
    Shut,
}

pub(crate) fn data(
    slot: &Slot,
    facts: &SlotFacts,
    place: &Place,
    content: &Content<'_>,
    credentials: &BTreeMap<String, Credentials>,
    live: &Live<'_>,
) -> (Track, Gate) {
    let mut track = Track::new(TrackName::Data);
    let key = match &facts.master_key {
        Observation::Known(key) => key,
        Observation::Failed { reason, message } => return (track.waiting(Wait::new(reason, message)), Gate::Shut),
        Observation::NotAsked => {
            let wait = Wait::new(reasons::MASTER_KEY_NOT_READ, "the operator's master key has not been read yet");
            return (track.waiting(wait), Gate::Shut);
        }
    };
    let secrets = live.towards(&secrets(place, content, credentials, key));
    track.wait = secrets.wait();
    track.then(secrets.replaced);
    track.then(secrets.applied);
    if content.has_cache() {
        cache(place, content, key, live, &mut track);
    }
    let gate = match server(slot, facts, content) {
        Server::NotNeeded => {
            if let Observation::Known(server) = &facts.database {
                track.then(retention::retired(facts, content, server, live));
            }
            Gate::Open
        }
        Server::Known(server) => {
            let plan = database::DatabasePlan { content, facts: server, key, credentials };
            let gate = schemas(place, &plan, live, &mut track);
            track.then(retention::retired(facts, content, server, live));
            gate
        }
        Server::Adopt(step) => {
            track.then(vec![Step::Database(step)]);
            track.wait = Some(Wait::new(reasons::ADOPTING_DATABASE, "the retained database is being taken over"));
            Gate::Shut
        }
        Server::Await(wait) => {
            track.wait = Some(wait);
            Gate::Shut
        }
        Server::Stalled(stall) => {
            track.stall = Some(stall);
            Gate::Shut
        }
    };
    (track, gate)
}

/// Those of the database name its server and have its present login, so that they come once both are known.
fn secrets(place: &Place, content: &Content<'_>, credentials: &BTreeMap<String, Credentials>, key: &MasterKey) -> Vec<Manifest> {
    let mut secrets = Vec::new();
    for service in &content.services {
        if let (Some(server), Some(found)) = (content.placement.server(), credentials.get(service.name)) {
            let login = |purpose| {
                let generation = found.current.note.generation;
                secret::login(place, &content.identity, key, service.name, (purpose, generation), &server.name)
            };
            secrets.extend([login(found.current.purpose), login(Purpose::Migrate)]);
        }
        if service.released.roles.api.is_some() {
            secrets.push(secret::api_token(place, &content.identity, key, service.name));
        }
    }
    if content.has_cache() {
        secrets.push(cache::credential(place, &content.identity, key, &content.size.cache));
    }
    secrets
}

fn cache(place: &Place, content: &Content<'_>, key: &MasterKey, live: &Live<'_>, track: &mut Track) {
    let deployment = cache::deployment(place, &content.identity, key, &content.class.spec.cache, &content.size.cache);
    let missing = live.towards(&[deployment, cache::service(place)]);
    let wait = missing.wait();
    track.then(missing.replaced);
    track.then(missing.applied);
    let starting = || {
        let unfinished = health::unfinished(live.get("Deployment", cache::NAME)?, None)?;
        let trouble = health::trouble(live.pods_of(cache::NAME, Role::Cache.name()));
        Some(trouble.unwrap_or(Wait::new(reasons::CACHE_STARTING, unfinished.message)))
    };
    track.wait = track.wait.take().or(wait).or_else(starting);
}

/// How far the slot's server can be reckoned with.
enum Server<'a> {
    NotNeeded,
    Known(&'a DatabaseFacts),
    /// A retained database becomes the slot's first.
    Adopt(DatabaseStep),
    Await(Wait),
    Stalled(Stall),
}

/// The place of the database is written into the Slot's status before anything is made there, and the finalizer is set: a
/// deletion that comes in between finds what it has to drop.
fn server<'a>(slot: &Slot, facts: &'a SlotFacts, content: &Content<'_>) -> Server<'a> {
    let server = match &content.placement {
        Placement::NotNeeded => return Server::NotNeeded,
        Placement::Await(wait) => return Server::Await(wait.clone()),
        Placement::Stalled(stall) => return Server::Stalled(stall.clone()),
        Placement::At { server, recorded, .. } if !recorded || !has_finalizer(slot) => {
            let name = content.identity.database();
            let message = format!("the database {name} on the server {} is made once the slot has a note of it", server.name);
            return Server::Await(Wait::new(reasons::RECORDING_PLACEMENT, message));
        }
        Placement::At { server, .. } => *server,
    };
    match &facts.database {
        Observation::Known(found) => {
            match (adoption::adoption(slot, facts, content, server, found), database::obstacle(content, server, found)) {
                (Some(Err(stall)), _) => Server::Stalled(stall),
                (Some(Ok(step)), obstacle) if obstacle.as_ref().is_none_or(|stall| stall.reason == reasons::DATABASE_RETAINED) => {
                    Server::Adopt(step)
                }
                (_, Some(stall)) => Server::Stalled(stall),
                (_, None) => Server::Known(found),
            }
        }
        Observation::Failed { reason, message } => Server::Await(Wait::new(reason, message)),
        Observation::NotAsked => Server::Await(Wait::new(reasons::POSTGRES_NOT_ASKED, "the PostgreSQL server has not been asked yet")),
    }
}

fn schemas(place: &Place, plan: &database::DatabasePlan<'_>, live: &Live<'_>, track: &mut Track) -> Gate {
    let (content, credentials) = (plan.content, plan.credentials);
    for steps in plan.waves() {
        track.then(steps);
    }
    track.then(plan.retirement(live));
    let migrations = migration::migrations(place, content, plan.facts, live);
    let gate = if migrations.are_done() { Gate::Open } else { Gate::Shut };
    track.then(migrations.ended);
    track.then(migrations.configurations);
    track.then(migrations.jobs);
    track.stall = migrations.stall;
    // What the schema waits for goes before a cache that comes up.
    track.wait = migrations.wait.or(track.wait.take()).or_else(|| credentials::wait(content, credentials, live));
    gate
}
