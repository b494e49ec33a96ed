//! Where a pod of a slot finds what the operator gives it. Directories are mounts, each credential is a directory of its
//! own, so that a process sees only what its role is given: `migrate` never the runtime login, `api` never the migration's.
//!
//! A file holds the bare value in UTF-8, without a final newline; a trailing newline is tolerated by readers. Files change
//! in place when a credential is rotated: readers look again whenever a new connection is made.

/// The configuration file, a [`crate::ServiceConfiguration`] as JSON.
pub const CONFIGURATION_FILE: &str = "/etc/tenantry/configuration/service.json";

/// The directory that holds [`CONFIGURATION_FILE`]; the ConfigMap's only key is [`CONFIGURATION_KEY`].
pub const CONFIGURATION_DIRECTORY: &str = "/etc/tenantry/configuration";

/// The key of the configuration in its ConfigMap, and so its file name.
pub const CONFIGURATION_KEY: &str = "service.json";

/// Files [`USERNAME`] and [`PASSWORD`] of a database login: the runtime's in `api` and `worker`, the migration's in `migrate`.
pub const DATABASE_CREDENTIAL_DIRECTORY: &str = "/etc/tenantry/credentials/database";

/// File [`PASSWORD`] of the slot's cache.
pub const CACHE_CREDENTIAL_DIRECTORY: &str = "/etc/tenantry/credentials/cache";

/// File [`TOKEN`]: the slot's static bearer token, with which callers of the API authenticate.
pub const API_CREDENTIAL_DIRECTORY: &str = "/etc/tenantry/credentials/api";

/// The directory that holds the directories of all credentials.
pub const CREDENTIALS_DIRECTORY: &str = "/etc/tenantry/credentials";

/// The names of the credentials that the operator makes itself: none of a tenant's own has such a name.
pub const OWN_CREDENTIALS: [&str; 3] = ["api", "cache", "database"];

/// The directory of a credential of the tenant's own, one that [`crate::Needs::credentials`] names. It is empty, or not there,
/// while the tenant gives none.
pub fn user_credential(name: &str) -> String {
    format!("{CREDENTIALS_DIRECTORY}/{name}")
}

/// A directory that may be written, emptied with the pod.
pub const SCRATCH_DIRECTORY: &str = "/tmp";

/// File name of a login's name.
pub const USERNAME: &str = "username";
/// File name of a password.
pub const PASSWORD: &str = "password";
/// File name of a bearer token.
pub const TOKEN: &str = "token";

/// The table, in the service's own schema, in which `migrate` records what it finished. One row: `version integer`,
/// `completed_at timestamptz`. The operator reads it, and runs a migration only where it is below the release's.
pub const SCHEMA_VERSION_TABLE: &str = "tenantry_schema_version";
