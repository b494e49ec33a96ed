//! The slot's quota; and the limits of a container that states none.

use kube::core::DynamicObject;
use serde_json::json;
use tenantry_crds::Resources;

use super::Place;
use crate::Manifest;
use crate::compare::quantity;

/// Its kind.
pub(crate) const KIND: &str = "ResourceQuota";
/// Name of the quota.
pub(crate) const QUOTA: &str = "slot";

/// Thousand-millionths in a thousandth of a core.
const MILLI: i128 = 1_000_000;
/// Thousand-millionths in a MiB.
const MIB: i128 = 1_000_000_000 << 20;

/// So many pods of such a size may be there at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

    /// With pods that get at least these quantities.
    pub(crate) fn at_least(mut self, cpu: Option<&str>, memory: Option<&str>) -> Self {
        let amount = |found: Option<&str>, unit: i128| found.and_then(|found| amount(found, unit)).unwrap_or(0);
        self.cpu_millis = self.cpu_millis.max(amount(cpu, MILLI));
        self.memory_mib = self.memory_mib.max(amount(memory, MIB));
        self
    }
}

/// What all pods of a slot may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pods: u64,
    cpu_millis: u64,
    memory_mib: u64,
}

impl Room {
    /// For all of these.
    pub(crate) fn of<'s>(shares: impl Iterator<Item = &'s Share> + Clone) -> Self {
        let sum = |part: fn(&Share) -> u64| shares.clone().fold(0_u64, |sum, share| sum.saturating_add(part(share)));
        Self {
            pods: sum(|share| share.pods),
            cpu_millis: sum(|share| share.pods.saturating_mul(share.cpu_millis)),
            memory_mib: sum(|share| share.pods.saturating_mul(share.memory_mib)),
        }
    }

    /// The larger in every respect.
    pub(crate) fn at_least(self, other: Self) -> Self {
        Self {
            pods: self.pods.max(other.pods),
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_mib: self.memory_mib.max(other.memory_mib),
        }
    }

    /// What the operator set aside by a live quota; none if somebody has edited it since: the hash is of what was applied.
    pub(crate) fn recorded(place: &Place, live: &DynamicObject) -> Option<Self> {
        let hard = |resource: &str, unit: i128| amount(live.data["spec"]["hard"][resource].as_str()?, unit);
        let room = Self {
            pods: hard("pods", 1_000_000_000)?,
            cpu_millis: hard("requests.cpu", MILLI)?,
            memory_mib: hard("requests.memory", MIB)?,
        };
        quota(place, room).is_applied_to(live).then_some(room)
    }
}

/// A quantity in that unit, rounded up; none if it is none or too large.
fn amount(text: &str, unit: i128) -> Option<u64> {
    let nano = quantity(text)?;
    u64::try_from(nano.checked_add(unit - 1)? / unit).ok()
}

/// The quota that gives so much room.
pub(crate) fn quota(place: &Place, room: Room) -> Manifest {
    let Room { pods, cpu_millis, memory_mib } = room;
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": KIND,
        "metadata": place.metadata(QUOTA, place.labels()),
        "spec": { "hard": {
            "pods": pods.to_string(),
            "requests.cpu": format!("{cpu_millis}m"),
            "requests.memory": format!("{memory_mib}Mi"),
            "limits.memory": format!("{memory_mib}Mi"),
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
