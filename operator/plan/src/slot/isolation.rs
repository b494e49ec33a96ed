//! Labels, policies, quota and rights. Never behind a data service: this depends on the API server alone.

use tenantry_crds::Slot;

use super::Content;
use super::intent::template;
use super::placement::{self, Placement};
use super::room::room;
use crate::live::{Live, name_of};
use crate::objects::quota::{self, QUOTA, limit_range};
use crate::objects::{Place, cache, egress, namespace, network, rbac};
use crate::{Manifest, SlotFacts, Step, Track, TrackName, compare};

/// The kinds that this track prunes.
const PRUNED: [&str; 4] = ["NetworkPolicy", "RoleBinding", quota::KIND, "LimitRange"];

pub(crate) fn isolation(slot: &Slot, facts: &SlotFacts, place: &Place, content: Option<&Content<'_>>, live: &Live<'_>) -> Track {
    let mut track = Track::new(TrackName::Isolation);
    let namespace = namespace::namespace(place, template(slot, facts).is_some_and(|template| template.deletion_protection));
    let relabel = facts.namespace.as_ref().filter(|live| compare::differs(&namespace, live));
    track.then(relabel.map(|_| Step::Apply(Box::new(namespace))).into_iter().collect());

    let mut desired = vec![rbac::operator_binding(place, &facts.operator), limit_range(place)];
    desired.extend(network::policies(place));
    desired.extend(rbac::viewer_binding(place, &slot.spec.owners));
    // The way to the server is opened once the place is recorded, before anything is made there.
    let without = content.is_some_and(|content| matches!(content.placement, Placement::NotNeeded));
    let server = placement::recorded_in_class(slot, facts).filter(|_| !without);
    desired.extend(server.map(|server| network::postgres_policy(place, server)));
    desired.extend(content.into_iter().flat_map(|content| egress_policies(place, content)));
    let monitoring = facts.class.as_ref().and_then(|class| class.spec.network.monitoring.as_ref());
    desired.extend(monitoring.map(|monitoring| network::monitoring_policy(place, monitoring)));
    let services = slot.spec.revision.iter().flat_map(|revision| revision.services.keys());
    desired.extend(services.map(|service| rbac::service_account(place, service)));
    if let Some(content) = content {
        if content.has_cache() {
            desired.push(rbac::service_account(place, cache::NAME));
        }
        desired.push(quota::quota(place, room(place, content, live)));
    }
    let missing = live.towards(&desired);
    track.wait = missing.wait();
    track.then(missing.replaced);
    track.then(missing.applied);
    let mut kept: Vec<(String, String)> = desired.iter().map(|manifest| (manifest.kind.kind.clone(), manifest.name().to_owned())).collect();
    if !without {
        // What it should be cannot be said while the class, or the place of the database, is unknown.
        kept.push(("NetworkPolicy".to_owned(), network::POSTGRES_POLICY.to_owned()));
    }
    if facts.class.is_none() {
        kept.push(("NetworkPolicy".to_owned(), network::MONITORING_POLICY.to_owned()));
    }
    if content.is_none() {
        let live = live.owned("NetworkPolicy").map(name_of).filter(|name| name.starts_with(egress::POLICY_PREFIX));
        kept.extend(live.map(|name| ("NetworkPolicy".to_owned(), name.to_owned())));
    }
    kept.push((quota::KIND.to_owned(), QUOTA.to_owned()));
    track.then(live.prune(&PRUNED, &kept));
    track
}

/// The ways out of the slot, for the services that need any, where the class has any.
fn egress_policies(place: &Place, content: &Content<'_>) -> Vec<Manifest> {
    let destinations = &content.class.spec.network.egress;
    let needs = content.services.iter().filter_map(|service| Some((service.name, service.released.needs.egress.as_ref()?)));
    let needs = needs.filter(|_| !destinations.is_empty());
    needs.map(|(service, need)| egress::egress_policy(place, service, need, destinations)).collect()
}
