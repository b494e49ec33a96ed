//! Which objects have to be looked at again when something changes.

use std::sync::atomic::{AtomicBool, Ordering};

use kube::ResourceExt;
use tenantry_crds::names::{ABANDON_DATABASE_ANNOTATION, GROUP_LABEL, SLOT_LABEL};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};

use super::Caches;
use super::objects::Place;
use super::packed::Packed;
use crate::kinds::{Kind, NAMESPACE, POD, ROLE_BINDING};
use crate::queue::Queue;

/// Wakes what is to be reconciled. Nobody is woken before the replica leads: nobody would do it.
#[derive(Debug, Default)]
pub struct Triggers {
    leading: AtomicBool,
    pub groups: Queue,
    pub slots: Queue,
    pub classes: Queue,
    pub releases: Queue,
    /// Slots with a probe whose pod has changed.
    pub probes: Queue,
}

impl Triggers {
    /// From now on changes wake; first of all, everything that is known.
    pub fn lead(&self, caches: &Caches) {
        self.leading.store(true, Ordering::Release);
        caches.groups.objects.all().iter().for_each(|group| self.send_group(&group.name_any()));
        caches.slots.objects.all().iter().for_each(|slot| self.wake(&self.slots, Place::of(&**slot)));
        caches.classes.objects.all().iter().for_each(|class| self.send_class(&class.name_any()));
        caches.releases.objects.all().iter().for_each(|release| self.send_release(&release.name_any()));
    }

    /// Everything that is known is looked at again, if this replica leads.
    pub fn resume(&self, caches: &Caches) {
        if self.leading.load(Ordering::Acquire) {
            self.lead(caches);
        }
    }

    /// A slot of which something is known now that no watch tells.
    pub fn wake_slot(&self, namespace: &str, name: &str) {
        self.wake(&self.slots, Place::new(namespace, name));
    }

