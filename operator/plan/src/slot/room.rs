//! How much room the slot's quota gives, so that it never stands in the way of a roll-out, and nobody gets more by editing
//! what runs.
//!
//! The plan alone raises it. It shrinks to what the plan asks for once all that runs is of the plan and no pod ends any more;
//! until then it stays at what was set aside before. The record of that is the quota itself, which is applied before what it
//! is for. Why the larger of the two is enough for both: `docs/decisions/2026-11-22-room-in-the-quota.md`.

use std::collections::BTreeMap;

use kube::core::DynamicObject;

use super::{Content, health};
use crate::live::{Live, name_of};
use crate::objects::pod::Role;
use crate::objects::quota::{KIND, QUOTA, Room, Share};
use crate::objects::{Place, cache, deployment, probe};

/// The room for the slot's pods.
pub(crate) fn room(place: &Place, content: &Content<'_>, live: &Live<'_>) -> Room {
    let (jobs, wanted) = (jobs(content), deployed(content));
    let together = |deployed: &BTreeMap<String, Share>| Room::of(jobs.iter().chain(deployed.values()));
    let running = with_running(wanted.clone(), live);
    let planned = together(&wanted);
    if running == wanted && is_rolled_out(live) {
        return planned;
    }
    let recorded = live.get(KIND, QUOTA).and_then(|quota| Room::recorded(place, quota));
    // Whoever can take the record away could give that room as well.
    planned.at_least(recorded.unwrap_or_else(|| together(&running)))
}

/// Of each Job, its pod and one of before that has not ended.
fn jobs(content: &Content<'_>) -> Vec<Share> {
    let migrations = content.with_database().map(|_| Share::of(2, &content.size.migrate));
    std::iter::once(Share::of(2, &probe::RESOURCES)).chain(migrations).collect()
}

/// Of each Deployment, twice the most replicas and one: while a roll-out brings up as many new ones, the old ones count until
/// they have ended.
fn deployed(content: &Content<'_>) -> BTreeMap<String, Share> {
    let mut deployed = BTreeMap::new();
    for service in &content.services {
        let roles = &service.released.roles;
        let sizes = [
            roles.api.as_ref().map(|_| (Role::Api, &content.size.api)),
            roles.worker.as_ref().map(|_| (Role::Worker, &content.size.worker)),
        ];
        for (role, size) in sizes.into_iter().flatten() {
            deployed.insert(deployment::name(service.name, role), Share::of(at_most(size.most_replicas().into()), &size.resources));
        }
    }
    if content.has_cache() {
        deployed.insert(cache::NAME.to_owned(), Share::of(2, &content.size.cache));
    }
    deployed
}

/// The pods of a Deployment while it rolls.
fn at_most(replicas: u64) -> u64 {
    replicas.saturating_mul(2).saturating_add(1)
}

/// With what live Deployments ask for beyond that.
fn with_running(mut deployed: BTreeMap<String, Share>, live: &Live<'_>) -> BTreeMap<String, Share> {
    for running in live.owned("Deployment") {
        let share = deployed.entry(name_of(running).to_owned()).or_default();
        *share = at_least(*share, running);
    }
    deployed
}

fn at_least(mut share: Share, running: &DynamicObject) -> Share {
    let spec = &running.data["spec"];
    if name_of(running) != cache::NAME {
        share.pods = share.pods.max(at_most(spec["replicas"].as_u64().unwrap_or(1)));
    }
    share.pods = share.pods.max(2);
    let containers = spec["template"]["spec"]["containers"].as_array().into_iter().flatten();
    containers.fold(share, |share, container| {
        let requests = &container["resources"]["requests"];
        share.at_least(requests["cpu"].as_str(), requests["memory"].as_str())
    })
}

/// Whether no pod of a former template is left, ending ones included.
fn is_rolled_out(live: &Live<'_>) -> bool {
    live.owned("Deployment").all(health::has_rolled) && live.pods().iter().all(|pod| pod.metadata.deletion_timestamp.is_none())
}
