//! The plan of a group: for each slot a namespace, the operator's rights in it, and the Slot. Each in a track of its own,
//! so that one slot's trouble never holds another back.

use std::collections::BTreeSet;

use kube::core::DynamicObject;
use tenantry_crds::names::{DELETION_PROTECTION_LABEL, GROUP_UID_LABEL, PROMOTION_FIELD_MANAGER, SLOT_LABEL, TEARDOWN_FINALIZER};
use tenantry_crds::{GROUP, ResourceGroup, Slot, SlotSpecTemplate, VERSION};

use crate::compare::{differs, must_be_replaced};
use crate::live::{id_of, label, name_of};
use crate::objects::{Place, namespace, rbac, slot as slot_object};
use crate::slot::held;
use crate::{GroupFacts, Manifest, ObjectId, Observation, Plan, Stall, Step, Track, TrackName, Wait, reasons, settings};

/// What is missing until the group's slots are there, and those that it has no more are gone.
pub fn group(group: &ResourceGroup, facts: &GroupFacts) -> Plan {
    let deleted = group.metadata.deletion_timestamp.is_some();
    if !has_finalizer(group) {
        let mut track = Track::new(TrackName::Slots);
        if !deleted {
            // Alone, so that there is never a namespace that a deletion would not look for.
            track.then(vec![Step::AddFinalizer(TEARDOWN_FINALIZER)]);
        }
        return Plan { tracks: vec![track] };
    }
    let view = View { group, facts };
    let kept = group.spec.slots.iter().filter(|template| !deleted || template.deletion_protection);
    let mut tracks: Vec<Track> = kept.clone().map(|template| if deleted { view.hold(template) } else { view.keep(template) }).collect();
    let wanted: BTreeSet<String> = kept.map(|template| view.place(&template.name).namespace()).collect();
    tracks.extend(view.namespaces().into_iter().filter(|name| !wanted.contains(name)).map(|name| view.remove(&name)));
    if deleted && tracks.is_empty() {
        let mut track = Track::new(TrackName::Teardown);
        track.then(vec![Step::RemoveFinalizer(TEARDOWN_FINALIZER)]);
        tracks.push(track);
    }
    Plan { tracks }
}

struct View<'a> {
    group: &'a ResourceGroup,
    facts: &'a GroupFacts,
}

impl<'a> View<'a> {
    fn place(&self, slot: &str) -> Place {
        Place {
            group: self.group.metadata.name.clone().unwrap_or_default(),
            group_uid: self.group.metadata.uid.clone().unwrap_or_default(),
            slot: slot.to_owned(),
        }
    }

