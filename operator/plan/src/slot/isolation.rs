//! Labels, policies, quota and rights. Never behind a data service: this depends on the API server alone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use tenantry_crds::Slot;
use tenantry_crds::names::{ROLE_LABEL, SERVICE_LABEL};

use super::Content;
use crate::live::{Live, label, name_of};
use crate::objects::pod::Role;
use crate::objects::quota::{Share, limit_range, quota};
use crate::objects::{Place, cache, deployment, namespace, network, rbac};
use crate::{SlotFacts, Step, Track, TrackName, compare};

/// The kinds that this track prunes. A quota or limit range is always desired.
const PRUNED: [&str; 2] = ["NetworkPolicy", "RoleBinding"];

pub(crate) fn isolation(slot: &Slot, facts: &SlotFacts, place: &Place, content: Option<&Content<'_>>, live: &Live<'_>) -> Track {
    let mut track = Track::new(TrackName::Isolation);
    let namespace = namespace::namespace(place);
    let relabel = facts.namespace.as_ref().filter(|live| compare::differs(&namespace, live));
    track.then(relabel.map(|_| Step::Apply(Box::new(namespace))).into_iter().collect());

    let mut desired = vec![rbac::operator_binding(place, &facts.operator), limit_range(place)];
    desired.extend(network::policies(place));
    desired.extend(rbac::viewer_binding(place, &slot.spec.owners));
    let server = facts.class.as_ref().and_then(|class| class.spec.postgres.servers.first());
    desired.extend(server.map(|server| network::postgres_policy(place, server)));
    let services = slot.spec.revision.iter().flat_map(|revision| revision.services.keys());
    desired.extend(services.map(|service| rbac::service_account(place, service)));
    if let Some(content) = content {
        if content.has_cache() {
            desired.push(rbac::service_account(place, cache::NAME));
        }
        desired.push(quota(place, &shares(content, live)));
    }
    let missing = live.towards(&desired);
    track.wait = missing.wait();
    track.then(missing.replaced);
    track.then(missing.applied);
    let mut kept: Vec<(String, String)> = desired.iter().map(|manifest| (manifest.kind.kind.clone(), manifest.name().to_owned())).collect();
    // What it should be cannot be said while the class is unknown.
    kept.push(("NetworkPolicy".to_owned(), network::POSTGRES_POLICY.to_owned()));
    track.then(live.prune(&PRUNED, &kept));
    track
}

/// All pods that there may be at a time. Of a Deployment's, twice the replicas and one: while a roll-out brings up as many
/// new ones, the old ones count until they have ended. What still runs from before counts too, with its own size.
fn shares(content: &Content<'_>, live: &Live<'_>) -> Vec<Share> {
    let mut deployed: BTreeMap<String, Share> = BTreeMap::new();
    let mut shares = Vec::new();
    for service in &content.services {
        let roles = &service.released.roles;
        let sizes = [
            roles.api.as_ref().map(|_| (Role::Api, &content.size.api)),
            roles.worker.as_ref().map(|_| (Role::Worker, &content.size.worker)),
        ];
        for (role, size) in sizes.into_iter().flatten() {
            let replicas = size.replicas.max(0).unsigned_abs().into();
            deployed.insert(deployment::name(service.name, role), Share::of(at_most(replicas), &size.resources));
        }
        if service.released.needs.database.is_some() {
            let pods = live.pods_of(service.name, Role::Migrate.name());
            shares.push(pods.fold(Share::of(2, &content.size.migrate), at_least_pod));
        }
    }
    if content.has_cache() {
        deployed.insert(cache::NAME.to_owned(), Share::of(2, &content.size.cache));
    }
    for running in live.owned("Deployment") {
        let share = deployed.entry(name_of(running).to_owned()).or_insert(Share { pods: 0, cpu_millis: 0, memory_mib: 0 });
        *share = at_least_deployment(*share, running, live);
    }
    shares.extend(deployed.into_values());
    shares
}

/// The pods of a Deployment while it rolls.
fn at_most(replicas: u64) -> u64 {
    2 * replicas + 1
}

/// A Deployment that still has a former size or number keeps them until it has rolled.
fn at_least_deployment(mut share: Share, running: &DynamicObject, live: &Live<'_>) -> Share {
    let spec = &running.data["spec"];
    if name_of(running) != cache::NAME {
        share.pods = share.pods.max(at_most(spec["replicas"].as_u64().unwrap_or(1)));
    }
    share.pods = share.pods.max(2);
    for container in spec["template"]["spec"]["containers"].as_array().into_iter().flatten() {
        share = at_least(share, |resource| container["resources"]["requests"][resource].as_str());
    }
    let of = |key: &str| label(running, key).unwrap_or_default();
    live.pods_of(of(SERVICE_LABEL), of(ROLE_LABEL)).fold(share, at_least_pod)
}

fn at_least_pod(share: Share, pod: &Pod) -> Share {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requests = containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref());
    requests.fold(share, |share, requests| at_least(share, |resource| requests.get(resource).map(|quantity| quantity.0.as_str())))
}

fn at_least<'q>(mut share: Share, request: impl Fn(&str) -> Option<&'q str>) -> Share {
    let amount = |resource: &str, unit: i128| {
        let found = request(resource).and_then(compare::quantity).unwrap_or(0);
        u64::try_from((found + unit - 1) / unit).unwrap_or(0)
    };
    share.cpu_millis = share.cpu_millis.max(amount("cpu", 1_000_000));
    share.memory_mib = share.memory_mib.max(amount("memory", 1_000_000_000 << 20));
    share
}
