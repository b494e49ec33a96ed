//! What services reach outside of the cluster: what the class offers, by the pods whose release says so.

use serde_json::{Value, json};
use tenantry_contract::{EgressNeed, WorkloadRole};
use tenantry_plan::reasons;

use crate::fixtures::parse;
use crate::world::{World, key};

/// A world whose release says that the worker of `campaigns` reaches others, and whose class offers these destinations.
fn world(destinations: Value) -> World {
    let mut world = World::new();
    for release in world.releases.values_mut() {
        release.spec.services.get_mut("campaigns").unwrap().needs.egress = Some(EgressNeed { roles: vec![WorkloadRole::Worker] });
    }
    world.class.as_mut().unwrap().spec.network.egress = parse(destinations);
    world
}

fn policy<'w>(world: &'w World, service: &str) -> Option<&'w Value> {
    world.objects.get(&key("NetworkPolicy", "pcasia-dev", &format!("allow-egress-{service}")))
}

#[test]
fn the_pods_whose_release_says_so_reach_what_the_class_offers_and_nobody_else_does() {
    let mut world = world(json!([
        { "name": "payments", "cidrs": ["192.0.2.0/24"], "ports": [443, 8443] },
        { "name": "internet", "cidrs": ["::/0"], "ports": [443] },
    ]));
    world.settle();
    let tcp = |port: u16| json!({ "protocol": "TCP", "port": port });
    let except = ["::1/128", "fc00::/7", "fe80::/10"];
    assert_eq!(
        policy(&world, "campaigns").unwrap()["spec"],
        json!({
            "podSelector": {
                "matchLabels": { "tenantry.dev/service": "campaigns" },
                "matchExpressions": [{ "key": "tenantry.dev/role", "operator": "In", "values": ["worker"] }],
            },
            "policyTypes": ["Egress"],
            "egress": [
                { "to": [{ "ipBlock": { "cidr": "192.0.2.0/24" } }], "ports": [tcp(443), tcp(8443)] },
                { "to": [{ "ipBlock": { "cidr": "::/0", "except": except } }], "ports": [tcp(443)] },
            ],
        })
    );
    assert_eq!(policy(&world, "greeter"), None);
}

#[test]
fn without_an_offer_or_a_need_nothing_is_opened() {
    let mut offered = World::new();
    offered.class.as_mut().unwrap().spec.network.egress = parse(json!([{ "name": "a", "cidrs": ["192.0.2.0/24"], "ports": [443] }]));
    let mut needed = world(json!([]));
    for world in [&mut offered, &mut needed] {
        world.settle();
        assert_eq!((policy(world, "campaigns"), policy(world, "greeter")), (None, None));
    }
}

#[test]
fn an_offer_that_is_withdrawn_is_closed_and_one_that_is_not_known_is_left() {
    let mut world = world(json!([{ "name": "a", "cidrs": ["192.0.2.0/24"], "ports": [443] }]));
    world.settle();
    let class = world.class.take();
    for _ in 0..5 {
        world.round();
    }
    assert!(policy(&world, "campaigns").is_some());
    world.class = class;
    world.class.as_mut().unwrap().spec.network.egress.clear();
    world.settle();
    assert_eq!(policy(&world, "campaigns"), None);
}

/// The probe's pod is of no service: what it was refused stays refused, so that its finding holds.
#[test]
fn a_destination_is_no_reason_to_try_the_isolation_again() {
    let mut world = world(json!([]));
    world.settle();
    let tried = world.slot("dev").status.unwrap().network;
    world.class.as_mut().unwrap().spec.network.egress = parse(json!([{ "name": "a", "cidrs": ["192.0.2.0/24"], "ports": [443] }]));
    world.settle();
    let status = world.slot("dev").status.unwrap();
    assert_eq!(status.network, tried);
    assert!(status.conditions.iter().any(|condition| condition.reason == reasons::NETWORK_REFUSES));
}
