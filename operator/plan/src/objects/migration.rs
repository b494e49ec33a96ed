//! The Job that brings a service's schema up to date. Its name carries the hash of what it does, from which recorded
//! version on, so that each migration is another Job.

use serde_json::json;
use tenantry_contract::{commands, paths};
use tenantry_crds::Resources;

use super::pod::{Mount, Role, container, pod};
use super::{Place, secret};
use crate::Manifest;
use crate::compare::canonical_hash;
use crate::slot::Service;

/// How often a migration is tried before somebody has to look: with Kubernetes' pauses, five minutes.
const RETRIES: u32 = 5;
/// Seconds that a migration may take in all.
const DEADLINE_SECONDS: u32 = 3600;
/// Seconds that it has to end when it is deleted.
const GRACE_SECONDS: u32 = 30;

/// The Job from the recorded version to the release's.
pub(crate) fn job(place: &Place, service: &Service<'_>, recorded: Option<u32>, resources: &Resources, config_map: &str) -> Manifest {
    let mounts = [
        Mount::scratch(),
        Mount::configuration(config_map),
        Mount::secret(
            "database",
            paths::DATABASE_CREDENTIAL_DIRECTORY,
            &secret::migration_name(service.name),
            &[paths::USERNAME, paths::PASSWORD],
        ),
    ];
    let container = container(Role::Migrate.name(), &service.released.image, &[commands::MIGRATE], resources, &mounts, json!({}));
    let mut pod = pod(service.name, container, &mounts, GRACE_SECONDS);
    pod["restartPolicy"] = "Never".into();
    let labels = place.labels_of(Some(service.name), Some(Role::Migrate.name()));
    let spec = json!({
        "backoffLimit": RETRIES,
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "template": { "metadata": { "labels": labels.clone() }, "spec": pod },
    });
    let hash = canonical_hash(&json!([recorded, service.released.schema, spec]));
    let name = format!("{}-{}-{}", service.name, Role::Migrate.name(), &hash[..10]);
    Manifest::new(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": place.metadata(&name, labels),
        "spec": spec,
    }))
}