    fn namespace(&self, name: &str) -> Option<&'a DynamicObject> {
        self.facts.namespaces.iter().find(|namespace| name_of(namespace) == name)
    }

    fn slot_in(&self, namespace: &str) -> Option<&'a Slot> {
        members(self.group, self.facts).find(|slot| slot.metadata.namespace.as_deref() == Some(namespace))
    }

    /// Whether a namespace is this group's: by its label; or, if somebody took that off, by the Slot that the group's status
    /// lists there.
    fn owns(&self, namespace: &DynamicObject) -> bool {
        let name = name_of(namespace);
        label(namespace, GROUP_UID_LABEL) == self.group.metadata.uid.as_deref() || self.slot_in(name).is_some()
    }

    /// All namespaces in which the group has something.
    fn namespaces(&self) -> BTreeSet<String> {
        let owned = self.facts.namespaces.iter().filter(|namespace| self.owns(namespace)).map(|namespace| name_of(namespace).to_owned());
        owned.chain(members(self.group, self.facts).filter_map(|slot| slot.metadata.namespace.clone())).collect()
    }

    fn keep(&self, template: &SlotSpecTemplate) -> Track {
        let place = self.place(&template.name);
        let name = place.namespace();
        let track = Track { slot: Some(template.name.clone()), ..Track::new(TrackName::Slots) };
        let live = self.slot_in(&name);
        if let Some(namespace) = self.namespace(&name) {
            if !self.owns(namespace) {
                return track.stalled(not_ours(&name));
            }
            if namespace.metadata.deletion_timestamp.is_some() {
                return track.waiting(terminating_namespace(namespace));
            }
        }
        if let Some(slot) = live.filter(|slot| slot.metadata.deletion_timestamp.is_some()) {
            return track.waiting(terminating_slot(slot));
        }
        match self.unknown_service(template) {
            Some(stall) => track.stalled(stall),
            None => self.apply(track, &place, template, live),
        }
    }

    fn apply(&self, mut track: Track, place: &Place, template: &SlotSpecTemplate, live: Option<&Slot>) -> Track {
        let name = place.namespace();
        let namespace = namespace::namespace(place, template.deletion_protection);
        track.then(missing(namespace, self.namespace(&name)));

        let binding = rbac::operator_binding(place, &self.facts.operator);
        let bound = self
            .facts
            .bindings
            .iter()
            .find(|bound| bound.metadata.namespace.as_deref() == Some(&name) && name_of(bound) == rbac::OPERATOR_ROLE);
        if let Some(bound) = bound.filter(|bound| must_be_replaced(&binding, bound)) {
            track.then(vec![Step::Delete(id_of(bound))]);
        }
        track.then(missing(binding, bound));

        let revision = |release: &String| settings::revision(release, &self.group.spec.services, template);
        let pinned = template.release.as_ref().map(revision);
        let manifest = slot_object::slot(place, self.group, template, pinned.as_ref());
        let steps = missing(manifest, live.map(dynamic).as_ref());
        let current = live.and_then(|slot| slot.spec.revision.as_ref());
        let promoted = template.promote_from.is_some();
        if let Some(current) = current.filter(|_| promoted && !steps.is_empty()) {
            // A slot that was pinned before keeps what it runs: the promotions' manager takes the revision over before the
            // operator's own lets go of it. With the resource version, so that a promotion in between is not undone.
            let version = live.and_then(|slot| slot.metadata.resource_version.as_deref());
            track.then(vec![promotion(slot_object::revision(place, current, version))]);
        }
        track.then(steps);
        let initial = template.initial_release.as_ref().filter(|_| promoted && current.is_none()).map(revision);
        track.then(initial.map(|initial| promotion(slot_object::revision(place, &initial, None))).into_iter().collect());
        track
    }

    fn unknown_service(&self, template: &SlotSpecTemplate) -> Option<Stall> {
        let unknown = template.services.keys().find(|service| !self.group.spec.services.contains_key(*service))?;
        let message = format!(
            "the slot {} sets services.{unknown}, which the group does not run; write it into spec.services too, or take it out of the slot",
            template.name
        );
        Some(Stall::new(reasons::UNKNOWN_SERVICE, message))
    }

    /// A deleted group's slot that is protected: nothing of it is touched.
    fn hold(&self, template: &SlotSpecTemplate) -> Track {
        let track = Track { slot: Some(template.name.clone()), ..Track::new(TrackName::Teardown) };
        let doomed = match &self.facts.doomed_definitions {
            Observation::Known(doomed) => doomed.as_slice(),
            Observation::Failed { .. } | Observation::NotAsked => &[],
        };
        track.waiting(held(doomed, &self.place(&template.name)))
    }

    /// The Slot first, with its data; the namespace when it is gone.
    fn remove(&self, name: &str) -> Track {
        let namespace = self.namespace(name);
        let slot = self.slot_in(name);
        let labelled = namespace.and_then(|namespace| label(namespace, SLOT_LABEL)).map(str::to_owned);
        let slot_name = slot.and_then(|slot| slot.metadata.name.clone()).or(labelled);
        let mut track = Track { slot: slot_name, ..Track::new(TrackName::Teardown) };
        if let Some(slot) = slot {
            if slot.metadata.deletion_timestamp.is_none() {
                track.then(vec![Step::Delete(slot_id(slot))]);
            }
            return track.waiting(terminating_slot(slot));
        }
        let Some(namespace) = namespace else { return track };
        if namespace.metadata.deletion_timestamp.is_none() {
            if label(namespace, DELETION_PROTECTION_LABEL).is_some() {
                // A slot whose protection was taken off just before it was removed.
                let place = self.place(track.slot.as_deref().unwrap_or_default());
                track.then(vec![Step::Apply(Box::new(namespace::namespace(&place, false)))]);
            }
            track.then(vec![Step::Delete(id_of(namespace))]);
        }
        track.waiting(terminating_namespace(namespace))
    }
}

