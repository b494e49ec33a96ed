//! ResourceGroupClass: what a platform team offers to its tenants.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenantry_contract::TlsMode;

use crate::SecretRef;
use crate::common::NEVER_OBSERVED;

/// What the platform offers to the groups that name this class: sizes, PostgreSQL servers and the cache.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "tenantry.dev",
    version = "v1alpha1",
    kind = "ResourceGroupClass",
    plural = "resourcegroupclasses",
    category = "tenantry",
    status = "ResourceGroupClassStatus",
    derive = "PartialEq",
    doc = "What the platform offers to tenants: sizes, PostgreSQL servers and the cache.",
    validation = (
        "self.metadata.name.size() <= 63",
        "metadata.name must have at most 63 characters, so that a ResourceGroup can name it"
    ),
    printcolumn(name = "Groups", type_ = "integer", json_path = ".status.groups"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroupClassSpec {
    /// The sizes that a slot may have, by name. A slot names one of them.
    #[schemars(extend("maxProperties" = 16, "minProperties" = 1))]
    #[x_kube(validation = (
        "self.all(name, size(name) <= 40 && name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))",
        "a size is named by lower-case letters, digits and inner hyphens, at most 40: small, large-2"
    ))]
    pub sizes: BTreeMap<String, SlotSize>,
    /// The PostgreSQL servers on which slots get their databases.
    pub postgres: PostgresOffer,
    /// The cache that a slot gets when one of its services needs it.
    pub cache: CacheOffer,
    /// The network of the slots.
    #[serde(default)]
    pub network: NetworkOffer,
    /// How a change of this class reaches the slots that run already.
    #[serde(default)]
    pub rollout: ClassRollout,
}

/// The network of a class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkOffer {
    /// What it means for a slot that its network was found not to enforce network policies, or not tried yet: `Required` (it is
    /// not Ready; what runs goes on running) or `Reported` (only the condition NetworkIsolated says so: for clusters where
    /// tenants need not be kept apart).
    #[serde(default)]
    pub isolation: NetworkIsolation,
    /// The destinations outside of the cluster that services may reach whose release says that they need any, as the receivers of
    /// webhooks. By default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub egress: Vec<EgressDestination>,
    /// The pods of the platform's monitoring system, which may reach the port with `/metrics` of each service's api and worker in
    /// all slots. By default none may. An api serves its metrics on the port of its API: these pods reach all of that, and need a
    /// credential, as everybody does, for all but health, metrics, the API's document and what a service opens to everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<MonitoringPods>,
}

/// Pods of this cluster that collect metrics: those in the namespace that have all the labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringPods {
    /// Their namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "must be the name of a namespace: lower-case letters, digits and inner hyphens"
    ))]
    pub namespace: String,
    /// Their labels, as `app.kubernetes.io/name: prometheus`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8, "additionalProperties" = label_value()))]
    #[x_kube(validation = (
        "self.all(key, !format.qualifiedName().validate(key).hasValue())",
        "a label's key is a name, or prefix/name, as in app.kubernetes.io/name"
    ))]
    #[x_kube(validation = (
        "self.all(key, !format.labelValue().validate(self[key]).hasValue())",
        "a label's value is made of letters, digits, and inner -, _ and ."
    ))]
    pub pod_labels: BTreeMap<String, String>,
}

/// Addresses outside of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressDestination {
    /// Its name within the class, for people.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "a destination is named by lower-case letters, digits and inner hyphens: payments, internet"
    ))]
    pub name: String,
    /// Address ranges in CIDR notation. Of one that is wider than a private, shared, loopback or link-local range, such as
    /// `0.0.0.0/0`, those ranges are left out, since the cluster's own addresses are in one of them; a range that lies within is let
    /// through as it stands: never name one of the cluster's pods, Services or nodes.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 49)))]
    #[x_kube(validation = (
        "self.all(range, isCIDR(range) && cidr(range) == cidr(range).masked())",
        "must be address ranges in CIDR notation without bits beyond the prefix, as 192.0.2.10/32 for one address"
    ))]
    pub cidrs: Vec<String>,
    /// TCP ports.
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65535)))]
    pub ports: Vec<u16>,
}

/// Whether a slot's readiness depends on the isolation of its network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NetworkIsolation {
    /// It does.
    #[default]
    Required,
    /// It does not.
    Reported,
}

/// How a change of a class reaches the slots that run already: a few at a time, in the order of their namespaces' names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassRollout {
    /// Slots whose pods are replaced at the same time. One that is not Ready after ten minutes does not count any more.
    #[serde(default = "ClassRollout::max_concurrent_slots")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent_slots: u32,
}

impl ClassRollout {
    fn max_concurrent_slots() -> u32 {
        10
    }
}

impl Default for ClassRollout {
    fn default() -> Self {
        Self { max_concurrent_slots: Self::max_concurrent_slots() }
    }
}

/// How large the parts of a slot are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotSize {
    /// Each service's `api`.
    pub api: RoleSize,
    /// Each service's `worker`.
    pub worker: RoleSize,
    /// Each service's `migrate` Job.
    pub migrate: Resources,
    /// The slot's cache.
    pub cache: Resources,
    /// The slot's share of its PostgreSQL server.
    pub database: DatabaseSize,
}

/// Pods of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.autoscaling) || self.autoscaling.maxReplicas >= self.replicas",
    "autoscaling.maxReplicas must be at least replicas, which is then the fewest pods there are"
))]
pub struct RoleSize {
    /// Number of pods; with `autoscaling`, the fewest.
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,
    /// What each pod gets.
    pub resources: Resources,
    /// Lets the number of pods follow the CPU that they use, by a HorizontalPodAutoscaler. The cluster has to serve resource
    /// metrics, as metrics-server does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
}

