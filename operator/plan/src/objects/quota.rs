//! The slot's quota, computed from what is in it so that it never stands in the way of a roll-out; and the limits of a
//! container that states none.

use serde_json::json;
use tenantry_crds::Resources;

use super::Place;
use crate::Manifest;

/// So many pods of such a size may be there at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Number of pods.
    pub(crate) pods: u64,
    /// CPU of each, in thousandths of a core.
    pub(crate) cpu_millis: u64,
    /// Memory of each, in MiB.
    pub(crate) memory_mib: u64,
}

impl Share {
    /// Pods of one size.
    pub(crate) fn of(pods: u64, each: &Resources) -> Self {
        Self { pods, cpu_millis: each.cpu_millis.into(), memory_mib: each.memory_mib.into() }
    }
}

/// The quota for all of these together.
pub(crate) fn quota(place: &Place, shares: &[Share]) -> Manifest {
    let pods: u64 = shares.iter().map(|share| share.pods).sum();
    let cpu: u64 = shares.iter().map(|share| share.pods * share.cpu_millis).sum();
    let memory: u64 = shares.iter().map(|share| share.pods * share.memory_mib).sum();
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": place.metadata("slot", place.labels()),
        "spec": { "hard": {
            "pods": pods.to_string(),
            "requests.cpu": format!("{cpu}m"),
            "requests.memory": format!("{memory}Mi"),
            "limits.memory": format!("{memory}Mi"),
        } },
    }))
}

/// What a container gets that asks for nothing: little. The operator's own containers ask.
pub(crate) fn limit_range(place: &Place) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": place.metadata("slot", place.labels()),
        "spec": { "limits": [{
            "type": "Container",
            "default": { "memory": "64Mi" },
            "defaultRequest": { "cpu": "10m", "memory": "64Mi" },
        }] },
    }))
}
