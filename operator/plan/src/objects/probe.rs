//! The Job that tries a slot's network from inside: it runs the operator's own image, has no token, and mounts nothing.

use serde_json::json;
use tenantry_crds::Resources;

use super::Place;
use super::pod::{Role, container, pod};
use crate::compare::canonical_hash;
use crate::{Manifest, ProbeOffer};

/// The port on which the probe listens, for the operator to be refused.
pub const PROBE_PORT: u16 = 8083;
/// Exit code of a probe that reached what it must not.
pub const PROBE_REACHED: i32 = 3;

/// What it takes, in the slot's quota.
pub(crate) const RESOURCES: Resources = Resources { cpu_millis: 5, memory_mib: 32 };
/// Seconds that it may take in all, the pull of its image included.
const DEADLINE_SECONDS: u32 = 180;
/// Seconds until the cluster removes it after its end: long enough for its last words to be read.
const KEPT_SECONDS: u32 = 30;
/// The account that every namespace has. The pod has no token of it.
const ACCOUNT: &str = "default";

/// The Job for those policies. Its name carries the hash of all that it does, since a Job never changes.
pub(crate) fn job(place: &Place, offer: &ProbeOffer, policies: &str, attempt: u32) -> Manifest {
    let port = PROBE_PORT.to_string();
    let args = ["probe", "--canary", offer.canary.as_str(), "--listen-port", port.as_str()];
    let extra = json!({
        "command": ["/usr/bin/tenantry-operator"],
        "ports": [{ "name": "probe", "containerPort": PROBE_PORT, "protocol": "TCP" }],
        // It listens only once it was refused.
        "readinessProbe": { "tcpSocket": { "port": "probe" }, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1 },
    });
    let mut pod = pod(ACCOUNT, container(Role::Probe.name(), &offer.image, &args, &RESOURCES, &[], extra), &[], 1);
    pod["restartPolicy"] = "Never".into();
    let labels = place.labels_of(None, Some(Role::Probe.name()));
    let spec = json!({
        "backoffLimit": 0,
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": { "metadata": { "labels": labels.clone() }, "spec": pod },
    });
    let hash = canonical_hash(&json!([policies, attempt, spec]));
    Manifest::new(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": place.metadata(&format!("network-probe-{}", &hash[..10]), labels),
        "spec": spec,
    }))
}
