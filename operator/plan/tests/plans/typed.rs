//! Manifests are written as JSON: here each is read as the type that the API has for it, so that a mistyped field cannot
//! hide.

use k8s_openapi::api::{
    apps::v1 as apps, autoscaling::v2 as autoscaling, batch::v1 as batch, core::v1 as core, networking::v1 as networking,
};
use k8s_openapi::api::{policy::v1 as policy, rbac::v1 as rbac};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Panics when a field of the manifest is unknown to its type.
pub fn check(kind: &str, manifest: &Value) {
    let back = match kind {
        "ConfigMap" => through::<core::ConfigMap>(manifest),
        "LimitRange" => through::<core::LimitRange>(manifest),
        "Namespace" => through::<core::Namespace>(manifest),
        "ResourceQuota" => through::<core::ResourceQuota>(manifest),
        "Secret" => through::<core::Secret>(manifest),
        "Service" => through::<core::Service>(manifest),
        "ServiceAccount" => through::<core::ServiceAccount>(manifest),
        "HorizontalPodAutoscaler" => through::<autoscaling::HorizontalPodAutoscaler>(manifest),
        "Deployment" => through::<apps::Deployment>(manifest),
        "Job" => through::<batch::Job>(manifest),
        "NetworkPolicy" => through::<networking::NetworkPolicy>(manifest),
        "PodDisruptionBudget" => through::<policy::PodDisruptionBudget>(manifest),
        "RoleBinding" => through::<rbac::RoleBinding>(manifest),
        "Slot" => through::<tenantry_crds::Slot>(manifest),
        other => panic!("no type is known for {other}"),
    };
    assert_contains(&back, manifest, kind);
}

fn through<T: DeserializeOwned + Serialize>(manifest: &Value) -> Value {
    let typed: T = serde_json::from_value(manifest.clone()).unwrap_or_else(|error| panic!("{error}: {manifest:#}"));
    serde_json::to_value(typed).unwrap()
}

fn assert_contains(typed: &Value, written: &Value, path: &str) {
    match written {
        Value::Object(entries) => {
            for (key, value) in entries.iter().filter(|(_, value)| **value != Value::Array(vec![])) {
                let found = typed.get(key).unwrap_or_else(|| panic!("the API has no field {path}.{key}"));
                assert_contains(found, value, &format!("{path}.{key}"));
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                assert_contains(&typed[index], value, &format!("{path}[{index}]"));
            }
        }
        scalar => assert_eq!(typed, scalar, "at {path}"),
    }
}
