//! Deletion: nothing foreign is touched, nothing is forgotten, and what blocks is named.

use serde_json::json;
use tenantry_crds::DeletionPolicy;
use tenantry_plan::{DatabaseStep, Standing, Step, TrackName, reasons};

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
    assert!(matches!(tenantry_plan::standing(&forged, &facts), Standing::Stranger(_)));
    let plan = tenantry_plan::slot(&forged, &facts);
    assert_eq!(plan.tracks.len(), 1);
    assert!(plan.tracks[0].waves.is_empty());
    assert!(plan.tracks[0].stall.is_some());
    forged.metadata.deletion_timestamp = Some(now());
    let plan = tenantry_plan::slot(&forged, &facts);
    assert!(plan.tracks[0].waves.is_empty());
}

#[test]
fn a_retained_database_is_closed_and_marked_and_kept() {
    let mut world = World::new();
    world.edit_group(|group| group.spec.deletion_policy = DeletionPolicy::Retain);
    world.settle();
    let schemas: Vec<_> = world.databases.values().map(|facts| facts.schemas.clone()).collect();
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(now()));
    for _ in 0..12 {
        world.round();
    }
    assert!(world.group.is_none() && world.objects.is_empty());
    assert_eq!(world.databases.values().map(|facts| facts.schemas.clone()).collect::<Vec<_>>(), schemas);
    for facts in world.databases.values() {
        let comment = facts.comment.clone().flatten().unwrap();
        assert!(comment.ends_with(" retained=2026-01-01T00:00:00Z name=pcasia"), "{comment}");
        assert!(facts.connection_limit == 0 && facts.roles.values().all(|role| !role.login));
    }
}

#[test]
fn a_database_that_is_named_as_lost_no_longer_blocks_and_is_on_record() {
    let mut world = deleted();
    world.postgres_is_down = true;
    for _ in 0..3 {
        world.round();
    }
    let conditions = world.slot("dev").status.unwrap().conditions;
    let message = &conditions.iter().find(|condition| condition.type_ == "DeletionBlocked").unwrap().message;
    let names: Vec<String> = world.slots().into_iter().map(|slot| slot.status.unwrap().database.unwrap().name).collect();
    let command = "kubectl annotate resourcegroup.tenantry.dev/pcasia tenantry.dev/abandon-database=";
    assert!(message.ends_with(&format!("{command}{}", names[0])), "{message}");
    // A name alone that is not the slot's lets nothing go.
    let annotate = |world: &mut World, value: String| {
        let annotations = [("tenantry.dev/abandon-database".to_owned(), value)];
        world.edit_group(|group| group.metadata.annotations = Some(annotations.into()));
    };
    annotate(&mut world, names[0].clone());
    for _ in 0..6 {
        world.round();
    }
    assert_eq!(world.slots().len(), 1, "the other slot's is not named");
    annotate(&mut world, names.join(", "));
    for _ in 0..6 {
        world.round();
    }
    assert!(world.group.is_none());
    for name in names {
        let record = &world.objects[&key("ConfigMap", "tenantry-system", &format!("tenantry-abandoned-{name}"))];
        assert_eq!((record["data"]["server"].as_str(), record["data"]["group"].as_str()), (Some("main"), Some("pcasia")));
    }
}

#[test]
fn what_was_planned_for_a_former_slot_names_its_holder() {
    let mut world = deleted();
    world.reconcile_slot(&world.slot("dev"));
    let slot = world.slot("dev");
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    let mut steps = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    let uid = slot.metadata.uid.clone().unwrap();
    assert!(
        steps.any(|step| matches!(step, Step::Database(DatabaseStep::DropDatabase { holder: Some(holder), .. }) if *holder == uid)),
        "{plan:#?}"
    );
    let name = slot.status.unwrap().database.unwrap().name;
    let comment = world.databases[&name].comment.clone().flatten().unwrap();
    assert!(comment.ends_with(&format!(" holder={uid}")), "{comment}");
}

