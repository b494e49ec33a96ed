//! What happens to a world by others than the group's owner and the operator, and what PostgreSQL says then.

use std::collections::BTreeSet;

use tenantry_crds::Slot;
use tenantry_plan::{DatabaseFacts, SlotIdentity, SourceFacts};

use crate::world::{World, key};

impl World {
    /// `kubectl delete slot`, or what the deletion of its definition does: no say of the group.
    pub fn delete_slot_by_a_side_door(&mut self, namespace: &str) {
        for ((kind, within, _), object) in &mut self.objects {
            if kind == "Slot" && within == namespace {
                object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
        }
    }

    /// `kubectl delete namespace`: everything in it goes, the Slot once it is let go, and then the namespace.
    pub fn delete_namespace_by_a_side_door(&mut self, namespace: &str) {
        self.delete_slot_by_a_side_door(namespace);
        self.objects.retain(|(kind, within, _), _| kind == "Slot" || within != namespace);
        if let Some(object) = self.objects.get_mut(&key("Namespace", "", namespace)) {
            object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
    }

    /// Every status is wiped.
    pub fn lose_statuses(&mut self) {
        if let Some(group) = self.group.as_mut() {
            group.status = None;
        }
        for ((kind, ..), object) in &mut self.objects {
            if kind == "Slot" {
                object.as_object_mut().unwrap().remove("status");
            }
        }
    }

    /// Namespaces end once no Slot holds them.
    pub fn end_namespaces(&mut self) {
        let held: BTreeSet<String> = self.objects.keys().filter(|(kind, ..)| kind == "Slot").map(|(_, within, _)| within.clone()).collect();
        self.objects.retain(|(kind, _, name), object| {
            kind != "Namespace" || object["metadata"]["deletionTimestamp"].is_null() || held.contains(name)
        });
    }

    /// What the server says of the slot, and of the database that the group names for it.
    pub fn database_facts(&self, server: &str, slot: &Slot, identity: &SlotIdentity) -> DatabaseFacts {
        let databases = self.databases_of(server);
        let mut facts = databases.and_then(|found| found.get(&identity.database())).cloned().unwrap_or_default();
        let templates = self.group.iter().flat_map(|group| &group.spec.slots);
        let template = templates.into_iter().find(|template| Some(&template.name) == slot.metadata.name.as_ref());
        let wanted = template.and_then(|template| template.adopt_database.as_ref());
        let source = wanted.and_then(|wanted| databases?.get(&wanted.name)).filter(|source| source.comment.is_some());
        facts.source = source.map(|source| SourceFacts {
            comment: source.comment.clone().flatten(),
            roles: source.roles.iter().map(|(name, role)| (name.clone(), role.comment.clone())).collect(),
        });
        facts
    }
}
