//! The one file that configures a service's process. Nothing reaches a service by environment variables.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::AuthConfiguration;

/// The configuration of every process of one service in one slot. `S` is the service's own settings, validated by the
/// operator against the descriptor's JSON Schema before a pod sees them. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceConfiguration<S> {
    /// Whose process this is; for logs, traces and metrics.
    pub identity: Identity,
    /// Where the process listens.
    pub listen: ListenConfiguration,
    /// The slot's database; present exactly when the service needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseConfiguration>,
    /// The slot's cache; present exactly when the service needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfiguration>,
    /// Whose tokens the API accepts; present where the service needs it and the group names any issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthConfiguration>,
    /// What the group set for this service.
    pub settings: S,
}

/// Group, slot and service of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// The resource group's name.
    pub group: String,
    /// The slot's name.
    pub slot: String,
    /// The service's name.
    pub service: String,
    /// The release's name.
    pub release: String,
}

/// TCP ports, on all addresses of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenConfiguration {
    /// Of `api`; present when the service has that role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_port: Option<u16>,
    /// Of `worker`; present when the service has that role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_metrics_port: Option<u16>,
}

/// How to reach the service's schema. Login and password are in [`crate::paths::DATABASE_CREDENTIAL_DIRECTORY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseConfiguration {
    /// Host name or address of the server.
    pub host: String,
    /// TCP port of the server.
    pub port: u16,
    /// Database name.
    pub name: String,
    /// Encryption of the connection.
    pub tls: TlsMode,
    /// The most connections that one process may hold: the operator divides the login's limit by the processes.
    pub max_connections: u32,
}

/// Encryption of a PostgreSQL connection, as libpq's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TlsMode {
    /// Never encrypted: only for a server on the same machine or in a trial.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted, or no connection. The server's certificate is not verified.
    #[default]
    Require,
}

/// How to reach the slot's Valkey. The password is in [`crate::paths::CACHE_CREDENTIAL_DIRECTORY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CacheConfiguration {
    /// Host name of the cache's Service.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Prefix of every key of this service, with its separator.
    pub key_prefix: String,
}
