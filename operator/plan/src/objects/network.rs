//! What a slot's pods may talk to: each other, DNS, and the slot's PostgreSQL server; what some may reach beside that, `egress`
//! says. Nobody else may talk to them, but the platform's monitoring where its class names it.

use serde_json::{Value, json};
use tenantry_crds::names::ROLE_LABEL;
use tenantry_crds::{MonitoringPods, NetworkPath, PostgresServer};

use super::Place;
use super::pod::{HTTP_PORT, METRICS_PORT, Role};
use crate::Manifest;

/// Name of the policy that depends on the slot's PostgreSQL server.
pub(crate) const POSTGRES_POLICY: &str = "allow-postgres";
/// Name of the policy that depends on the class's monitoring.
pub(crate) const MONITORING_POLICY: &str = "allow-monitoring";

/// The policies that every slot has whatever its class.
pub(crate) fn policies(place: &Place) -> Vec<Manifest> {
    let everybody = json!([{ "podSelector": {} }]);
    let dns = json!([{
        "to": [{
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } },
            "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
        }],
        "ports": [{ "protocol": "UDP", "port": 53 }, { "protocol": "TCP", "port": 53 }],
    }]);
    vec![
        policy(place, "default-deny", json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })),
        policy(
            place,
            "allow-slot",
            json!({
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{ "from": everybody.clone() }],
                "egress": [{ "to": everybody }],
            }),
        ),
        policy(place, "allow-dns", json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": dns })),
    ]
}

/// Lets the services' pods, not the cache's, reach the PostgreSQL server.
pub(crate) fn postgres_policy(place: &Place, server: &PostgresServer) -> Manifest {
    let roles = [Role::Api, Role::Worker, Role::Migrate].map(Role::name);
    policy(
        place,
        POSTGRES_POLICY,
        json!({
            "podSelector": { "matchExpressions": [{ "key": ROLE_LABEL, "operator": "In", "values": roles }] },
            "policyTypes": ["Egress"],
            "egress": [{
                "to": peers(&server.network),
                "ports": [{ "protocol": "TCP", "port": server.port }],
            }],
        }),
    )
}

/// Lets the monitoring system's pods reach the metrics of the services, by the names of their ports: each role has one of these,
/// whose number may be another in each release.
pub(crate) fn monitoring_policy(place: &Place, monitoring: &MonitoringPods) -> Manifest {
    let roles = [Role::Api, Role::Worker].map(Role::name);
    let ports = [HTTP_PORT, METRICS_PORT].map(|port| json!({ "protocol": "TCP", "port": port }));
    policy(
        place,
        MONITORING_POLICY,
        json!({
            "podSelector": { "matchExpressions": [{ "key": ROLE_LABEL, "operator": "In", "values": roles }] },
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{
                    "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": monitoring.namespace } },
                    "podSelector": { "matchLabels": monitoring.pod_labels },
                }],
                "ports": ports,
            }],
        }),
    )
}

fn peers(path: &NetworkPath) -> Vec<Value> {
    let blocks = path.cidrs.iter().map(|cidr| json!({ "ipBlock": { "cidr": cidr } }));
    let pods = path.namespace.iter().map(|namespace| {
        let mut peer = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } });
        if !path.pod_labels.is_empty() {
            peer["podSelector"] = json!({ "matchLabels": path.pod_labels });
        }
        peer
    });
    blocks.chain(pods).collect()
}

/// States both directions, also where it allows nothing in one, so that a rule that somebody adds is a difference.
pub(crate) fn policy(place: &Place, name: &str, mut spec: Value) -> Manifest {
    for direction in ["ingress", "egress"] {
        if spec[direction].is_null() {
            spec[direction] = json!([]);
        }
    }
    Manifest::new(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": place.metadata(name, place.labels()),
        "spec": spec,
    }))
}