/// The Slots that are the group's. A Slot that names the group is one only in its own namespace, and if that carries the
/// group's UID, which nobody but the operator may write there, or the group's status lists the Slot. What is wiped of either is
/// made again from the other; a Slot that somebody forged elsewhere is not even looked at.
pub(crate) fn members<'a>(group: &'a ResourceGroup, facts: &'a GroupFacts) -> impl Iterator<Item = &'a Slot> {
    facts.slots.iter().filter(|slot| {
        let place = crate::slot::place(slot);
        let namespace = facts.namespaces.iter().find(|namespace| name_of(namespace) == place.namespace());
        let labelled = namespace.is_some_and(|namespace| label(namespace, GROUP_UID_LABEL) == group.metadata.uid.as_deref());
        slot.metadata.namespace.as_deref() == Some(&place.namespace()) && (labelled || lists(group, slot))
    })
}

/// Whether the group's status lists exactly this Slot.
pub(crate) fn lists(group: &ResourceGroup, slot: &Slot) -> bool {
    let listed = group.status.iter().flat_map(|status| &status.slots);
    listed.filter(|_| slot.metadata.uid.is_some()).any(|listed| Some(&listed.uid) == slot.metadata.uid.as_ref())
}

fn has_finalizer(group: &ResourceGroup) -> bool {
    group.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TEARDOWN_FINALIZER)
}

fn missing(manifest: Manifest, live: Option<&DynamicObject>) -> Vec<Step> {
    match live {
        Some(live) if !differs(&manifest, live) => vec![],
        _ => vec![Step::Apply(Box::new(manifest))],
    }
}

fn promotion(manifest: Manifest) -> Step {
    Step::ApplyAs(PROMOTION_FIELD_MANAGER, Box::new(manifest))
}

fn dynamic(slot: &Slot) -> DynamicObject {
    let value = serde_json::to_value(slot).unwrap_or_default();
    serde_json::from_value(value).expect("a Slot is an object with metadata")
}

fn slot_id(slot: &Slot) -> ObjectId {
    ObjectId {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        kind: "Slot".to_owned(),
        namespace: slot.metadata.namespace.clone(),
        name: slot.metadata.name.clone().unwrap_or_default(),
        uid: slot.metadata.uid.clone().unwrap_or_default(),
    }
}

fn not_ours(namespace: &str) -> Stall {
    let message = format!(
        "the namespace {namespace} exists and does not belong to this group, so it is left alone; delete it, or name the group or the slot otherwise"
    );
    Stall::new(reasons::NAMESPACE_NOT_OURS, message)
}

fn terminating_slot(slot: &Slot) -> Wait {
    let conditions = slot.status.iter().flat_map(|status| &status.conditions);
    let blocked = conditions.into_iter().find(|condition| condition.type_ == "DeletionBlocked" && condition.status == "True");
    let name = slot.metadata.namespace.as_deref().unwrap_or_default();
    match blocked {
        Some(blocked) => Wait::new(reasons::DELETION_BLOCKED, format!("the deletion of {name} is blocked: {}", blocked.message)),
        None => Wait::new(reasons::DELETING, format!("the slot of {name} is being deleted")),
    }
}

/// A namespace says itself what it still waits for.
fn terminating_namespace(namespace: &DynamicObject) -> Wait {
    let name = name_of(namespace);
    let conditions = namespace.data["status"]["conditions"].as_array().into_iter().flatten();
    let remaining: Vec<&str> =
        conditions.filter(|condition| condition["status"] == "True").filter_map(|condition| condition["message"].as_str()).collect();
    let detail = if remaining.is_empty() { String::new() } else { format!(": {}", remaining.join("; ")) };
    Wait::new(reasons::DELETING, format!("the namespace {name} is being deleted{detail}"))
}
