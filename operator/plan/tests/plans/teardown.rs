//! Deletion: nothing foreign is touched, nothing is forgotten, and what blocks is named.

use serde_json::json;
use tenantry_plan::{DatabaseStep, Step, TrackName, reasons};

use crate::world::{World, key, now};

fn deleted() -> World {
    let mut world = World::new();
    world.settle();
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(now()));
    world.reconcile_group();
    world
}

#[test]
fn the_database_stays_while_a_pod_is_there() {
    let mut world = deleted();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "campaigns-x", "namespace": "pcasia-dev", "labels": { "app.kubernetes.io/managed-by": "tenantry" } },
    });
    world.objects.insert(key("Pod", "pcasia-dev", "campaigns-x"), pod);
    for _ in 0..5 {
        world.reconcile_slot(&world.slot("dev"));
    }
    let conditions = world.slot("dev").status.unwrap().conditions;
    let blocked = conditions.iter().find(|condition| condition.type_ == "DeletionBlocked").unwrap();
    assert_eq!((blocked.status.as_str(), blocked.message.as_str()), ("False", "waiting until these are gone: Pod/campaigns-x"));
    assert!(world.databases.values().all(|database| database.comment.is_some()));
}

#[test]
fn an_unreachable_server_blocks_the_deletion_and_is_named() {
    let mut world = deleted();
    world.postgres_is_down = true;
    for _ in 0..5 {
        world.round();
    }
    let conditions = world.slot("dev").status.unwrap().conditions;
    let blocked = conditions.iter().find(|condition| condition.type_ == "DeletionBlocked").unwrap();
    assert_eq!(blocked.status, "True");
    assert_eq!(blocked.reason, "PostgresUnreachable");
    let status = world.group.as_ref().unwrap().status.clone().unwrap();
    let reconciling = status.conditions.iter().find(|condition| condition.type_ == "Reconciling").unwrap();
    assert_eq!(reconciling.status, "True");
    assert!(reconciling.message.contains("the deletion of pcasia-dev is blocked"), "{}", reconciling.message);
    world.postgres_is_down = false;
    for _ in 0..10 {
        world.round();
    }
    assert!(world.group.is_none());
}

#[test]
fn without_a_database_the_server_need_not_answer() {
    let mut world = World::new();
    world.postgres_is_down = true;
    world.edit_group(|group| {
        group.spec.services.remove("campaigns");
        group.spec.slots[0].services.clear();
    });
    for _ in 0..6 {
        world.round();
    }
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(now()));
    for _ in 0..10 {
        world.round();
    }
    assert!(world.group.is_none());
    assert!(world.objects.is_empty());
}

#[test]
fn a_database_without_our_comment_is_left_alone() {
    let mut world = World::new();
    world.settle();
    let slot = world.slot("dev");
    let name = slot.status.unwrap().database.unwrap().name;
    world.databases.get_mut(&name).unwrap().comment = Some(None);
    let plan = tenantry_plan::slot(&world.slot("dev"), &world.slot_facts(&world.slot("dev")));
    let data = plan.track(TrackName::Data).unwrap();
    assert_eq!(data.stall.as_ref().unwrap().reason, reasons::DATABASE_NOT_OURS);
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(now()));
    world.reconcile_group();
    world.reconcile_slot(&world.slot("dev"));
    let plan = tenantry_plan::slot(&world.slot("dev"), &world.slot_facts(&world.slot("dev")));
    let steps: Vec<&Step> = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps).collect();
    assert!(!steps.iter().any(|step| matches!(step, Step::Database(DatabaseStep::DropDatabase { .. }))));
}

#[test]
fn a_slot_that_names_another_tenants_group_does_nothing_and_drops_nothing() {
    let mut world = World::new();
    world.settle();
    // In a namespace of its own, which the operator did not make for that group.
    let mut forged = world.slot("dev");
    forged.metadata.namespace = Some("evil-dev".into());
    forged.spec.group_ref.name = "evil".into();
    let mut facts = world.slot_facts(&forged);
    facts.namespace = None;
    facts.group = None;
    let plan = tenantry_plan::slot(&forged, &facts);
    assert_eq!(plan.tracks.len(), 1);
    assert!(plan.tracks[0].waves.is_empty());
    assert!(plan.tracks[0].stall.is_some());
    forged.metadata.deletion_timestamp = Some(now());
    let plan = tenantry_plan::slot(&forged, &facts);
    assert!(plan.tracks[0].waves.is_empty());
}

#[test]
fn a_slot_of_a_removed_group_does_nothing_but_is_torn_down() {
    let mut world = World::new();
    world.settle();
    world.group = None;
    let mut slot = world.slot("dev");
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    assert_eq!(plan.tracks[0].stall.as_ref().unwrap().reason, reasons::NOT_A_SLOT_OF_ITS_GROUP);
    slot.metadata.deletion_timestamp = Some(now());
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    assert!(!plan.track(TrackName::Teardown).unwrap().waves.is_empty());
}
