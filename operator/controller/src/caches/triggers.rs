//! Which objects have to be looked at again when something changes.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::ResourceExt;
use kube::core::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use tenantry_crds::names::{GROUP_LABEL, SLOT_LABEL};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};

use super::Caches;
use crate::kinds::{Kind, NAMESPACE, ROLE_BINDING};

/// The sending ends of the controllers' queues. Nothing is sent before the replica leads: nobody would take it.
#[derive(Debug)]
pub struct Triggers {
    leading: AtomicBool,
    groups: UnboundedSender<ObjectRef<ResourceGroup>>,
    slots: UnboundedSender<ObjectRef<Slot>>,
    classes: UnboundedSender<ObjectRef<ResourceGroupClass>>,
    releases: UnboundedSender<ObjectRef<Release>>,
}

/// The receiving ends. kube's scheduler drops repetitions, so that they never grow beyond what just happened.
#[derive(Debug)]
pub struct Queues {
    pub groups: UnboundedReceiver<ObjectRef<ResourceGroup>>,
    pub slots: UnboundedReceiver<ObjectRef<Slot>>,
    pub classes: UnboundedReceiver<ObjectRef<ResourceGroupClass>>,
    pub releases: UnboundedReceiver<ObjectRef<Release>>,
}

impl Triggers {
    pub fn new() -> (Self, Queues) {
        let ((groups, groups_end), (slots, slots_end)) = (unbounded(), unbounded());
        let ((classes, classes_end), (releases, releases_end)) = (unbounded(), unbounded());
        (
            Self { leading: AtomicBool::new(false), groups, slots, classes, releases },
            Queues { groups: groups_end, slots: slots_end, classes: classes_end, releases: releases_end },
        )
    }

    /// From now on changes are sent; first of all, everything that is known.
    pub fn lead(&self, caches: &Caches) {
        self.leading.store(true, Ordering::Release);
        caches.groups.objects.all().iter().for_each(|group| self.send_group(&group.name_any()));
        caches.slots.objects.all().iter().for_each(|slot| self.send(&self.slots, ObjectRef::from_obj(&**slot)));
        caches.classes.objects.all().iter().for_each(|class| self.send_class(&class.name_any()));
        caches.releases.objects.all().iter().for_each(|release| self.send_release(&release.name_any()));
    }

    /// A group: itself, and if it matters to them its slots and its class.
    pub fn group(&self, caches: &Caches, before: Option<&ResourceGroup>, after: Option<&ResourceGroup>) {
        let states = || before.into_iter().chain(after);
        states().for_each(|group| self.send_group(&group.name_any()));
        let what_slots_see = |group: &ResourceGroup| {
            let listed = group.status.as_ref().map(|status| status.slots.iter().map(|slot| slot.uid.clone()).collect::<Vec<_>>());
            (group.uid(), group.spec.clone(), group.metadata.deletion_timestamp.clone(), listed)
        };
        if before.map(what_slots_see) == after.map(what_slots_see) {
            return;
        }
        for group in states() {
            let uid = group.uid();
            for slot in caches.slots.objects.all() {
                if uid.as_deref() == Some(slot.spec.group_ref.uid.as_str()) {
                    self.send(&self.slots, ObjectRef::from_obj(&*slot));
                }
            }
            self.send_class(&group.spec.class_ref.name);
        }
    }

    /// A slot: itself, its group, and if they changed its class and release.
    pub fn slot(&self, _: &Caches, before: Option<&Slot>, after: Option<&Slot>) {
        let states = || before.into_iter().chain(after);
        let uses = |slot: &Slot| (slot.spec.class_ref.clone(), slot.spec.revision.as_ref().map(|revision| revision.release.clone()));
        let same_uses = before.map(uses) == after.map(uses);
        for slot in states() {
            self.send(&self.slots, ObjectRef::from_obj(slot));
            self.send_group(&slot.spec.group_ref.name);
            if !same_uses {
                self.send_class(&slot.spec.class_ref.name);
                slot.spec.revision.iter().for_each(|revision| self.send_release(&revision.release));
            }
        }
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
            self.send(&self.slots, ObjectRef::from_obj(&**slot));
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
                self.send(&self.slots, ObjectRef::from_obj(&*slot));
            }
        }
    }

    /// Something that the operator owns: the slot of its namespace; of namespaces and the operator's rights also the group.
    pub fn managed(&self, kind: Kind, object: Option<&DynamicObject>) {
        let Some(object) = object else { return };
        let labels = object.labels();
        let namespace = if kind == NAMESPACE { Some(object.name_any()) } else { object.namespace() };
        let Some(namespace) = namespace else { return };
        // A namespace is `<group>-<slot>`, and a slot's name has no hyphen.
        let slot = labels.get(SLOT_LABEL).map(String::as_str).or_else(|| namespace.rsplit_once('-').map(|(_, slot)| slot));
        if let Some(slot) = slot {
            self.send(&self.slots, ObjectRef::new(slot).within(&namespace));
        }
        if matches!(kind, NAMESPACE | ROLE_BINDING)
            && let Some(group) = labels.get(GROUP_LABEL)
        {
            self.send_group(group);
        }
    }

    fn send_group(&self, name: &str) {
        self.send(&self.groups, ObjectRef::new(name));
    }

    fn send_class(&self, name: &str) {
        self.send(&self.classes, ObjectRef::new(name));
    }

    fn send_release(&self, name: &str) {
        self.send(&self.releases, ObjectRef::new(name));
    }

    fn send<T>(&self, queue: &UnboundedSender<T>, item: T) {
        if self.leading.load(Ordering::Acquire) {
            // The receiving end is gone only while the process stops.
            let _ = queue.unbounded_send(item);
        }
    }
}
