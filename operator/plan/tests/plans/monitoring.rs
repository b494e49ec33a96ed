//! Who else may reach the services: the platform's monitoring where the class names it, at the ports that have metrics.

use serde_json::{Value, json};
use tenantry_plan::reasons;

use crate::fixtures::parse;
use crate::world::{World, key};

const POLICY: &str = "allow-monitoring";

/// A settled world whose class names Prometheus.
fn monitored() -> World {
    let mut world = World::new();
    offer(&mut world, "prometheus");
    world.settle();
    world
}

fn offer(world: &mut World, name: &str) {
    let pods = json!({ "namespace": "monitoring", "podLabels": { "app.kubernetes.io/name": name } });
    world.class.as_mut().unwrap().spec.network.monitoring = Some(parse(pods));
}

fn policy<'w>(world: &'w World, slot: &str) -> Option<&'w Value> {
    world.objects.get(&key("NetworkPolicy", &format!("pcasia-{slot}"), POLICY))
}

#[test]
fn exactly_the_pods_that_the_class_names_reach_the_metrics_and_nothing_else() {
    let world = monitored();
    for slot in ["dev", "staging"] {
        assert_eq!(
            policy(&world, slot).unwrap()["spec"],
            json!({
                "podSelector": { "matchExpressions": [{ "key": "tenantry.dev/role", "operator": "In", "values": ["api", "worker"] }] },
                "policyTypes": ["Ingress"],
                "ingress": [{
                    "from": [{
                        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } },
                        "podSelector": { "matchLabels": { "app.kubernetes.io/name": "prometheus" } },
                    }],
                    "ports": [{ "protocol": "TCP", "port": "http" }, { "protocol": "TCP", "port": "metrics" }],
                }],
            })
        );
    }
}

/// The names of the policy's ports mean one port of each role, whatever its number.
#[test]
fn the_policys_ports_are_those_of_the_pods_with_the_releases_numbers() {
    let mut world = World::new();
    for release in world.releases.values_mut() {
        let roles = &mut release.spec.services.get_mut("campaigns").unwrap().roles;
        roles.api.as_mut().unwrap().port = 9000;
        roles.worker.as_mut().unwrap().metrics_port = 9001;
    }
    offer(&mut world, "prometheus");
    world.settle();
    let allowed = policy(&world, "dev").unwrap()["spec"]["ingress"][0]["ports"].as_array().unwrap();
    for (deployment, number) in [("campaigns-api", 9000), ("campaigns-worker", 9001), ("greeter-api", 8080)] {
        let pod = &world.objects[&key("Deployment", "pcasia-dev", deployment)]["spec"]["template"];
        let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
        let reached: Vec<&Value> = ports.iter().filter(|port| allowed.iter().any(|allowed| allowed["port"] == port["name"])).collect();
        assert_eq!(reached.iter().map(|port| &port["containerPort"]).collect::<Vec<_>>(), [number], "{deployment}");
    }
}

#[test]
fn without_the_option_nobody_is_let_in() {
    let mut world = World::new();
    world.settle();
    assert_eq!((policy(&world, "dev"), policy(&world, "staging")), (None, None));
}

#[test]
fn an_option_that_is_withdrawn_is_closed_and_one_that_is_not_known_is_left() {
    let mut world = monitored();
    let class = world.class.take();
    for _ in 0..5 {
        world.round();
    }
    assert!(policy(&world, "dev").is_some());
    world.class = class;
    world.class.as_mut().unwrap().spec.network.monitoring = None;
    world.settle();
    assert_eq!((policy(&world, "dev"), policy(&world, "staging")), (None, None));
}

#[test]
fn others_than_the_class_names_do_not_stay_let_in() {
    let mut world = monitored();
    let wanted = policy(&world, "dev").unwrap()["spec"].clone();
    let live = world.objects.get_mut(&key("NetworkPolicy", "pcasia-dev", POLICY)).unwrap();
    live["spec"]["ingress"][0]["from"].as_array_mut().unwrap().push(json!({ "namespaceSelector": {} }));
    world.settle();
    assert_eq!(policy(&world, "dev").unwrap()["spec"], wanted);
    offer(&mut world, "agent");
    world.settle();
    let from = &policy(&world, "dev").unwrap()["spec"]["ingress"][0]["from"];
    assert_eq!(from[0]["podSelector"], json!({ "matchLabels": { "app.kubernetes.io/name": "agent" } }));
    assert_eq!(from.as_array().unwrap().len(), 1);
}

/// The probe's pod is of no service: what it was refused stays refused. And no pod is made anew.
#[test]
fn monitoring_changes_nothing_else_in_a_slot() {
    let mut world = World::new();
    world.settle();
    let tried = world.slot("dev").status.unwrap().network;
    let before = world.objects.clone();
    offer(&mut world, "prometheus");
    world.settle();
    let status = world.slot("dev").status.unwrap();
    assert_eq!(status.network, tried);
    assert!(status.conditions.iter().any(|condition| condition.reason == reasons::NETWORK_REFUSES));
    for (key, object) in &world.objects {
        let spec = before.get(key).map(|before| &before["spec"]);
        assert!(key.2 == POLICY || spec == Some(&object["spec"]), "{key:?} changed");
    }
}
