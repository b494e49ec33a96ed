//! Credentials, database, cache and schema.

use tenantry_crds::Slot;

use super::content::{Content, placement};
use super::{database, has_finalizer, health, migration, recorded_database};
use crate::live::Live;
use crate::names::Purpose;
use crate::objects::pod::Role;
use crate::objects::{Place, cache, secret};
use crate::{DatabaseFacts, Manifest, MasterKey, Observation, SlotFacts, Stall, Track, TrackName, Wait, reasons};

/// Whether the workloads may move to the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Every schema is what the release needs.
    Open,
    /// Not yet, or not known: what runs is left as it is.
    Shut,
}

pub(crate) fn data(slot: &Slot, facts: &SlotFacts, place: &Place, content: &Content<'_>, live: &Live<'_>) -> (Track, Gate) {
    let mut track = Track::new(TrackName::Data);
    let key = match &facts.master_key {
        Observation::Known(key) => key,
        Observation::Failed { reason, message } => return (track.waiting(Wait::new(reason, message)), Gate::Shut),
        Observation::NotAsked => {
            let wait = Wait::new(reasons::MASTER_KEY_NOT_READ, "the operator's master key has not been read yet");
            return (track.waiting(wait), Gate::Shut);
        }
    };
    let secrets = live.towards(&secrets(place, content, key));
    track.wait = secrets.wait();
    track.then(secrets.replaced);
    track.then(secrets.applied);
    if content.has_cache() {
        cache(place, content, key, live, &mut track);
    }
    let gate = match server(slot, facts, content) {
        Server::NotNeeded => Gate::Open,
        Server::Known(server) => schemas(place, content, server, key, live, &mut track),
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

fn secrets(place: &Place, content: &Content<'_>, key: &MasterKey) -> Vec<Manifest> {
    let mut secrets = Vec::new();
    for service in &content.services {
        if service.released.needs.database.is_some() {
            let login = |purpose| secret::login(place, &content.identity, key, service.name, purpose);
            secrets.extend([login(Purpose::A), login(Purpose::Migrate)]);
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
        let unfinished = health::unfinished(live.get("Deployment", cache::NAME)?)?;
        let trouble = health::trouble(live.pods_of(cache::NAME, Role::Cache.name()));
        Some(trouble.unwrap_or(Wait::new(reasons::CACHE_STARTING, unfinished.message)))
    };
    track.wait = track.wait.take().or(wait).or_else(starting);
}

/// How far the slot's server can be reckoned with.
enum Server<'a> {
    NotNeeded,
    Known(&'a DatabaseFacts),
    Await(Wait),
    Stalled(Stall),
}

/// The place of the database is written into the Slot's status before anything is made there, and the finalizer is set: a
/// deletion that comes in between finds what it has to drop.
fn server<'a>(slot: &Slot, facts: &'a SlotFacts, content: &Content<'_>) -> Server<'a> {
    let Some(placement) = placement(content) else { return Server::NotNeeded };
    match recorded_database(slot) {
        Some(recorded) if *recorded != placement => {
            let message = format!(
                "the slot's database is {} on the server {}, and its class has the server {} instead; \
                 give the server its former name in the class again: databases do not move by themselves",
                recorded.name, recorded.server, placement.server
            );
            return Server::Stalled(Stall::new(reasons::DATABASE_ELSEWHERE, message));
        }
        Some(_) if has_finalizer(slot) => {}
        _ => {
            let message =
                format!("the database {} on the server {} is made once the slot has a note of it", placement.name, placement.server);
            return Server::Await(Wait::new(reasons::RECORDING_PLACEMENT, message));
        }
    }
    match &facts.database {
        Observation::Known(facts) => match database::obstacle(content, facts) {
            Some(stall) => Server::Stalled(stall),
            None => Server::Known(facts),
        },
        Observation::Failed { reason, message } => Server::Await(Wait::new(reason, message)),
        Observation::NotAsked => Server::Await(Wait::new(reasons::POSTGRES_NOT_ASKED, "the PostgreSQL server has not been asked yet")),
    }
}

fn schemas(place: &Place, content: &Content<'_>, facts: &DatabaseFacts, key: &MasterKey, live: &Live<'_>, track: &mut Track) -> Gate {
    for steps in database::waves(content, facts, key) {
        track.then(steps);
    }
    let migrations = migration::migrations(place, content, facts, live);
    let gate = if migrations.are_done() { Gate::Open } else { Gate::Shut };
    track.then(migrations.outdated);
    track.then(migrations.configurations);
    track.then(migrations.jobs);
    track.stall = migrations.stall;
    // What the schema waits for goes before a cache that comes up.
    track.wait = migrations.wait.or(track.wait.take());
    gate
}
