//! The plan of a slot: isolation first, then data, then workloads; or what a deleted slot leaves.

mod content;
mod data;
mod database;
mod health;
mod isolation;
mod migration;
mod teardown;
mod workloads;

use kube::core::DynamicObject;
use tenantry_crds::names::{GROUP_UID_LABEL, TEARDOWN_FINALIZER};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};

pub(crate) use content::{Content, Service};

use crate::live::{Live, label};
use crate::objects::{Place, cache, secret};
use crate::{ObjectId, Plan, SlotFacts, SlotIdentity, Stall, Step, Track, TrackName, Wait, Wave, reasons};

/// What is missing until the slot is what its spec says.
pub fn slot(slot: &Slot, facts: &SlotFacts) -> Plan {
    let place = place(slot);
    let deleted = slot.metadata.deletion_timestamp.is_some();
    if let Some(stall) = not_a_slot(slot, facts, &place) {
        return not_ours(slot, deleted, stall);
    }
    let live = Live::new(&facts.live);
    if deleted {
        return Plan { tracks: vec![teardown::teardown(slot, facts, &live)] };
    }
    let content = Content::of(slot, facts);
    let mut isolation = isolation::isolation(slot, facts, &place, content.as_ref().and_then(|content| content.as_ref().ok()), &live);
    if !has_finalizer(slot) {
        isolation.waves.insert(0, Wave { steps: vec![Step::AddFinalizer(TEARDOWN_FINALIZER)] });
    }
    let (data, workloads) = match content {
        None => (Track::new(TrackName::Data), Track::new(TrackName::Workloads).waiting(awaiting_promotion())),
        Some(Err(stall)) => (Track::new(TrackName::Data).stalled(stall), Track::new(TrackName::Workloads)),
        Some(Ok(content)) => {
            let (data, gate) = data::data(slot, facts, &place, &content, &live);
            let workloads = workloads::workloads(&place, &content, &live, gate);
            (data, workloads)
        }
    };
    Plan { tracks: vec![isolation, data, workloads] }
}

/// Whether the plan of this slot depends on what its PostgreSQL server says.
pub fn needs_database(slot: &Slot, class: Option<&ResourceGroupClass>, release: Option<&Release>) -> bool {
    let Some(revision) = &slot.spec.revision else {
        return recorded_database(slot).is_some();
    };
    let Some(release) = release else {
        return slot.metadata.deletion_timestamp.is_some() && class.is_some();
    };
    let needed =
        revision.services.keys().filter_map(|name| release.spec.services.get(name)).any(|service| service.needs.database.is_some());
    class.is_some() && (needed || recorded_database(slot).is_some())
}

/// Whether the plan of this slot needs the master key: a slot that is deleted, or that runs nothing, does not.
pub fn needs_master_key(slot: &Slot) -> bool {
    slot.metadata.deletion_timestamp.is_none() && slot.spec.revision.is_some()
}

/// The names of the Secrets that the plan compares: those of the services of the revision, and of services that any live
/// object still belongs to.
pub fn secret_names(slot: &Slot, live: &[DynamicObject]) -> Vec<String> {
    let mut services = Live::new(live).services();
    services.extend(slot.spec.revision.iter().flat_map(|revision| revision.services.keys().cloned()));
    services.remove(cache::NAME);
    let names = services.iter().flat_map(|service| secret::names_of(service));
    names.chain([cache::NAME.to_owned()]).collect()
}

/// Where a Slot's objects are.
pub(crate) fn place(slot: &Slot) -> Place {
    Place {
        group: slot.spec.group_ref.name.clone(),
        group_uid: slot.spec.group_ref.uid.clone(),
        slot: slot.metadata.name.clone().unwrap_or_default(),
    }
}

/// The slot's identity in PostgreSQL.
pub(crate) fn identity(slot: &Slot, facts: &SlotFacts) -> SlotIdentity {
    SlotIdentity::of(slot, &facts.operator.cluster_uid)
}

pub(crate) fn has_finalizer(slot: &Slot) -> bool {
    slot.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TEARDOWN_FINALIZER)
}

pub(crate) fn recorded_database(slot: &Slot) -> Option<&tenantry_crds::DatabasePlacement> {
    slot.status.as_ref()?.database.as_ref()
}

pub(crate) use content::placement;

fn awaiting_promotion() -> Wait {
    let message = "nothing has been promoted to this slot yet, and its group names no initialRelease";
    Wait::new(reasons::AWAITING_PROMOTION, message)
}

/// Why this object is not a slot that the operator made: anybody who may write Slots could otherwise name another tenant's
/// group, and have its database dropped.
fn not_a_slot(slot: &Slot, facts: &SlotFacts, place: &Place) -> Option<Stall> {
    let namespace = slot.metadata.namespace.as_deref().unwrap_or_default();
    if namespace != place.namespace() {
        let message = format!(
            "a Slot of this group and name belongs into the namespace {}; delete this one, the operator alone makes Slots",
            place.namespace()
        );
        return Some(Stall::new(reasons::NOT_A_SLOT_OF_ITS_GROUP, message));
    }
    let listed = facts.group.as_ref().is_some_and(|group| lists(group, slot));
    let labelled = facts.namespace.as_ref().and_then(|namespace| label(namespace, GROUP_UID_LABEL)) == Some(&place.group_uid);
    if !labelled && !listed {
        let message = format!(
            "the namespace {namespace} does not carry the label {GROUP_UID_LABEL}={}; if it is this group's, set it again",
            place.group_uid
        );
        return Some(Stall::new(reasons::NAMESPACE_NOT_OURS, message));
    }
    let deleted = slot.metadata.deletion_timestamp.is_some();
    (facts.group.is_none() && !deleted).then(|| {
        let message = format!("the ResourceGroup {} with the UID {} does not exist; delete this Slot", place.group, place.group_uid);
        Stall::new(reasons::NOT_A_SLOT_OF_ITS_GROUP, message)
    })
}

fn lists(group: &ResourceGroup, slot: &Slot) -> bool {
    let summaries = group.status.iter().flat_map(|status| &status.slots);
    summaries.filter(|_| slot.metadata.uid.is_some()).any(|summary| Some(&summary.uid) == slot.metadata.uid.as_ref())
}

/// Nothing is done for such an object. One in a foreign namespace is let go; one in a namespace that lost its label is
/// held, since it may have a database.
fn not_ours(slot: &Slot, deleted: bool, stall: Stall) -> Plan {
    let mut track = Track::new(if deleted { TrackName::Teardown } else { TrackName::Isolation });
    if deleted && stall.reason == reasons::NOT_A_SLOT_OF_ITS_GROUP {
        if has_finalizer(slot) {
            track.then(vec![Step::RemoveFinalizer(TEARDOWN_FINALIZER)]);
        }
        return Plan { tracks: vec![track] };
    }
    Plan { tracks: vec![track.stalled(stall)] }
}

/// The steps that delete these objects.
pub(crate) fn deletions(objects: impl Iterator<Item = ObjectId>) -> Vec<Step> {
    objects.map(Step::Delete).collect()
}