impl RoleSize {
    /// The most pods that there may be, the one more of a roll-out apart.
    pub fn most_replicas(&self) -> u32 {
        let most = self.autoscaling.as_ref().map_or(self.replicas, |autoscaling| autoscaling.max_replicas.max(self.replicas));
        most.max(0).unsigned_abs()
    }
}

/// How the number of pods follows their use of CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// The most pods. Quota and connections to PostgreSQL are set aside for so many.
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: i32,
    /// The use of CPU that is aimed at, in percent of what a pod reserves, on average over the pods.
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_percent: i32,
    /// Pods go when they have not been needed for so many seconds.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 0, max = 3600))]
    pub scale_down_after_seconds: i32,
}

fn five_minutes() -> i32 {
    300
}

/// CPU and memory of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// CPU that is reserved, in thousandths of a core. There is no upper limit: an idle core is nobody's loss.
    #[schemars(range(min = 1, max = 256_000))]
    pub cpu_millis: u32,
    /// Memory that is reserved, and also the limit, in MiB.
    #[schemars(range(min = 8, max = 1_048_576))]
    pub memory_mib: u32,
}

/// A slot's share of a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSize {
    /// Connections that each service of the slot may hold, over all its pods.
    #[schemars(range(min = 2, max = 1000))]
    pub connections_per_service: u32,
}

/// The PostgreSQL servers of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresOffer {
    /// The servers. A new slot gets its database on the one that has the largest share of its connections left, and keeps it
    /// there: databases do not move by themselves.
    #[schemars(
        length(min = 1, max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub servers: Vec<PostgresServer>,
}

/// One PostgreSQL server, version 15 or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresServer {
    /// Name of the server within the class.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "a server is named by lower-case letters, digits and inner hyphens: main, server-2"
    ))]
    pub name: String,
    /// Host name or address, as seen by the operator and by the slots' pods.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$') || isIP(self)",
        "must be a host name or an IP address alone; the port goes into `port`"
    ))]
    pub host: String,
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Encryption of connections: `disable` (never: only for a trial), `prefer` (if the server can), `require` (or no
    /// connection; the server's certificate is not verified).
    #[serde(default)]
    pub tls: TlsMode,
    /// Secret in the operator's namespace with `username` and `password` of the admin login, which needs CREATEDB,
    /// CREATEROLE and membership in `pg_signal_backend`, and should not be a superuser.
    pub admin_secret_ref: SecretRef,
    /// How a slot's pods reach the server, for their network policy.
    pub network: NetworkPath,
    /// The most connections that all slots together may be promised.
    #[schemars(range(min = 2, max = 100_000))]
    pub connection_limit: u32,
    /// Whether new slots are placed elsewhere. The slots that are on the server stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
}

/// What a network policy has to let through: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "has(self.__namespace__) == has(self.podLabels)",
        "namespace and podLabels belong together: write both for pods of this cluster"
    ),
    validation = (
        "has(self.cidrs) != (has(self.__namespace__) || has(self.podLabels))",
        "write either namespace with podLabels (pods of this cluster) or cidrs (addresses outside of it)"
    )
)]
pub struct NetworkPath {
    /// Pods in this cluster: the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "must be the name of a namespace: lower-case letters, digits and inner hyphens"
    ))]
    pub namespace: Option<String>,
    /// Pods in this cluster: their labels, with `namespace`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8, "additionalProperties" = label_value()))]
    #[x_kube(validation = (
        "self.all(key, !format.qualifiedName().validate(key).hasValue())",
        "a label's key is a name, or prefix/name, as in app.kubernetes.io/name"
    ))]
    #[x_kube(validation = (
        "self.all(key, !format.labelValue().validate(self[key]).hasValue())",
        "a label's value is made of letters, digits, and inner -, _ and ."
    ))]
    pub pod_labels: BTreeMap<String, String>,
    /// Addresses outside of the cluster, in CIDR notation: `192.0.2.10/32`, `2001:db8::/64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 49)))]
    #[x_kube(validation = (
        "self.all(range, isCIDR(range))",
        "must be address ranges in CIDR notation, as 192.0.2.10/32 for one address"
    ))]
    pub cidrs: Vec<String>,
}

/// The schema of a label's value.
fn label_value() -> serde_json::Value {
    serde_json::json!({ "type": "string", "maxLength": 63 })
}

/// The cache of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheOffer {
    /// Image of Valkey, by digest; its entry point is `valkey-server`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$')",
        "must name the image by its digest: registry/path@sha256:<64 hexadecimal digits>"
    ))]
    pub image: String,
}

/// What the operator found about a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroupClassStatus {
    /// The generation that this status speaks of; -1 before the operator has seen the object.
    #[serde(default = "crate::common::never_observed")]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::conditions")]
    pub conditions: Vec<Condition>,
    /// How many groups use the class. While there are any it cannot be deleted.
    #[serde(default)]
    pub groups: u32,
    /// Databases on the class's servers that their slots left behind (`deletionPolicy: Retain`), at most 100, the latest ones.
    /// A slot takes one over by naming it in `adoptDatabase`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["server", "name"])
    )]
    pub retained_databases: Vec<RetainedDatabase>,
}

/// A database that its slot left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetainedDatabase {
    /// Name of its server within the class.
    #[schemars(length(max = 40))]
    pub server: String,
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The group that it was of.
    #[schemars(length(max = 63))]
    pub group: String,
    /// The slot that it was of.
    #[schemars(length(max = 63))]
    pub slot: String,
    /// When it was left behind.
    #[schemars(length(max = 40))]
    pub retained_at: String,
}

impl Default for ResourceGroupClassStatus {
    fn default() -> Self {
        Self { observed_generation: NEVER_OBSERVED, conditions: Vec::new(), groups: 0, retained_databases: Vec::new() }
    }
}
