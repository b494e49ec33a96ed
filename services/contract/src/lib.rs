//! What the operator and every service agree on, and nothing else: the *descriptor* that a service's binary prints
//! (`<service> describe`), the configuration file and the credential files that a pod finds, their paths and names.
//!
//! Both sides depend on this crate alone, so that the operator knows no service by name, and no service knows Kubernetes.

mod auth;
mod configuration;
mod descriptor;
pub mod paths;

pub use auth::{AuthConfiguration, Curve, KeySet, KeyType, PublicKey, ScopeClaim, SigningAlgorithm, TokenIssuer};
pub use configuration::{CacheConfiguration, DatabaseConfiguration, Identity, ListenConfiguration, ServiceConfiguration, TlsMode};
pub use descriptor::{
    ApiRole, AuthNeed, CacheNeed, CredentialNeed, DatabaseNeed, Descriptor, EgressNeed, Needs, Roles, SchemaVersions, WorkerRole,
    WorkloadRole,
};

/// The longest name that a service may have, in bytes: PostgreSQL role names of at most 63 bytes carry it.
pub const MAX_SERVICE_NAME: usize = 20;

/// The arguments with which the operator starts a service's image.
pub mod commands {
    /// Serves the HTTP API until SIGTERM.
    pub const API: &str = "api";
    /// Processes streams and timers until SIGTERM.
    pub const WORKER: &str = "worker";
    /// Brings the service's schema to [`crate::SchemaVersions::version`], records it, and exits.
    pub const MIGRATE: &str = "migrate";
    /// Prints the [`crate::Descriptor`] as JSON.
    pub const DESCRIBE: &str = "describe";
    /// Prints the OpenAPI document as JSON.
    pub const OPENAPI: &str = "openapi";
}
