//! Gauges of what the operator sees, computed when they are asked for: slots by condition and reason, PostgreSQL servers,
//! caches, queues, running reconciles. How many series there are does not depend on the number of tenants: a slot is counted,
//! never named. What would count tenants is there on the leader alone, so that a sum over replicas is right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tenantry_plan::reasons;

use super::{Metrics, PREFIX};
use crate::caches::{Caches, Triggers};
use crate::health::Health;
use crate::primary::Primary;

/// Servers beyond that many, over all classes, have no gauges; how many were left out is one.
const MOST_SERVERS: usize = 100;
/// The conditions of a slot that are counted; others would come from somebody else.
const CONDITIONS: [&str; 8] =
    ["Ready", "Reconciling", "Stalled", "NetworkIsolated", "DataServicesReady", "SchemaCurrent", "WorkloadsReady", "DeletionBlocked"];

/// From what the gauges are computed.
#[derive(Clone)]
pub struct Fleet {
    pub caches: Arc<Caches>,
    pub triggers: Arc<Triggers>,
    pub health: Arc<Health>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct StateLabels {
    kind: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ConditionLabels {
    condition: &'static str,
    status: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    class: String,
    server: String,
}

type Whole = Gauge<i64, AtomicI64>;
type Fraction = Gauge<f64, AtomicU64>;

impl Fleet {
    /// All gauges, as of now.
    pub fn registry(&self, metrics: &Metrics) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        self.own(&mut registry);
        if metrics.is_leading() {
            self.states(&mut registry);
            self.conditions(&mut registry);
            self.servers(&mut registry, metrics);
        }
        registry
    }

    /// The replica's own: caches, queues, what it is at.
    fn own(&self, registry: &mut Registry) {
        let synced = Family::<KindLabel, Whole>::default();
        let objects = Family::<KindLabel, Whole>::default();
        for (kind, is_synced, known) in self.caches.sizes() {
            synced.get_or_create(&KindLabel { kind }).set(i64::from(is_synced));
            objects.get_or_create(&KindLabel { kind }).set(whole(known));
        }
        registry.register("cache_synced", "1 once the first list of a kind is complete", synced);
        registry.register("cache_objects", "Known objects, by kind", objects);
        let queue = Family::<KindLabel, Whole>::default();
        for (kind, waiting) in self.triggers.waiting() {
            queue.get_or_create(&KindLabel { kind }).set(whole(waiting));
        }
        registry.register("queue_length", "Objects that an event has woken and that are not looked at yet, by kind", queue);
        let (running, oldest) = self.health.running();
        let gauge = Whole::default();
        gauge.set(whole(running));
        registry.register("reconciles_running", "Reconciles that are under way, those that wait for PostgreSQL included", gauge);
        let gauge = Fraction::default();
        gauge.set(oldest.as_secs_f64());
        registry.register("oldest_reconcile_seconds", "How long the longest running reconcile has been running", gauge);
    }

    fn states(&self, registry: &mut Registry) {
        let count = Family::<StateLabels, Whole>::default();
        let oldest = Family::<StateLabels, Fraction>::default();
        let now = Timestamp::now();
        tally::<tenantry_crds::ResourceGroup>(&self.caches, now, &count, &oldest);
        tally::<tenantry_crds::Slot>(&self.caches, now, &count, &oldest);
        tally::<tenantry_crds::ResourceGroupClass>(&self.caches, now, &count, &oldest);
        tally::<tenantry_crds::Release>(&self.caches, now, &count, &oldest);
        registry.register("objects_in_state", "How many groups, slots, classes and releases are in which state", count);
        registry.register("oldest_in_state_seconds", "For how long the one that was in the state first has been", oldest);
    }

    fn conditions(&self, registry: &mut Registry) {
        let count = Family::<ConditionLabels, Whole>::default();
        for slot in self.caches.slots.objects.all() {
            for condition in slot.status.iter().flat_map(|status| &status.conditions) {
                let Some(type_) = CONDITIONS.iter().find(|known| **known == condition.type_) else { continue };
                let labels = ConditionLabels { condition: type_, status: status(condition), reason: reason(condition) };
                count.get_or_create(&labels).inc();
            }
        }
        registry.register("slot_conditions", "How many slots have that condition with that status and reason", count);
    }

    fn servers(&self, registry: &mut Registry, metrics: &Metrics) {
        let offered: BTreeMap<(String, String), u32> = self
            .caches
            .classes
            .objects
            .all()
            .iter()
            .flat_map(|class| {
                let servers = class.spec.postgres.servers.iter();
                servers.map(|server| ((class.name_any(), server.name.clone()), server.connection_limit)).collect::<Vec<_>>()
            })
            .collect();
        metrics.servers.keep(|class, server| offered.contains_key(&(class.to_owned(), server.to_owned())));
        let limit = Family::<ServerLabels, Whole>::default();
        let promised = Family::<ServerLabels, Whole>::default();
        let reachable = Family::<ServerLabels, Whole>::default();
        let left_out = Whole::default();
        left_out.set(whole(offered.len().saturating_sub(MOST_SERVERS)));
        for ((class, server), connections) in offered.into_iter().take(MOST_SERVERS) {
            let state = metrics.servers.get(&class, &server);
            let labels = ServerLabels { class, server };
            limit.get_or_create(&labels).set(i64::from(connections));
            if let Some(state) = state {
                reachable.get_or_create(&labels).set(i64::from(state.reachable));
                if let Some(connections) = state.promised_connections {
                    promised.get_or_create(&labels).set(i64::from(connections));
                }
            }
        }
        registry.register("postgres_connection_limit", "Connections that a server's slots may be promised together", limit);
        registry.register("postgres_promised_connections", "Connections that a server's slots are promised", promised);
        registry.register("postgres_reachable", "1 if the server answered when the operator asked it last", reachable);
        registry.register("postgres_servers_left_out", "Servers without gauges, since there are more than a hundred", left_out);
    }
}

/// Counts the objects of a kind by state; every state is there, so that an alert sees a zero and not an absence.
fn tally<K: Primary>(caches: &Caches, now: Timestamp, count: &Family<StateLabels, Whole>, oldest: &Family<StateLabels, Fraction>) {
    let labels = |state| StateLabels { kind: K::KIND.kind, state };
    for state in ["ready", "reconciling", "stalled", "idle", "deleting", "unseen"] {
        count.get_or_create(&labels(state)).set(0);
        oldest.get_or_create(&labels(state)).set(0.0);
    }
    for object in K::cache(caches).objects.all() {
        let conditions = object.status().map(K::conditions).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        let deleted = object.meta().deletion_timestamp.as_ref().map(|time| time.0);
        let created = object.meta().creation_timestamp.as_ref().map(|time| time.0);
        let state = if deleted.is_some() { "deleting" } else { state(conditions) };
        let since = deleted.or(ready.map(|ready| ready.last_transition_time.0)).or(created).unwrap_or(now);
        count.get_or_create(&labels(state)).inc();
        let age = now.duration_since(since).as_secs_f64().max(0.0);
        let gauge = oldest.get_or_create(&labels(state));
        gauge.set(gauge.get().max(age));
    }
}

fn state(conditions: &[Condition]) -> &'static str {
    let is = |type_: &str| conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True");
    match (is("Ready"), is("Stalled"), is("Reconciling"), conditions.is_empty()) {
        (true, ..) => "ready",
        (_, true, ..) => "stalled",
        (_, _, true, _) => "reconciling",
        (_, _, _, true) => "unseen",
        _ => "idle",
    }
}