#[test]
fn a_slot_of_a_group_that_was_forced_away_leaves_its_database() {
    let mut world = World::new();
    world.settle();
    world.group = None;
    let mut slot = world.slot("dev");
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    assert_eq!(plan.tracks[0].stall.as_ref().unwrap().reason, reasons::NOT_A_SLOT_OF_ITS_GROUP);
    slot.metadata.deletion_timestamp = Some(now());
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    assert!(!plan.track(TrackName::Teardown).unwrap().waves.is_empty());
    for _ in 0..6 {
        world.delete_slot_by_a_side_door("pcasia-dev");
        world.round();
    }
    assert!(world.slots().iter().all(|slot| slot.metadata.name.as_deref() != Some("dev")));
    let name = tenantry_plan::SlotIdentity::of(&slot, "cluster-uid").database();
    assert!(world.databases[&name].comment.clone().flatten().unwrap().contains(" retained="));
}

#[test]
fn a_slot_counts_once_its_groups_status_lists_it() {
    let mut world = World::new();
    world.settle();
    let mut listed = world.group.as_ref().unwrap().status.clone().unwrap();
    listed.slots.retain(|summary| summary.name != "dev");
    world.group.as_mut().unwrap().status = Some(listed);
    let mut slot = world.slot("dev");
    for deleted in [None, Some(now())] {
        slot.metadata.deletion_timestamp = deleted;
        let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
        assert_eq!(plan.tracks.len(), 1);
        assert!(plan.tracks[0].waves.is_empty());
        assert_eq!(plan.tracks[0].wait.as_ref().unwrap().reason, reasons::AWAITING_GROUP);
    }
    world.reconcile_group();
    let slot = world.slot("dev");
    assert!(tenantry_plan::slot(&slot, &world.slot_facts(&slot)).is_settled());
}

#[test]
fn all_statuses_wiped_are_made_again_and_nothing_is_lost() {
    let mut world = World::new();
    world.settle();
    let (before, status) = (world.summary(), world.group.as_ref().unwrap().status.clone());
    world.group.as_mut().unwrap().status = None;
    for object in world.objects.values_mut().filter(|object| object["kind"] == "Slot") {
        object.as_object_mut().unwrap().remove("status");
    }
    world.settle();
    assert_eq!(world.summary(), before);
    assert_eq!(world.group.unwrap().status, status);
}

#[test]
fn a_slot_forged_in_a_foreign_namespace_is_neither_listed_nor_touched_nor_waited_for() {
    let mut world = World::new();
    world.settle();
    let foreign = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "pcasia-evil", "uid": "theirs" } });
    world.objects.insert(key("Namespace", "", "pcasia-evil"), foreign);
    let mut forged = world.objects[&key("Slot", "pcasia-dev", "dev")].clone();
    forged["metadata"]["namespace"] = "pcasia-evil".into();
    forged["metadata"]["name"] = "evil".into();
    forged["metadata"]["uid"] = "forged".into();
    forged.as_object_mut().unwrap().remove("status");
    world.objects.insert(key("Slot", "pcasia-evil", "evil"), forged.clone());
    world.settle_group();
    let status = world.group.as_ref().unwrap().status.clone().unwrap();
    assert_eq!(status.slots.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>(), ["dev", "staging"]);
    let slot = world.slot("evil");
    let facts = world.slot_facts(&slot);
    assert!(matches!(tenantry_plan::standing(&slot, &facts), Standing::Stranger(_)));
    assert!(tenantry_plan::slot(&slot, &facts).tracks.iter().all(|track| track.waves.is_empty()));
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(now()));
    for _ in 0..10 {
        world.round();
    }
    assert!(world.group.is_none(), "a forged Slot holds no group");
    assert_eq!(world.objects[&key("Slot", "pcasia-evil", "evil")]["metadata"], forged["metadata"]);
}
