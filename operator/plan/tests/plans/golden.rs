//! What is done when, word for word. A change of these files is a change of what happens to every tenant: read the diff.

use insta::assert_yaml_snapshot;
use tenantry_plan::Plan;

use crate::world::World;

fn slot_plan(world: &World, name: &str) -> Plan {
    let slot = world.slot(name);
    tenantry_plan::slot(&slot, &world.slot_facts(&slot))
}

fn group_plan(world: &World) -> Plan {
    tenantry_plan::group(world.group.as_ref().unwrap(), &world.group_facts())
}

/// A world with a fresh group whose Slots are there, and nothing in them.
fn with_slots() -> World {
    let mut world = World::new();
    while !world.reconcile_group() && world.slots().len() < 2 {}
    world
}

#[test]
fn a_fresh_group_gets_its_finalizer_and_then_its_slots() {
    let mut world = World::new();
    assert_yaml_snapshot!("fresh_group_first", group_plan(&world));
    world.reconcile_group();
    assert_yaml_snapshot!("fresh_group_then", group_plan(&world));
}

#[test]
fn a_fresh_slot_is_isolated_then_gets_its_data_then_its_pods() {
    let mut world = with_slots();
    assert_yaml_snapshot!("fresh_slot_1_isolation", slot_plan(&world, "dev"));
    world.reconcile_slot(&world.slot("dev"));
    assert_yaml_snapshot!("fresh_slot_2_database_and_migration", slot_plan(&world, "dev"));
    world.reconcile_slot(&world.slot("dev"));
    world.tick();
    assert_yaml_snapshot!("fresh_slot_3_workloads", slot_plan(&world, "dev"));
}

#[test]
fn a_settled_world_has_empty_plans() {
    let mut world = World::new();
    world.settle();
    for slot in world.slots() {
        assert_yaml_snapshot!("settled_slot", tenantry_plan::slot(&slot, &world.slot_facts(&slot)));
    }
    assert_yaml_snapshot!("settled_group", group_plan(&world));
}

#[test]
fn a_changed_release_migrates_first_and_leaves_the_pods_until_then() {
    let mut world = World::new();
    world.settle();
    world.edit_group(|group| group.spec.slots[0].release = Some("v2".into()));
    world.reconcile_group();
    assert_yaml_snapshot!("changed_release_1_migration", slot_plan(&world, "dev"));
    world.reconcile_slot(&world.slot("dev"));
    world.tick();
    assert_yaml_snapshot!("changed_release_2_workloads", slot_plan(&world, "dev"));
}

#[test]
fn a_removed_service_and_a_removed_slot_are_pruned() {
    let mut world = World::new();
    world.settle();
    world.edit_group(|group| {
        group.spec.services.remove("campaigns");
        group.spec.slots.remove(1);
        group.spec.slots[0].services.clear();
    });
    assert_yaml_snapshot!("removed_slot", group_plan(&world));
    world.reconcile_group();
    assert_yaml_snapshot!("removed_service_1", slot_plan(&world, "dev"));
    world.reconcile_slot(&world.slot("dev"));
    assert_yaml_snapshot!("removed_service_2", slot_plan(&world, "dev"));
}

#[test]
fn a_deleted_slot_is_torn_down_in_waves() {
    let mut world = World::new();
    world.settle();
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(crate::world::now()));
    assert_yaml_snapshot!("deleted_group", group_plan(&world));
    world.reconcile_group();
    assert_yaml_snapshot!("deleted_slot_1_workloads", slot_plan(&world, "dev"));
    world.reconcile_slot(&world.slot("dev"));
    assert_yaml_snapshot!("deleted_slot_2_database", slot_plan(&world, "dev"));
}
