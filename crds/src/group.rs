//! ResourceGroup: one tenant.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{NEVER_OBSERVED, seconds};
use crate::{Auth, ClassRef, CredentialRotation, Owner, ServiceSettings};

/// One tenant: its own copy of the application, once for every slot.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tenantry.dev",
    version = "v1alpha1",
    kind = "ResourceGroup",
    plural = "resourcegroups",
    category = "tenantry",
    status = "ResourceGroupStatus",
    derive = "PartialEq",
    doc = "One tenant: its own copy of the application, once for every slot.",
    validation = (
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "metadata.name must be a DNS label of at most 40 characters: lower-case letters, digits and inner hyphens, no dots"
    ),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.classRef.name"),
    printcolumn(name = "Slots", type_ = "string", json_path = ".status.readySlots"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.slots.all(s, !has(s.services) || s.services.all(name, name in self.services))",
    "slots[].services may only name services of spec.services: add the service there first, since every slot runs all of them"
))]
pub struct ResourceGroupSpec {
    /// What the platform offers to this group.
    pub class_ref: ClassRef,
    /// Who may look at the group's slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub owners: Vec<Owner>,
    /// What becomes of a slot's database when the slot is removed or the group deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How long the data of a service that is removed from `services` are kept: a number with `s`, `m`, `h` or `d`, at most a
    /// year. Its logins end at once. Added again within that time it has its data back.
    #[serde(default = "default_retain_for")]
    #[schemars(length(min = 2, max = 9))]
    #[x_kube(validation = (
        "self.matches('^[0-9]{1,8}[smhd]$') && int(self.substring(0, self.size() - 1)) <= \
         (self.endsWith('d') ? 366 : self.endsWith('h') ? 8784 : self.endsWith('m') ? 527040 : 31622400)",
        "retainFor must be a number with s, m, h or d, and at most a year: 7d, 12h"
    ))]
    pub retain_for: String,
    /// The services that every slot runs, by name, with their settings.
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = (
        "self.all(name, size(name) <= 20 && name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$'))",
        "a service is named by at most 20 lower-case letters, digits and inner hyphens, beginning with a letter"
    ))]
    pub services: BTreeMap<String, ServiceSettings>,
    /// When the passwords of the slots' database logins are replaced; never, when this is absent. Pods move to the new login
    /// one after the other, and only then the former one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_rotation: Option<CredentialRotation>,
    /// Whose tokens the services of every slot accept. A change reaches every slot at once, without a promotion. Without it, only
    /// the slot's own credentials are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The environments of the group. Each gets the namespace `<group>-<slot>`. A slot that is promoted stands below the
    /// slot that it is promoted from.
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    #[x_kube(validation = (
        "self.all(s, !has(s.promoteFrom) || self.exists(t, t.name == s.promoteFrom))",
        "promoteFrom names a slot that this group does not have: correct it, or add that slot above this one"
    ))]
    #[x_kube(validation = (
        "self.all(i, s, !has(s.promoteFrom) || s.promoteFrom == s.name || \
         !self.exists(t, t.name == s.promoteFrom) || self.exists(j, t, j < i && t.name == s.promoteFrom))",
        "promoteFrom must name a slot that stands above this one in the list: order the slots as revisions move (dev, staging, production), without a cycle"
    ))]
    #[x_kube(validation = (
        "oldSelf.all(old, !(has(old.deletionProtection) && old.deletionProtection) || self.exists(s, s.name == old.name))",
        "a slot with deletionProtection cannot leave the list, its data would be lost: set its deletionProtection to false first, in an update of its own"
    ))]
    pub slots: Vec<SlotSpecTemplate>,
}

impl ResourceGroupSpec {
    /// `retainFor` in seconds; of a text that admission would have refused, a year.
    pub fn retained_seconds(&self) -> i64 {
        seconds(&self.retain_for).filter(|seconds| (0..=LONGEST_RETENTION).contains(seconds)).unwrap_or(LONGEST_RETENTION)
    }
}

const LONGEST_RETENTION: i64 = 366 * 86_400;

fn default_retain_for() -> String {
    "7d".to_owned()
}

/// What becomes of the database of a slot that is given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is dropped.
    #[default]
    Delete,
    /// It is kept on its server, closed to everybody, marked as retained.
    Retain,
}

