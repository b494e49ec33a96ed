//! Release: an immutable set of service images with their descriptors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenantry_contract::{Needs, Roles, SchemaVersions};

use crate::common::NEVER_OBSERVED;

/// An immutable set of service images with their descriptors. `cargo xtask release` writes one.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tenantry.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    category = "tenantry",
    status = "ReleaseStatus",
    derive = "PartialEq",
    doc = "An immutable set of service images with their descriptors.",
    validation = (
        "self.metadata.name.size() <= 63",
        "metadata.name must have at most 63 characters, so that a ResourceGroup can name it"
    ),
    printcolumn(name = "Slots", type_ = "integer", json_path = ".status.slots"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self == oldSelf",
    "a Release never changes, since slots run it by its name: make another Release under a new name"
))]
pub struct ReleaseSpec {
    /// The services, by name. A group runs those of them that it names.
    #[schemars(extend("maxProperties" = 32, "minProperties" = 1))]
    #[x_kube(validation = (
        "self.all(name, size(name) <= 20 && name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$'))",
        "a service is named by at most 20 lower-case letters, digits and inner hyphens, beginning with a letter"
    ))]
    pub services: BTreeMap<String, ReleasedService>,
}

/// One service of a release: its image, and what it says of itself when it is run as `describe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "has(self.roles.api) || has(self.roles.worker)",
        "a service runs as something: write roles.api, roles.worker or both"
    ),
    validation = (
        "has(self.schema) == (has(self.needs) && has(self.needs.database))",
        "schema and needs.database belong together: write both for a service with a database, and neither for one without"
    ),
    validation = (
        "!has(self.schema) || self.schema.runsOnFrom <= self.schema.version",
        "schema.runsOnFrom is the oldest code's schema version, so it must be at most schema.version"
    ),
    validation = (
        "!has(self.needs) || !has(self.needs.credentials) || self.needs.credentials.all(c, !(c.name in ['api', 'cache', 'database']))",
        "needs.credentials may not name api, cache or database, which the operator makes itself: rename the credential"
    )
)]
pub struct ReleasedService {
    /// The image, by digest: `registry/path@sha256:...`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$')",
        "must name the image by its digest: registry/path@sha256:<64 hexadecimal digits>"
    ))]
    pub image: String,
    /// The processes that the service runs as.
    pub roles: Roles,
    /// What it uses of the slot.
    #[serde(default)]
    pub needs: Needs,
    /// Its database schema; present exactly when `needs.database` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaVersions>,
    /// JSON Schema (2020-12) of what a group may set for the service.
    #[schemars(schema_with = "crate::common::any_object")]
    pub settings: Value,
}

/// What the operator found about a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The generation that this status speaks of; -1 before the operator has seen the object.
    #[serde(default = "crate::common::never_observed")]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::conditions")]
    pub conditions: Vec<Condition>,
    /// How many slots run it. While there are any it cannot be deleted.
    #[serde(default)]
    pub slots: u32,
}

impl Default for ReleaseStatus {
    fn default() -> Self {
        Self { observed_generation: NEVER_OBSERVED, conditions: Vec::new(), slots: 0 }
    }
}
