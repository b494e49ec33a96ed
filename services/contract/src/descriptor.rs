//! What a service says of itself. A release carries one for each of its services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a service is and what it needs, printed by `<service> describe` and carried by a Release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Descriptor {
    /// The service's name: `[a-z][a-z0-9-]*`, at most [`crate::MAX_SERVICE_NAME`] bytes.
    pub name: String,
    /// The processes it runs as.
    pub roles: Roles,
    /// What it uses of the slot.
    #[serde(default)]
    pub needs: Needs,
    /// Its database schema; present exactly when `needs.database` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaVersions>,
    /// JSON Schema (2020-12) of what a group may set for it.
    pub settings: Value,
}

/// The processes that a service runs as. The `migrate` Job comes with [`Needs::database`] and has no entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Roles {
    /// The HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiRole>,
    /// The background worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerRole>,
}

/// A process that serves HTTP: the API, `/livez`, `/readyz` and `/metrics` on one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiRole {
    /// TCP port, above 1023 since pods run without privileges.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: u16,
}

/// A process that serves no API, only `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerRole {
    /// TCP port, above 1023 since pods run without privileges.
    #[schemars(range(min = 1024, max = 65535))]
    pub metrics_port: u16,
}

/// What a service uses. An empty object asks for it with its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Needs {
    /// A schema of its own in the slot's PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseNeed>,
    /// The slot's Valkey, which its services share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheNeed>,
    /// The issuers whose tokens the group accepts: an API that checks credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthNeed>,
    /// The credentials of a tenant's own that it can use, such as the key of a webhook. Where a group names none, or its Secret is
    /// not there yet, the service starts all the same and finds no file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub credentials: Vec<CredentialNeed>,
    /// Destinations outside of the slot, beyond its database: those that the class allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressNeed>,
}

/// A credential that a tenant may give a service, as files in a directory of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialNeed {
    /// Its name within the service; `api`, `cache` and `database` are the slot's own.
    #[schemars(length(max = 20), regex(pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// The roles that find it.
    #[schemars(length(min = 1, max = 2))]
    pub roles: Vec<WorkloadRole>,
    /// The files without which it cannot be used.
    #[schemars(length(min = 1, max = 8), inner(length(max = 63), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")))]
    pub files: Vec<String>,
    /// The files that it may have beside those, as the former key while keys change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 63), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")))]
    pub optional_files: Vec<String>,
}

/// The need for destinations outside of the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressNeed {
    /// The roles whose pods may reach them.
    #[schemars(length(min = 1, max = 2))]
    pub roles: Vec<WorkloadRole>,
}

/// A role that runs as long as its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WorkloadRole {
    /// [`Roles::api`].
    Api,
    /// [`Roles::worker`].
    Worker,
}

/// A schema in the slot's database; has no parameters yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseNeed {}

/// A use of the slot's cache; has no parameters yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CacheNeed {}

/// The versions of a service's database schema. Versions are positive and only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchemaVersions {
    /// What this release's migrations lead to.
    #[schemars(range(min = 1))]
    pub version: u32,
    /// The oldest code that still runs on `version`: the schema version which that code itself was built for.
    #[schemars(range(min = 1))]
    pub runs_on_from: u32,
}

/// A use of the group's issuers; has no parameters yet. Only a service that says so finds them in its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthNeed {}