    /// How many objects of each kind an event has woken that are not looked at yet.
    pub fn waiting(&self) -> [(&'static str, usize); 4] {
        [
            ("ResourceGroup", self.groups.woken()),
            ("Slot", self.slots.woken()),
            ("ResourceGroupClass", self.classes.woken()),
            ("Release", self.releases.woken()),
        ]
    }

    /// A group: itself, and if it matters to them its slots and its class.
    pub fn group(&self, caches: &Caches, before: Option<&ResourceGroup>, after: Option<&ResourceGroup>) {
        let states = || before.into_iter().chain(after);
        states().for_each(|group| self.send_group(&group.name_any()));
        let what_slots_see = |group: &ResourceGroup| {
            let listed = group.status.as_ref().map(|status| status.slots.iter().map(|slot| slot.uid.clone()).collect::<Vec<_>>());
            let abandoned = group.annotations().get(ABANDON_DATABASE_ANNOTATION).cloned();
            (group.uid(), group.spec.clone(), group.metadata.deletion_timestamp.clone(), listed, abandoned)
        };
        if before.map(what_slots_see) == after.map(what_slots_see) {
            return;
        }
        for group in states() {
            let uid = group.uid();
            for slot in caches.slots.objects.beginning(&format!("{}-", group.name_any())) {
                if uid.as_deref() == Some(slot.spec.group_ref.uid.as_str()) {
                    self.wake(&self.slots, Place::of(&*slot));
                }
            }
            self.send_class(&group.spec.class_ref.name);
        }
    }

    /// A slot: itself, its group, and if they changed its class and release.
    pub fn slot(&self, caches: &Caches, before: Option<&Slot>, after: Option<&Slot>) {
        let states = || before.into_iter().chain(after);
        let uses = |slot: &Slot| (slot.spec.class_ref.clone(), slot.spec.revision.as_ref().map(|revision| revision.release.clone()));
        let same_uses = before.map(uses) == after.map(uses);
        let class_generation = |slot: Option<&Slot>| slot.and_then(|slot| slot.status.as_ref()).and_then(|status| status.class_generation);
        if let Some(done) = class_generation(before).filter(|of| class_generation(after) != Some(*of)) {
            self.next_of_class(caches, before, done);
        }
        for slot in states() {
            self.wake(&self.slots, Place::of(slot));
            self.send_group(&slot.spec.group_ref.name);
            if !same_uses {
                self.send_class(&slot.spec.class_ref.name);
                slot.spec.revision.iter().for_each(|revision| self.send_release(&revision.release));
            }
        }
    }

    /// A slot that was of that generation of its class has got another: the next ones' turn may have come.
    fn next_of_class(&self, caches: &Caches, slot: Option<&Slot>, generation: i64) {
        let Some(class) = slot.map(|slot| slot.spec.class_ref.name.as_str()) else { return };
        let Some(many) = caches.classes.objects.get("", class).map(|class| class.spec.rollout.max_concurrent_slots) else { return };
        let of_generation = |slot: &Slot| slot.status.as_ref().and_then(|status| status.class_generation) == Some(generation);
        let slots = caches.slots.objects.all();
        let outdated = slots.iter().filter(|slot| slot.spec.class_ref.name == class && of_generation(slot));
        let mut outdated: Vec<Place> = outdated.map(|slot| Place::of(&**slot)).collect();
        outdated.sort_by(|one, other| one.namespace().cmp(other.namespace()));
        outdated.into_iter().take(many as usize).for_each(|slot| self.wake(&self.slots, slot));
    }

    /// A class: itself, and if its offer changed its groups and their slots.
    pub fn class(&self, caches: &Caches, before: Option<&ResourceGroupClass>, after: Option<&ResourceGroupClass>) {
        let Some(name) = before.or(after).map(ResourceExt::name_any) else { return };
        self.send_class(&name);
        if before.map(|class| &class.spec) == after.map(|class| &class.spec) {
            return;
        }
        for group in caches.groups.objects.all().iter().filter(|group| group.spec.class_ref.name == name) {
            self.send_group(&group.name_any());
        }
        for slot in caches.slots.objects.all().iter().filter(|slot| slot.spec.class_ref.name == name) {
            self.wake(&self.slots, Place::of(&**slot));
        }
    }

    /// A release: itself, and if it came or went the slots that run it.
    pub fn release(&self, caches: &Caches, before: Option<&Release>, after: Option<&Release>) {
        let Some(name) = before.or(after).map(ResourceExt::name_any) else { return };
        self.send_release(&name);
        if before.map(|release| &release.spec) == after.map(|release| &release.spec) {
            return;
        }
        for slot in caches.slots.objects.all() {
            if slot.spec.revision.as_ref().is_some_and(|revision| revision.release == name) {
                self.wake(&self.slots, Place::of(&*slot));
            }
        }
    }

    /// Something that the operator owns: the slot of its namespace; of namespaces and the operator's rights also the group.
    pub fn managed(&self, kind: Kind, object: Option<Packed>) {
        if !self.is_leading() {
            return;
        }
        let Some(object) = object.map(|object| object.unpack()) else { return };
        let labels = object.labels();
        let namespace = if kind == NAMESPACE { Some(object.name_any()) } else { object.namespace() };
        let Some(namespace) = namespace else { return };
        // A namespace is `<group>-<slot>`, and a slot's name has no hyphen.
        let slot = labels.get(SLOT_LABEL).map(String::as_str).or_else(|| namespace.rsplit_once('-').map(|(_, slot)| slot));
        if let Some(slot) = slot {
            self.wake(&self.slots, Place::new(&namespace, slot));
            if kind == POD && tenantry_plan::is_probe(&object) {
                self.wake(&self.probes, Place::new(&namespace, slot));
            }
        }
        if matches!(kind, NAMESPACE | ROLE_BINDING)
            && let Some(group) = labels.get(GROUP_LABEL)
        {
            self.send_group(group);
        }
    }

    fn send_group(&self, name: &str) {
        self.wake(&self.groups, Place::new("", name));
    }

    fn send_class(&self, name: &str) {
        self.wake(&self.classes, Place::new("", name));
    }

    fn send_release(&self, name: &str) {
        self.wake(&self.releases, Place::new("", name));
    }

    fn wake(&self, queue: &Queue, place: Place) {
        if self.is_leading() {
            queue.wake(place);
        }
    }

    fn is_leading(&self) -> bool {
        self.leading.load(Ordering::Acquire)
    }
}
