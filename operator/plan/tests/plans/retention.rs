//! A service that is removed keeps its data for a while, and has them back when it is added again within it.

use proptest::prelude::*;
use serde_json::json;
use tenantry_plan::Now;

use crate::fixtures;
use crate::world::World;

fn at(text: &str) -> Now {
    fixtures::parse(json!(text))
}

fn without_campaigns() -> World {
    let mut world = World::new();
    world.settle();
    remove(&mut world);
    world.settle();
    world
}

fn remove(world: &mut World) {
    world.edit_group(|group| {
        group.spec.services.remove("campaigns");
        group.spec.slots.truncate(1);
        group.spec.slots[0].services.clear();
    });
}

fn add(world: &mut World) {
    world.edit_group(|group| group.spec.services = fixtures::group().spec.services);
}

/// The schema's version, and the names of the logins that may log in.
fn state(world: &World) -> (Option<u32>, usize) {
    let facts = world.databases.values().find(|facts| facts.comment.is_some()).unwrap();
    (facts.schemas.get("campaigns").and_then(|schema| schema.version), facts.roles.values().filter(|role| role.login).count())
}

#[test]
fn a_removed_services_logins_end_at_once_and_its_data_after_a_week() {
    let mut world = without_campaigns();
    assert_eq!(state(&world), (Some(3), 0));
    world.now = at("2026-01-07T23:59:59Z");
    world.settle();
    assert_eq!(state(&world), (Some(3), 0));
    world.now = at("2026-01-08T00:00:00Z");
    world.settle();
    assert_eq!(state(&world), (None, 0));
    let facts = world.databases.values().find(|facts| facts.comment.is_some()).unwrap();
    assert!(facts.roles.is_empty(), "{:?}", facts.roles);
}

#[test]
fn added_again_within_the_time_it_has_its_data_and_later_a_fresh_start() {
    let mut world = without_campaigns();
    world.now = at("2026-01-07T00:00:00Z");
    add(&mut world);
    world.settle();
    assert_eq!(state(&world), (Some(3), 2));
    // From now on the time counts anew.
    remove(&mut world);
    world.now = at("2026-01-09T00:00:00Z");
    world.settle();
    assert_eq!(state(&world), (Some(3), 0));
}

#[test]
fn the_time_of_removal_outlives_every_status() {
    let mut world = World::new();
    // With another service that has a schema, by whose need the database is looked for.
    for release in world.releases.values_mut() {
        let campaigns = release.spec.services["campaigns"].clone();
        release.spec.services.insert("greeter".into(), campaigns);
    }
    world.settle();
    remove(&mut world);
    world.settle();
    world.now = at("2026-01-05T00:00:00Z");
    world.lose_statuses();
    world.settle();
    world.now = at("2026-01-08T00:00:00Z");
    world.settle();
    assert_eq!(state(&world), (None, 2), "only the other service's logins are left");
}

#[test]
fn the_groups_own_time_counts() {
    let mut world = World::new();
    world.edit_group(|group| group.spec.retain_for = "36h".into());
    world.settle();
    remove(&mut world);
    world.settle();
    world.now = at("2026-01-02T11:59:59Z");
    world.settle();
    assert_eq!(state(&world).0, Some(3));
    world.now = at("2026-01-02T12:00:00Z");
    world.settle();
    assert_eq!(state(&world).0, None);
}

#[test]
fn a_service_whose_pods_still_end_keeps_its_logins_until_then() {
    let mut world = World::new();
    world.settle();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "campaigns-x", "namespace": "pcasia-dev", "labels": {
            "app.kubernetes.io/managed-by": "tenantry", "tenantry.dev/service": "campaigns", "tenantry.dev/role": "api",
        } },
    });
    let key = crate::world::key("Pod", "pcasia-dev", "campaigns-x");
    world.objects.insert(key.clone(), pod);
    remove(&mut world);
    for _ in 0..6 {
        world.round();
    }
    assert_eq!(state(&world), (Some(3), 2));
    world.objects.remove(&key);
    world.settle();
    assert_eq!(state(&world), (Some(3), 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn killed_anywhere_a_removal_ends_the_same(lives in prop::collection::vec(0_usize..8, 0..8), over in any::<bool>()) {
        let mut world = World::new();
        world.settle();
        remove(&mut world);
        for life in lives {
            world.life = Some(life);
            world.round();
        }
        world.life = None;
        world.settle();
        if over {
            world.now = at("2026-01-08T00:00:00Z");
            world.settle();
        }
        prop_assert_eq!(state(&world), (if over { None } else { Some(3) }, 0));
    }
}