fn status(condition: &Condition) -> &'static str {
    match condition.status.as_str() {
        "True" => "True",
        "False" => "False",
        _ => "Unknown",
    }
}

/// The condition's reason, if it is one of this operator's: a status can be another version's.
fn reason(condition: &Condition) -> &'static str {
    reasons::ALL.iter().find(|known| **known == condition.reason).copied().unwrap_or("Other")
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::json;
    use tenantry_crds::{ResourceGroupClass, Slot};

    use super::*;

    fn fleet() -> Fleet {
        let caches = Caches::new();
        let triggers = Triggers::default();
        Fleet { caches, triggers: Arc::new(triggers), health: Arc::new(Health::new(Duration::from_secs(60))) }
    }

    fn leading() -> Metrics {
        let metrics = Metrics::new();
        metrics.leads();
        metrics
    }

    fn slot(group: u32, reason: &str) -> Slot {
        let condition = |type_: &str, status: &str| json!({ "type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        serde_json::from_value(json!({
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "Slot",
            "metadata": { "name": "dev", "namespace": format!("group{group}-dev"), "uid": group.to_string(), "resourceVersion": "1" },
            "spec": { "groupRef": { "name": format!("group{group}"), "uid": group.to_string() }, "classRef": { "name": "standard" }, "size": "small" },
            "status": { "observedGeneration": 1, "conditions": [condition("Ready", "False"), condition("Stalled", "True")] },
        }))
        .unwrap()
    }

    fn class(name: &str) -> ResourceGroupClass {
        let resources = json!({ "cpuMillis": 1, "memoryMib": 8 });
        let role = json!({ "replicas": 1, "resources": resources });
        serde_json::from_value(json!({
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "ResourceGroupClass",
            "metadata": { "name": name, "uid": name, "resourceVersion": "1" },
            "spec": {
                "sizes": { "small": { "api": role, "worker": role, "migrate": resources, "cache": resources, "database": { "connectionsPerService": 4 } } },
                "postgres": { "servers": [{
                    "name": "main", "host": "db", "port": 5432, "adminSecretRef": { "name": "admin" },
                    "network": { "cidrs": ["192.0.2.1/32"] }, "connectionLimit": 100,
                }] },
                "cache": { "image": "x" },
            },
        }))
        .unwrap()
    }

    fn series(text: &str) -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
    }

    #[test]
    fn a_thousand_slots_make_no_more_series_than_two() {
        let (fleet, metrics) = (fleet(), leading());
        fleet.caches.slots.put_watched(slot(0, reasons::UNKNOWN_CLASS));
        fleet.caches.slots.put_watched(slot(1, "OfAnotherVersion"));
        let few = series(&metrics.text(&fleet));
        for group in 2..1000 {
            let reason = if group % 2 == 0 { reasons::UNKNOWN_CLASS } else { "OfAnotherVersion" };
            fleet.caches.slots.put_watched(slot(group, reason));
        }
        let text = metrics.text(&fleet);
        assert_eq!(series(&text), few);
        assert!(!text.contains("group7"), "no tenant is named");
        assert!(text.contains("tenantry_slot_conditions{condition=\"Stalled\",status=\"True\",reason=\"UnknownClass\"} 500"), "{text}");
        assert!(text.contains("reason=\"Other\"} 500"), "a reason that is not the operator's is no label");
        assert!(text.contains("tenantry_objects_in_state{kind=\"Slot\",state=\"stalled\"} 1000"), "{text}");
    }

    #[test]
    fn servers_beyond_a_hundred_are_counted_and_not_named() {
        let (fleet, metrics) = (fleet(), leading());
        for number in 0..130 {
            fleet.caches.classes.put_watched(class(&format!("class{number}")));
        }
        metrics.servers.answered("class0", "main", 40);
        metrics.servers.failed("class1", "main");
        metrics.servers.answered("gone", "main", 40);
        let text = metrics.text(&fleet);
        assert_eq!(text.lines().filter(|line| line.starts_with("tenantry_postgres_connection_limit{")).count(), 100);
        assert!(text.contains("tenantry_postgres_servers_left_out 30"), "{text}");
        assert!(text.contains("tenantry_postgres_promised_connections{class=\"class0\",server=\"main\"} 40"), "{text}");
        assert!(text.contains("tenantry_postgres_reachable{class=\"class1\",server=\"main\"} 0"), "{text}");
        assert!(!text.contains("gone") && metrics.servers.get("gone", "main").is_none(), "a class that went takes its gauges along");
    }

    #[test]
    fn only_the_leader_counts_slots() {
        let (fleet, metrics) = (fleet(), Metrics::new());
        fleet.caches.slots.put_watched(slot(0, reasons::UNKNOWN_CLASS));
        let text = metrics.text(&fleet);
        assert!(!text.contains("tenantry_slot_conditions") && text.contains("tenantry_cache_objects{kind=\"Slot\"} 1"), "{text}");
    }
}
