//! The autoscaler of a role whose size asks for one. From then on it owns the number of pods: the Deployment's manifest leaves
//! it out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use tenantry_crds::names::{AUTOSCALED_ANNOTATION, REPLICAS_FIELD_MANAGER};
use tenantry_crds::{Autoscaling, RoleSize};

use super::pod::Role;
use super::{Place, deployment};
use crate::{Manifest, Step};

/// Its kind.
pub(crate) const KIND: &str = "HorizontalPodAutoscaler";

/// The autoscaler of a service's role.
pub(crate) fn autoscaler(place: &Place, service: &str, role: Role, size: &RoleSize, autoscaling: &Autoscaling) -> Manifest {
    let name = deployment::name(service, role);
    Manifest::new(json!({
        "apiVersion": "autoscaling/v2",
        "kind": KIND,
        "metadata": place.metadata(&name, place.labels_of(Some(service), Some(role.name()))),
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": name },
            "minReplicas": size.replicas,
            "maxReplicas": size.most_replicas(),
            "metrics": [{
                "type": "Resource",
                "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": autoscaling.target_cpu_percent } },
            }],
            "behavior": { "scaleDown": { "stabilizationWindowSeconds": autoscaling.scale_down_after_seconds } },
        },
    }))
}

/// Whether the number of a live Deployment's pods has been handed over.
pub(crate) fn is_autoscaled(deployment: &ObjectMeta) -> bool {
    deployment.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(AUTOSCALED_ANNOTATION))
}

/// Sets the number of a live Deployment's pods under a field manager of its own. Without that, a Deployment whose manifest
/// ceases to state the number would fall back to one pod.
pub(crate) fn hand_over(deployment: &kube::core::DynamicObject, replicas: i64) -> Step {
    let meta = &deployment.metadata;
    let manifest = Manifest::bare(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": meta.name, "namespace": meta.namespace, "uid": meta.uid },
        "spec": { "replicas": replicas },
    }));
    Step::ApplyAs(REPLICAS_FIELD_MANAGER, Box::new(manifest))
}
