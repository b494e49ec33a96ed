//! Slot: the resolved state of one environment of one group. The operator alone writes it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::NEVER_OBSERVED;
use crate::{Auth, ClassRef, CredentialRotation, Owner, ServiceSettings};

/// The resolved state of one slot. The operator writes it from the group; tenants read it. Its name is the slot's, its
/// namespace `<group>-<slot>`.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tenantry.dev",
    version = "v1alpha1",
    kind = "Slot",
    plural = "slots",
    namespaced,
    category = "tenantry",
    status = "SlotStatus",
    derive = "PartialEq",
    doc = "The resolved state of one slot of a resource group. The operator alone writes it; tenants read it.",
    validation = (
        "self.metadata.name.size() <= 16 && self.metadata.name.matches('^[a-z][a-z0-9]*$')",
        "metadata.name must be the slot's: a lower-case letter, then lower-case letters and digits, at most 16 in all"
    ),
    printcolumn(name = "Release", type_ = "string", json_path = ".spec.revision.release"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.size"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SlotSpec {
    /// The group that the slot belongs to. It never changes.
    #[x_kube(validation = (
        "self == oldSelf",
        "a slot belongs to its group for ever: delete this one, and add a slot to the other ResourceGroup"
    ))]
    pub group_ref: GroupRef,
    /// The group's class.
    pub class_ref: ClassRef,
    /// One of the class's sizes.
    #[schemars(length(min = 1, max = 40))]
    pub size: String,
    /// Who may look at the slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub owners: Vec<Owner>,
    /// When the passwords of the database's logins are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_rotation: Option<CredentialRotation>,
    /// Whose tokens the services accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What the slot should run; absent while a promoted slot awaits its first promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// Names the group of a slot, for ever: a later group of the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupRef {
    /// Name of the ResourceGroup.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// UID of the ResourceGroup.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// A release together with resolved settings. Whoever applies it means the whole: a setting that somebody else adds is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Revision {
    /// Name of the Release.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "!format.dns1123Subdomain().validate(self).hasValue()",
        "must be the name of a Release: lower-case letters, digits, inner hyphens and dots, as in v0.1.0"
    ))]
    pub release: String,
    /// The services to run, with their settings: the group's with the slot's merged over them.
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = (
        "self.all(name, size(name) <= 20 && name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$'))",
        "a service is named by at most 20 lower-case letters, digits and inner hyphens, beginning with a letter"
    ))]
    #[serde(default)]
    pub services: BTreeMap<String, ServiceSettings>,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// The generation that this status speaks of; -1 before the operator has seen the object.
    #[serde(default = "crate::common::never_observed")]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`, `NetworkIsolated`, `DataServicesReady`, `SchemaCurrent`, `WorkloadsReady`, and while the slot is
    /// being torn down `DeletionBlocked`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::conditions")]
    pub conditions: Vec<Condition>,
    /// The Release that all the slot's pods run, since the last completed roll-out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub running_release: Option<String>,
    /// The generation of the class that the slot has been rolled out with. While its class has another, its turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_generation: Option<i64>,
    /// Where the slot's database is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabasePlacement>,
    /// When and with what result the isolation of the slot's network was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkProbe>,
    /// The services that the slot runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub services: Vec<RunningService>,
}

/// A trial of the isolation of a slot's network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkProbe {
    /// The hash of the network policies that were tried. Others are tried anew.
    #[schemars(length(max = 32))]
    pub policies: String,
    /// What came of it.
    pub result: NetworkProbeResult,
    /// When.
    #[schemars(schema_with = "crate::common::time")]
    pub tried_at: Time,
    /// How often in a row these policies were not found enforced; each makes the next trial come later.
    #[schemars(range(max = 1000000))]
    pub failures: u32,
}

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NetworkProbeResult {
    /// What is forbidden was refused, both ways.
    Isolated,
    /// Something got through.
    Reached,
    /// Nothing can be said.
    Inconclusive,
}

/// Where a slot's database is. Found again in PostgreSQL when this is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabasePlacement {
    /// Name of the server within the class.
    #[schemars(length(max = 40))]
    pub server: String,
    /// Name of the database.
    #[schemars(length(max = 63))]
    pub name: String,
}

/// One service of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningService {
    /// Name of the service, and of its Kubernetes Service where it has an API.
    #[schemars(length(max = 20))]
    pub name: String,
    /// Its image.
    #[schemars(length(max = 512))]
    pub image: String,
    /// The version of its schema that is recorded in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
    /// URL of the API from inside of the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub url: Option<String>,
    /// The database login that its pods use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<RunningCredential>,
}

/// The database login of a service's pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningCredential {
    /// How many there have been, this one included.
    pub generation: u32,
    /// Since when it has been used.
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub since: String,
}

impl Default for SlotStatus {
    fn default() -> Self {
        Self {
            observed_generation: NEVER_OBSERVED,
            conditions: Vec::new(),
            running_release: None,
            class_generation: None,
            database: None,
            network: None,
            services: Vec::new(),
        }
    }
}
