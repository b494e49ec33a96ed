//! The plan of a slot: isolation first, then data, then workloads; or what a deleted slot leaves.

mod adoption;
mod content;
mod credentials;
mod data;
mod database;
mod health;
mod intent;
mod isolation;
mod migration;
mod placement;
mod probe;
mod retention;
mod room;
mod teardown;
mod user_credentials;
mod workloads;

use kube::core::DynamicObject;
use tenantry_crds::names::{GROUP_UID_LABEL, TEARDOWN_FINALIZER};
use tenantry_crds::{Release, ResourceGroupClass, Slot};

pub use adoption::adopted_database;
pub(crate) use content::{Content, Service};
pub(crate) use credentials::{Credentials, of_slot as credentials_of_slot};
pub(crate) use intent::held;
pub(crate) use probe::{CONDITION as NETWORK_CONDITION, Probing};
pub use probe::{Ingress, is_probe, probe_pods};
pub(crate) use user_credentials::role_of;
pub use user_credentials::{UserSecret, user_secret_names};

use crate::group::lists;
use crate::live::{Live, label};
use crate::objects::{Place, cache, secret};
use crate::{ClassTurn, ObjectId, Plan, SlotFacts, SlotIdentity, Stall, Step, Track, TrackName, Wait, Wave, reasons, rollout};

/// What is missing until the slot is what its spec says.
pub fn slot(slot: &Slot, facts: &SlotFacts) -> Plan {
    let place = place(slot);
    let deleted = slot.metadata.deletion_timestamp.is_some();
    if let Some(plan) = aside(slot, standing(slot, facts)) {
        return plan;
    }
    let live = Live::new(&facts.live);
    if deleted {
        return Plan { tracks: vec![teardown::teardown(slot, facts, &live)] };
    }
    let content = Content::of(slot, facts);
    let isolation = isolated(slot, facts, &place, content.as_ref().and_then(|content| content.as_ref().ok()), &live);
    let (data, workloads) = match content {
        None => (Track::new(TrackName::Data), Track::new(TrackName::Workloads).waiting(awaiting_promotion())),
        Some(Err(stall)) => (Track::new(TrackName::Data).stalled(stall), Track::new(TrackName::Workloads)),
        Some(Ok(content)) => {
            let credentials = credentials::of_slot(facts, &content);
            let (mut data, gate) = data::data(slot, facts, &place, &content, &credentials, &live);
            let mut workloads = workloads::workloads(&place, &content, &credentials, &facts.user_secrets, &live, gate);
            if facts.class_turn == ClassTurn::Later && is_outdated_by_its_class_alone(slot) {
                rollout::hold_back(&mut data, &live);
                rollout::hold_back(&mut workloads, &live);
            }
            (data, workloads)
        }
    };
    let network = Probing::of(slot, facts, &place).map_or(Track::new(TrackName::Network), |probing| probing.track(&live));
    Plan { tracks: vec![isolation, network, data, workloads] }
}

/// The isolation track of [`slot`] alone; none of a slot that is deleted.
pub fn isolation(slot: &Slot, facts: &SlotFacts) -> Option<Track> {
    if slot.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if let Some(plan) = aside(slot, standing(slot, facts)) {
        return plan.tracks.into_iter().next();
    }
    let content = Content::of(slot, facts);
    Some(isolated(slot, facts, &place(slot), content.as_ref().and_then(|content| content.as_ref().ok()), &Live::new(&facts.live)))
}

fn isolated(slot: &Slot, facts: &SlotFacts, place: &Place, content: Option<&Content<'_>>, live: &Live<'_>) -> Track {
    let mut isolation = isolation::isolation(slot, facts, place, content, live);
    if !has_finalizer(slot) {
        isolation.waves.insert(0, Wave { steps: vec![Step::AddFinalizer(TEARDOWN_FINALIZER)] });
    }
    isolation
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

pub use placement::{Placed, needs_servers, placed, recorded_server};

/// A slot that was changed itself, or was never rolled out, does not wait for others.
fn is_outdated_by_its_class_alone(slot: &Slot) -> bool {
    let status = slot.status.as_ref();
    let observed = status.map(|status| status.observed_generation);
    observed == slot.metadata.generation && status.is_some_and(|status| status.class_generation.is_some())
}

fn awaiting_promotion() -> Wait {
    let message = "nothing has been promoted to this slot yet, and its group names no initialRelease";
    Wait::new(reasons::AWAITING_PROMOTION, message)
}

/// Whether a Slot counts. Anybody who may write Slots could otherwise name another tenant's group, and have its database
/// dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is its group's: it stands in its namespace, and the group's status lists it. Or the group is gone, and it is deleted.
    Member,
    /// The group's status does not list it yet. Nothing is done, and nothing reported: the group's controller is about to.
    Unlisted(Wait),
    /// It stands in a namespace of its group, which is gone. It runs no further, and says so.
    Orphan(Stall),
    /// It stands where the operator made no slot. Nothing is done there, not even reported: the operator does not write there.
    Stranger(Stall),
}

/// Whether that Slot counts.
pub fn standing(slot: &Slot, facts: &SlotFacts) -> Standing {
    let place = place(slot);
    let namespace = slot.metadata.namespace.as_deref().unwrap_or_default();
    if namespace != place.namespace() {
        let message = format!(
            "a Slot of this group and name belongs into the namespace {}; delete this one, the operator alone makes Slots",
            place.namespace()
        );
        return Standing::Stranger(Stall::new(reasons::NOT_A_SLOT_OF_ITS_GROUP, message));
    }
    let labelled = facts.namespace.as_ref().and_then(|namespace| label(namespace, GROUP_UID_LABEL)) == Some(&place.group_uid);
    let deleted = slot.metadata.deletion_timestamp.is_some();
    match &facts.group {
        Some(group) if lists(group, slot) => Standing::Member,
        Some(group) if labelled => {
            let message = format!(
                "the status of the ResourceGroup {} does not list this Slot yet",
                group.metadata.name.as_deref().unwrap_or_default()
            );
            Standing::Unlisted(Wait::new(reasons::AWAITING_GROUP, message))
        }
        None if labelled && deleted => Standing::Member,
        None if labelled => {
            let message = format!("the ResourceGroup {} with the UID {} does not exist; delete this Slot", place.group, place.group_uid);
            Standing::Orphan(Stall::new(reasons::NOT_A_SLOT_OF_ITS_GROUP, message))
        }
        _ => {
            let message = format!(
                "the namespace {namespace} does not carry the label {GROUP_UID_LABEL}={}, and no status lists this Slot; if it is this \
                 group's, set the label again, otherwise delete the Slot",
                place.group_uid
            );
            Standing::Stranger(Stall::new(reasons::NAMESPACE_NOT_OURS, message))
        }
    }
}

/// The plan for what does not count: none.
fn aside(slot: &Slot, standing: Standing) -> Option<Plan> {
    let deleted = slot.metadata.deletion_timestamp.is_some();
    let track = Track::new(if deleted { TrackName::Teardown } else { TrackName::Isolation });
    let track = match standing {
        Standing::Member => return None,
        Standing::Unlisted(wait) => track.waiting(wait),
        Standing::Orphan(stall) | Standing::Stranger(stall) => track.stalled(stall),
    };
    Some(Plan { tracks: vec![track] })
}

/// The steps that delete these objects.
pub(crate) fn deletions(objects: impl Iterator<Item = ObjectId>) -> Vec<Step> {
    objects.map(Step::Delete).collect()
}
