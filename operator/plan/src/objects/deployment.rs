//! The Deployment of a service's `api` or `worker`. It rolls by one pod more, never by one less.

use serde_json::json;
use tenantry_contract::{commands, paths};
use tenantry_crds::RoleSize;
use tenantry_crds::names::{AUTOSCALED_ANNOTATION, ROLE_LABEL, SERVICE_LABEL};

use super::pod::{CREDENTIAL_ANNOTATION, HTTP_PORT, METRICS_PORT, Mount, Role, UserCredential, container, http_probe, pod};
use super::{Place, cache, secret};
use crate::Manifest;
use crate::slot::Service;

/// Seconds that a pod has to finish what it began: longer than a service's own time for that.
const GRACE_SECONDS: u32 = 45;

/// Name of the Deployment of a service's role.
pub(crate) fn name(service: &str, role: Role) -> String {
    format!("{service}-{}", role.name())
}

/// What of a service's pods is not the release's: a change of it rolls them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// Name of the ConfigMap.
    pub(crate) config_map: &'a str,
    /// Fingerprint of the database login's password.
    pub(crate) credential: Option<&'a str>,
    /// The credentials of the tenant's own.
    pub(crate) user_credentials: &'a [UserCredential<'a>],
}

/// The Deployment of the service's role, listening on that port.
pub(crate) fn deployment(place: &Place, service: &Service<'_>, role: Role, port: u16, size: &RoleSize, inputs: Inputs<'_>) -> Manifest {
    let labels = place.labels_of(Some(service.name), Some(role.name()));
    let (command, port_name) = match role {
        Role::Worker => (commands::WORKER, METRICS_PORT),
        Role::Api | Role::Migrate | Role::Cache | Role::Probe => (commands::API, HTTP_PORT),
    };
    let mounts = mounts(service, role, inputs);
    let extra = json!({
        "ports": [{ "name": port_name, "containerPort": port, "protocol": "TCP" }],
        "startupProbe": http_probe("/livez", port_name, 1, 60),
        "livenessProbe": http_probe("/livez", port_name, 10, 3),
        "readinessProbe": http_probe("/readyz", port_name, 2, 2),
    });
    let container = container(role.name(), &service.released.image, &[command], &size.resources, &mounts, extra);
    let mut metadata = json!({ "labels": labels });
    if let Some(credential) = inputs.credential {
        metadata["annotations"] = json!({ CREDENTIAL_ANNOTATION: credential });
    }
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": place.metadata(&name(service.name, role), labels.clone()),
        "spec": {
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "progressDeadlineSeconds": 300,
            "revisionHistoryLimit": 1,
            "selector": { "matchLabels": { SERVICE_LABEL: service.name, ROLE_LABEL: role.name() } },
            "template": {
                "metadata": metadata,
                "spec": pod(service.name, container, &mounts, GRACE_SECONDS),
            },
        },
    });
    match size.autoscaling {
        None => deployment["spec"]["replicas"] = size.replicas.into(),
        Some(_) => deployment["metadata"]["annotations"][AUTOSCALED_ANNOTATION] = "true".into(),
    }
    Manifest::new(deployment)
}

fn mounts(service: &Service<'_>, role: Role, inputs: Inputs<'_>) -> Vec<Mount> {
    let mut mounts = vec![Mount::scratch(), Mount::configuration(inputs.config_map)];
    if service.released.needs.database.is_some() {
        let secret = secret::database_name(service.name);
        let keys = [paths::USERNAME, paths::PASSWORD];
        mounts.push(Mount::secret("database", paths::DATABASE_CREDENTIAL_DIRECTORY, &secret, &keys));
    }
    if service.released.needs.cache.is_some() {
        mounts.push(Mount::secret("cache", paths::CACHE_CREDENTIAL_DIRECTORY, cache::NAME, &[paths::PASSWORD]));
    }
    if role == Role::Api {
        let secret = secret::api_name(service.name);
        mounts.push(Mount::secret("api", paths::API_CREDENTIAL_DIRECTORY, &secret, &[paths::TOKEN]));
    }
    mounts.extend(inputs.user_credentials.iter().map(Mount::user_credential));
    mounts
}
