//! The kinds that the operator reads or writes as dynamic objects, with what a URL needs of them. A fixed list instead of
//! discovery: the operator's rights are a fixed list too, and a start needs no round trip for it.

use kube::api::ApiResource;
use kube::core::{DynamicObject, TypeMeta};
use kube::{Api, Client};

/// One kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
}

const fn namespaced(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version, kind, plural, namespaced: true }
}

const fn cluster(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version, kind, plural, namespaced: false }
}

pub const NAMESPACE: Kind = cluster("", "v1", "Namespace", "namespaces");
pub const DEPLOYMENT: Kind = namespaced("apps", "v1", "Deployment", "deployments");
pub const JOB: Kind = namespaced("batch", "v1", "Job", "jobs");
pub const POD: Kind = namespaced("", "v1", "Pod", "pods");
pub const ROLE_BINDING: Kind = namespaced("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings");
pub const SECRET: Kind = namespaced("", "v1", "Secret", "secrets");

/// What is watched, restricted to the label `app.kubernetes.io/managed-by: tenantry`.
pub const WATCHED: &[Kind] = &[
    NAMESPACE,
    POD,
    ROLE_BINDING,
    namespaced("", "v1", "ConfigMap", "configmaps"),
    namespaced("", "v1", "LimitRange", "limitranges"),
    namespaced("", "v1", "ResourceQuota", "resourcequotas"),
    namespaced("", "v1", "Service", "services"),
    namespaced("", "v1", "ServiceAccount", "serviceaccounts"),
    DEPLOYMENT,
    namespaced("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    JOB,
    namespaced("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
];

pub const SLOT: Kind = namespaced("tenantry.dev", "v1alpha1", "Slot", "slots");
pub const RESOURCE_GROUP: Kind = cluster("tenantry.dev", "v1alpha1", "ResourceGroup", "resourcegroups");
pub const RESOURCE_GROUP_CLASS: Kind = cluster("tenantry.dev", "v1alpha1", "ResourceGroupClass", "resourcegroupclasses");
pub const RELEASE: Kind = cluster("tenantry.dev", "v1alpha1", "Release", "releases");

/// What is only read by name, or watched with its type.
const OTHERS: &[Kind] = &[SECRET, SLOT, RESOURCE_GROUP, RESOURCE_GROUP_CLASS, RELEASE];

impl Kind {
    /// The kind of that group and name, if it is one that the operator knows.
    pub fn named(group: &str, kind: &str) -> Option<Self> {
        WATCHED.iter().chain(OTHERS).find(|known| known.group == group && known.kind == kind).copied()
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn types(&self) -> TypeMeta {
        TypeMeta { api_version: self.api_version(), kind: self.kind.to_owned() }
    }

    /// All objects of the kind.
    pub fn api_all(&self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }

    /// The objects of the kind in a namespace, or all where the kind has none.
    pub fn api(&self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) if self.namespaced => Api::namespaced_with(client.clone(), namespace, &self.resource()),
            _ => self.api_all(client),
        }
    }

    fn resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            api_version: self.api_version(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}
