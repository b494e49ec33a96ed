//! Builders, one file each: from validated facts to manifests. None decides whether its object is needed; they only write.

pub(crate) mod abandonment;
pub(crate) mod autoscaler;
pub(crate) mod budget;
pub(crate) mod cache;
pub(crate) mod configuration;
pub(crate) mod deployment;
pub(crate) mod egress;
pub(crate) mod migration;
pub(crate) mod namespace;
pub(crate) mod network;
pub(crate) mod pod;
pub(crate) mod probe;
pub(crate) mod quota;
pub(crate) mod rbac;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod slot;

use serde_json::{Map, Value, json};
use tenantry_crds::names::{GROUP_LABEL, GROUP_UID_LABEL, MANAGED_BY, MANAGED_BY_LABEL, ROLE_LABEL, SERVICE_LABEL, SLOT_LABEL};

/// Where a slot's objects are, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name of the group.
    pub(crate) group: String,
    /// UID of the group.
    pub(crate) group_uid: String,
    /// Name of the slot.
    pub(crate) slot: String,
}

impl Place {
    /// The slot's namespace.
    pub(crate) fn namespace(&self) -> String {
        format!("{}-{}", self.group, self.slot)
    }

    /// The labels of everything in the slot.
    pub(crate) fn labels(&self) -> Map<String, Value> {
        let pairs =
            [(MANAGED_BY_LABEL, MANAGED_BY), (GROUP_LABEL, &self.group), (GROUP_UID_LABEL, &self.group_uid), (SLOT_LABEL, &self.slot)];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect()
    }

    /// The labels of what belongs to a service, and of what belongs to one of its roles.
    pub(crate) fn labels_of(&self, service: Option<&str>, role: Option<&str>) -> Map<String, Value> {
        let mut labels = self.labels();
        let own = [(SERVICE_LABEL, service), (ROLE_LABEL, role)];
        labels.extend(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?)))));
        labels
    }

    /// The metadata of a namespaced object.
    pub(crate) fn metadata(&self, name: &str, labels: Map<String, Value>) -> Value {
        json!({ "name": name, "namespace": self.namespace(), "labels": labels })
    }
}
