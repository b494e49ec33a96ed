//! The Job that brings a service's schema up to date. Its name carries the hash of what it does, from which recorded
//! version on, so that each migration is another Job.

use kube::core::DynamicObject;
use serde_json::{Value, json};
use tenantry_contract::{commands, paths};
use tenantry_crds::Resources;

use super::pod::{Mount, Role, container, pod};
use super::{Place, secret};
use crate::Manifest;
use crate::compare::canonical_hash;
use crate::slot::Service;

const TTL: &str = "ttlSecondsAfterFinished";
/// How often a migration is tried before somebody has to look: with Kubernetes' pauses, five minutes.
const RETRIES: u32 = 5;
/// Seconds that a migration may take in all.
const DEADLINE_SECONDS: u32 = 3600;
/// Seconds that it has to end when it is deleted.
const GRACE_SECONDS: u32 = 30;

/// Seconds until the cluster removes it after its end: long enough to read its log.
const LOG_KEPT_SECONDS: u32 = 300;

/// The Job of a migration that failed: it stays until somebody has looked, or the cluster would remove it and the operator
/// begin it again.
pub(crate) fn kept(mut job: Manifest) -> Manifest {
    if let Some(spec) = job.object.data.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove(TTL);
    }
    job
}

/// Whether the cluster removes a Job by itself.
pub(crate) fn goes_by_itself(job: &DynamicObject) -> bool {
    job.data["spec"][TTL].is_number()
}

/// Of which release a Job is.
pub(crate) fn image(job: &DynamicObject) -> Option<&str> {
    job.data["spec"]["template"]["spec"]["containers"][0]["image"].as_str()
}

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
        TTL: LOG_KEPT_SECONDS,
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
