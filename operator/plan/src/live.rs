//! The live objects of a slot's namespace, found by kind and name; and the steps from them to the desired ones.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use tenantry_crds::names::{MANAGED_BY, MANAGED_BY_LABEL, ROLE_LABEL, SERVICE_LABEL};

use crate::compare::{differs, must_be_replaced};
use crate::objects::autoscaler;
use crate::{Manifest, ObjectId, Step, Wait, reasons};

/// A kind that the operator manages in a slot's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManagedKind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// The kind's name in URLs.
    pub plural: &'static str,
}

const fn kind(group: &'static str, kind: &'static str, plural: &'static str) -> ManagedKind {
    ManagedKind { group, version: "v1", kind, plural }
}

const AUTOSCALER: ManagedKind =
    ManagedKind { group: "autoscaling", version: "v2", kind: autoscaler::KIND, plural: "horizontalpodautoscalers" };

/// All kinds that the operator manages in a slot's namespace, beside the Slot.
pub const MANAGED_KINDS: [ManagedKind; 12] = [
    kind("", "ConfigMap", "configmaps"),
    kind("", "LimitRange", "limitranges"),
    kind("", "ResourceQuota", "resourcequotas"),
    kind("", "Secret", "secrets"),
    kind("", "Service", "services"),
    kind("", "ServiceAccount", "serviceaccounts"),
    kind("apps", "Deployment", "deployments"),
    AUTOSCALER,
    kind("batch", "Job", "jobs"),
    kind("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    kind("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
];

/// The live objects by kind and name. Only those that carry the operator's label count as its own.
pub(crate) struct Live<'a> {
    objects: BTreeMap<(&'a str, &'a str), &'a DynamicObject>,
    pods: Vec<Pod>,
}

impl<'a> Live<'a> {
    pub(crate) fn new(objects: &'a [DynamicObject]) -> Self {
        let pods = objects.iter().filter(|object| kind_of(object) == "Pod").filter_map(|object| object.clone().try_parse().ok()).collect();
        let objects =
            objects.iter().filter(|object| kind_of(object) != "Pod").map(|object| ((kind_of(object), name_of(object)), object)).collect();
        Self { objects, pods }
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<&'a DynamicObject> {
        self.objects.get(&(kind, name)).copied()
    }

    /// The operator's own objects of a kind.
    pub(crate) fn owned(&self, kind: &str) -> impl Iterator<Item = &'a DynamicObject> {
        self.objects.iter().filter(move |((found, _), object)| *found == kind && is_ours(object)).map(|(_, object)| *object)
    }

    pub(crate) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The pods of one role of one service.
    pub(crate) fn pods_of(&self, service: &str, role: &str) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| {
            let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
            label(SERVICE_LABEL).is_some_and(|found| found == service) && label(ROLE_LABEL).is_some_and(|found| found == role)
        })
    }

    /// The names of services that any of the operator's own objects is labelled with.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        let owned = self.objects.values().filter(|object| is_ours(object));
        owned.filter_map(|object| label(object, SERVICE_LABEL)).map(str::to_owned).collect()
    }

    /// The steps that make the live objects the desired ones.
    pub(crate) fn towards(&self, desired: &[Manifest]) -> Missing {
        let mut missing = Missing::default();
        for manifest in desired {
            match self.get(&manifest.kind.kind, manifest.name()) {
                Some(live) if live.metadata.deletion_timestamp.is_some() => missing.terminating.push(describe(live)),
                Some(live) if must_be_replaced(manifest, live) => {
                    missing.replaced.push(Step::Delete(id_of(live)));
                    missing.applied.push(apply(manifest));
                }
                Some(live) if !differs(manifest, live) => {}
                _ => missing.applied.push(apply(manifest)),
            }
        }
        missing
    }

    /// Deletes the operator's own objects of those kinds, except those of these kinds and names.
    pub(crate) fn prune(&self, kinds: &[&str], kept: &[(String, String)]) -> Vec<Step> {
        let kept: BTreeSet<(&str, &str)> = kept.iter().map(|(kind, name)| (kind.as_str(), name.as_str())).collect();
        let owned = kinds.iter().flat_map(|kind| self.owned(kind));
        owned
            .filter(|object| !kept.contains(&(kind_of(object), name_of(object))))
            .filter(|object| object.metadata.deletion_timestamp.is_none())
            .map(|object| Step::Delete(id_of(object)))
            .collect()
    }
}

/// What is missing until the live objects are the desired ones.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Goes first: what can only become the desired object by being made again.
    pub(crate) replaced: Vec<Step>,
    /// What is applied.
    pub(crate) applied: Vec<Step>,
    /// Objects that are desired while they terminate.
    pub(crate) terminating: Vec<String>,
}

impl Missing {
    /// What to wait for because it terminates.
    pub(crate) fn wait(&self) -> Option<Wait> {
        (!self.terminating.is_empty()).then(|| {
            let names = self.terminating.join(", ");
            Wait::new(reasons::TERMINATING, format!("{names} is being deleted and will be made again once it is gone"))
        })
    }
}

pub(crate) fn apply(manifest: &Manifest) -> Step {
    Step::Apply(Box::new(manifest.clone()))
}

pub(crate) fn label<'a>(object: &'a DynamicObject, key: &str) -> Option<&'a str> {
    object.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn is_ours(object: &DynamicObject) -> bool {
    label(object, MANAGED_BY_LABEL) == Some(MANAGED_BY)
}

pub(crate) fn kind_of(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}

pub(crate) fn name_of(object: &DynamicObject) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

/// `Kind/name`, for messages.
pub(crate) fn describe(object: &DynamicObject) -> String {
    format!("{}/{}", kind_of(object), name_of(object))
}

pub(crate) fn id_of(object: &DynamicObject) -> ObjectId {
    let api_version = object.types.as_ref().map_or("", |types| &types.api_version);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ObjectId {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind_of(object).to_owned(),
        namespace: object.metadata.namespace.clone(),
        name: name_of(object).to_owned(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
    }
}