/// One environment of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "!(has(self.release) && has(self.promoteFrom))",
        "a slot is either pinned (release) or promoted (promoteFrom), never both: remove one; what a promoted slot begins with goes into initialRelease"
    ),
    validation = (
        "has(self.release) || has(self.promoteFrom)",
        "say what the slot runs: release pins it to a Release, promoteFrom takes over another slot's revisions"
    ),
    validation = (
        "!has(self.initialRelease) || has(self.promoteFrom) || !has(self.release)",
        "initialRelease belongs to a slot with promoteFrom: a pinned slot runs its release from the start, so remove initialRelease"
    ),
    validation = (
        "!has(self.promoteFrom) || self.promoteFrom != self.name",
        "a slot cannot be promoted from itself: promoteFrom must name another slot of this group"
    )
)]
pub struct SlotSpecTemplate {
    /// Name of the slot: a letter, then letters and digits, at most 16, all lower case.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = (
        "self.matches('^[a-z][a-z0-9]*$')",
        "a slot is named by a lower-case letter, then lower-case letters and digits, at most 16 in all: dev, staging2"
    ))]
    pub name: String,
    /// One of the class's sizes.
    #[schemars(length(min = 1, max = 40))]
    pub size: String,
    /// Pins the slot to a Release: changing this rolls the slot. Not together with `promoteFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "!format.dns1123Subdomain().validate(self).hasValue()",
        "must be the name of a Release: lower-case letters, digits, inner hyphens and dots, as in v0.1.0"
    ))]
    pub release: Option<String>,
    /// The slot of this group whose revisions this one takes over by promotion. Not together with `release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub promote_from: Option<String>,
    /// The Release with which a promoted slot begins; without it the slot waits for its first promotion. Later changes
    /// have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "!format.dns1123Subdomain().validate(self).hasValue()",
        "must be the name of a Release: lower-case letters, digits, inner hyphens and dots, as in v0.1.0"
    ))]
    pub initial_release: Option<String>,
    /// Settings of this slot alone, merged over the group's as a JSON Merge Patch (RFC 7396).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub services: BTreeMap<String, ServiceSettings>,
    /// Whose tokens this slot's services accept, instead of the group's `auth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Refuses to give up the slot's data: the slot cannot leave the list, nor its group or its namespace be deleted, and
    /// however a deletion begins nothing of the slot is dropped, until this is false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deletion_protection: bool,
    /// A retained database that the slot takes over, with the data of all its services, when it has none of its own yet. The
    /// class's status lists those there are. Once the slot has a database this has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt_database: Option<DatabaseAdoption>,
}

/// Names a retained database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseAdoption {
    /// Name of its server within the group's class.
    #[schemars(length(min = 1, max = 40))]
    pub server: String,
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "self.matches('^t[a-z2-7]{16}$')",
        "must be the name of a retained database, as status.retainedDatabases of the ResourceGroupClass lists it: t and 16 letters and digits"
    ))]
    pub name: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroupStatus {
    /// The generation that this status speaks of; -1 before the operator has seen the object.
    #[serde(default = "crate::common::never_observed")]
    pub observed_generation: i64,
    /// `Ready` (all slots are), `Reconciling`, `Stalled`, and while the group is being deleted `DeletionBlocked`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::conditions")]
    pub conditions: Vec<Condition>,
    /// The slots that exist, removed ones that are still being torn down included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub slots: Vec<SlotSummary>,
    /// `2/3`: how many of the slots are Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub ready_slots: Option<String>,
}

/// One slot in its group's status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotSummary {
    /// Name of the slot.
    #[schemars(length(max = 16))]
    pub name: String,
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// UID of its Slot object: another object of that name does not count.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The Release that it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub release: Option<String>,
    /// Whether the slot is Ready.
    pub ready: bool,
    /// Reason of the slot's Ready condition.
    #[schemars(length(max = 128))]
    pub reason: String,
}

impl Default for ResourceGroupStatus {
    fn default() -> Self {
        Self { observed_generation: NEVER_OBSERVED, conditions: Vec::new(), slots: Vec::new(), ready_slots: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_read_and_what_cannot_be_read_lasts_longest() {
        let seconds = |text: &str| {
            let spec = serde_json::json!({ "classRef": { "name": "c" }, "services": {}, "slots": [], "retainFor": text });
            serde_json::from_value::<ResourceGroupSpec>(spec).unwrap().retained_seconds()
        };
        assert_eq!([seconds("0s"), seconds("90m"), seconds("12h"), seconds("7d")], [0, 5400, 43_200, 604_800]);
        for text in ["", "7", "d", "-1d", "7w", "9999999d", "99999999999999999999d"] {
            assert_eq!(seconds(text), LONGEST_RETENTION, "{text:?}");
        }
        let spec = serde_json::json!({ "classRef": { "name": "c" }, "services": {}, "slots": [] });
        assert_eq!(serde_json::from_value::<ResourceGroupSpec>(spec).unwrap().retained_seconds(), 604_800);
    }
}
