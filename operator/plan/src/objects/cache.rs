//! The slot's cache: one Valkey without persistence. Its password is in a configuration file from a Secret, never on a
//! command line.

use serde_json::json;
use tenantry_contract::paths::PASSWORD;
use tenantry_crds::names::{ROLE_LABEL, SERVICE_LABEL};
use tenantry_crds::{CacheOffer, Resources};

use super::pod::{CREDENTIAL_ANNOTATION, Mount, Role, container, pod};
use super::secret::{GENERATION, secret};
use super::{Place, service};
use crate::{Manifest, MasterKey, SlotIdentity};

/// Name of the cache's Deployment, Service, Secret and account: a name that no service may have.
pub(crate) const NAME: &str = "cache";
/// Port of the cache.
pub(crate) const PORT: u16 = 6379;
/// Where the server finds its configuration.
const DIRECTORY: &str = "/etc/tenantry/cache";
/// The key and file name of the server's configuration.
const FILE: &str = "valkey.conf";

/// The password, for services and for the server.
pub(crate) fn credential(place: &Place, identity: &SlotIdentity, key: &MasterKey, resources: &Resources) -> Manifest {
    let password = key.password(identity, NAME, PASSWORD, GENERATION);
    let configuration = format!(
        "# Written by the operator.\nport {PORT}\nbind * -::*\nprotected-mode no\ndir /tmp\nsave \"\"\nappendonly no\n\
         maxmemory {}mb\nmaxmemory-policy allkeys-lru\nrequirepass {}\n",
        (resources.memory_mib * 3 / 4).max(1),
        password.reveal(),
    );
    secret(place, NAME, Some(NAME), &[(PASSWORD, password.reveal()), (FILE, &configuration)])
}

/// The server. A changed password or size starts it anew, which empties it.
pub(crate) fn deployment(place: &Place, identity: &SlotIdentity, key: &MasterKey, offer: &CacheOffer, resources: &Resources) -> Manifest {
    let labels = place.labels_of(Some(NAME), Some(Role::Cache.name()));
    let mounts = [Mount::scratch(), Mount::secret("configuration", DIRECTORY, NAME, &[FILE])];
    let probe = json!({ "tcpSocket": { "port": NAME }, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 6 });
    let extra = json!({
        "ports": [{ "name": NAME, "containerPort": PORT, "protocol": "TCP" }],
        "readinessProbe": probe,
        "livenessProbe": probe,
    });
    let file = format!("{DIRECTORY}/{FILE}");
    let container = container(NAME, &offer.image, &[&file], resources, &mounts, extra);
    let fingerprint = format!("{}-{}", key.fingerprint(identity, NAME, PASSWORD, GENERATION), resources.memory_mib);
    Manifest::new(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": place.metadata(NAME, labels.clone()),
        "spec": {
            "replicas": 1,
            "strategy": { "type": "Recreate" },
            "progressDeadlineSeconds": 300,
            "revisionHistoryLimit": 1,
            "selector": { "matchLabels": { SERVICE_LABEL: NAME, ROLE_LABEL: Role::Cache.name() } },
            "template": {
                "metadata": { "labels": labels, "annotations": { CREDENTIAL_ANNOTATION: fingerprint } },
                "spec": pod(NAME, container, &mounts, 10),
            },
        },
    }))
}

/// The Service by which the slot's pods find it.
pub(crate) fn service(place: &Place) -> Manifest {
    service::service(place, NAME, NAME, Role::Cache, PORT)
}
