//! No data is lost by a side door: only the group gives a slot's data up, and not while the slot is protected.

use proptest::prelude::*;
use tenantry_plan::{DatabaseStep, Plan, Step, reasons};

use crate::world::{World, key, now};

fn settled(protected: bool) -> World {
    let mut world = World::new();
    world.edit_group(|group| group.spec.slots.iter_mut().for_each(|slot| slot.deletion_protection = protected));
    world.settle();
    world
}

/// The databases with what is in them, but for the passwords' fingerprints.
fn data(world: &World) -> Vec<String> {
    world.databases.iter().map(|(name, facts)| format!("{name} {} {:?}", facts.comment.is_some(), facts.schemas)).collect()
}

fn blocked(world: &World, slot: &str) -> (String, String) {
    let conditions = world.slot(slot).status.unwrap().conditions;
    let condition = conditions.into_iter().find(|condition| condition.type_ == "DeletionBlocked").unwrap();
    assert_eq!(condition.status, "True", "{condition:?}");
    (condition.reason, condition.message)
}

#[test]
fn a_deleted_namespace_comes_back_and_finds_its_database() {
    for protected in [false, true] {
        let mut world = settled(protected);
        let before = data(&world);
        let uid = world.slot("dev").metadata.uid;
        world.delete_namespace_by_a_side_door("pcasia-dev");
        world.settle();
        assert_ne!(world.slot("dev").metadata.uid, uid, "the Slot was made again");
        assert_eq!(data(&world), before);
        assert!(world.objects.contains_key(&key("Deployment", "pcasia-dev", "campaigns-api")), "{:?}", world.objects.keys());
    }
}

#[test]
fn a_deleted_slot_is_made_again_over_its_running_pods() {
    let mut world = settled(false);
    let deployment = |world: &World| world.objects[&key("Deployment", "pcasia-dev", "campaigns-api")]["metadata"]["uid"].clone();
    let (before, running) = (data(&world), deployment(&world));
    world.delete_slot_by_a_side_door("pcasia-dev");
    world.settle();
    assert_eq!(data(&world), before);
    assert_eq!(deployment(&world), running, "its pods were never touched");
}

#[test]
fn nothing_of_a_protected_slot_is_touched_while_its_group_is_deleted() {
    let mut world = settled(true);
    let before = world.summary();
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(now()));
    for _ in 0..5 {
        world.round();
    }
    assert_eq!(world.summary(), before);
    let status = world.group.as_ref().unwrap().status.clone().unwrap();
    let blocked = status.conditions.iter().find(|condition| condition.type_ == "DeletionBlocked").unwrap();
    assert_eq!((blocked.status.as_str(), blocked.reason.as_str()), ("True", reasons::DELETION_PROTECTED));
    assert!(blocked.message.contains("set deletionProtection to false in spec.slots of the ResourceGroup pcasia"), "{}", blocked.message);
    // Even if somebody deletes the Slot as well.
    world.delete_slot_by_a_side_door("pcasia-dev");
    world.round();
    assert_eq!(self::blocked(&world, "dev").0, reasons::DELETION_PROTECTED);
    world.edit_group(|group| group.spec.slots.iter_mut().for_each(|slot| slot.deletion_protection = false));
    for _ in 0..12 {
        world.round();
    }
    assert!(world.group.is_none());
}

#[test]
fn the_namespace_says_that_its_slot_is_protected_and_no_more_when_it_goes() {
    let mut world = settled(true);
    let label = |world: &World| {
        world.objects[&key("Namespace", "", "pcasia-staging")]["metadata"]["labels"]["tenantry.dev/deletion-protection"].clone()
    };
    assert_eq!(label(&world), "true");
    // Both at once, as an operator sees it that was away meanwhile.
    world.edit_group(|group| {
        group.spec.slots[1].deletion_protection = false;
        group.spec.slots.remove(1);
    });
    let facts = world.group_facts();
    while world.slots().len() > 1 {
        world.round();
    }
    let plan = tenantry_plan::group(world.group.as_ref().unwrap(), &world.group_facts());
    drop(facts);
    let steps: Vec<&Step> = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps).collect();
    assert!(matches!(steps.as_slice(), [Step::Apply(_), Step::Delete(_)]), "{steps:?}");
}

#[test]
fn a_deleted_definition_touches_no_protected_slot_and_retains_the_databases_of_others() {
    for protected in [false, true] {
        let mut world = settled(protected);
        let before = data(&world);
        world.doomed_definitions = vec!["resourcegroups.tenantry.dev".into(), "slots.tenantry.dev".into()];
        world.edit_group(|group| group.metadata.deletion_timestamp = Some(now()));
        for namespace in ["pcasia-dev", "pcasia-staging"] {
            world.delete_slot_by_a_side_door(namespace);
        }
        for _ in 0..12 {
            world.round();
        }
        assert_eq!(data(&world), before);
        let retained =
            |world: &World| world.databases.values().all(|facts| facts.comment.clone().flatten().unwrap().contains(" retained="));
        assert_eq!(retained(&world), !protected);
        if protected {
            let (reason, message) = blocked(&world, "dev");
            assert_eq!(reason, reasons::DEFINITION_DELETED);
            assert!(message.contains("resourcegroups.tenantry.dev"), "{message}");
            assert!(world.objects.contains_key(&key("Deployment", "pcasia-dev", "campaigns-api")));
            world.edit_group(|group| group.spec.slots.iter_mut().for_each(|slot| slot.deletion_protection = false));
            for _ in 0..12 {
                world.round();
            }
        }
        assert!(world.group.is_none() && retained(&world));
        assert_eq!(data(&world), before);
    }
}

#[test]
fn a_slot_that_is_seen_deleted_before_its_group_retains_its_database_when_both_definitions_go() {
    let mut world = settled(false);
    world.doomed_definitions = vec!["resourcegroups.tenantry.dev".into(), "slots.tenantry.dev".into()];
    world.delete_slot_by_a_side_door("pcasia-dev");
    let slot = world.slot("dev");
    for _ in 0..12 {
        if world.slots().iter().any(|found| found.metadata.uid == slot.metadata.uid) {
            world.reconcile_slot(&world.slot("dev"));
            world.tick();
        }
    }
    let comment =
        world.databases.values().filter_map(|facts| facts.comment.clone().flatten()).find(|comment| comment.contains(" retained="));
    assert!(comment.is_some(), "it would stay behind, marked as in use");
}

#[test]
fn slots_whose_definition_alone_was_deleted_are_let_go_and_their_pods_run_on() {
    let mut world = settled(false);
    let before = data(&world);
    world.doomed_definitions = vec!["slots.tenantry.dev".into()];
    world.delete_slot_by_a_side_door("pcasia-dev");
    world.reconcile_slot(&world.slot("dev"));
    assert_eq!(world.slots().len(), 1);
    assert!(world.objects.contains_key(&key("Deployment", "pcasia-dev", "campaigns-api")));
    // The definition is back.
    world.doomed_definitions = Vec::new();
    world.settle();
    assert_eq!(data(&world), before);
}

#[test]
fn nothing_is_owned_by_an_object_whose_deletion_would_take_it_along() {
    let world = settled(true);
    let owned: Vec<_> = world.objects.iter().filter(|(_, object)| !object["metadata"]["ownerReferences"].is_null()).collect();
    assert!(owned.is_empty(), "{owned:#?}");
    assert!(["Namespace", "Secret", "Slot"].iter().all(|kind| world.objects.keys().any(|(found, ..)| found == kind)));
}

/// What happens to a world beside its operator.
#[derive(Debug, Clone)]
enum Door {
    Namespace(&'static str),
    Slot(&'static str),
    Status,
    Definitions,
    Protect(bool),
    Remove,
    Delete,
    Round,
    Killed(usize),
}

fn doors() -> impl Strategy<Value = Vec<Door>> {
    let namespace = prop_oneof![Just("pcasia-dev"), Just("pcasia-staging")];
    let door = prop_oneof![
        namespace.clone().prop_map(Door::Namespace),
        namespace.prop_map(Door::Slot),
        Just(Door::Status),
        Just(Door::Definitions),
        any::<bool>().prop_map(Door::Protect),
        Just(Door::Remove),
        Just(Door::Delete),
        Just(Door::Round),
        Just(Door::Round),
        (0_usize..10).prop_map(Door::Killed),
    ];
    prop::collection::vec(door, 0..14)
}

fn drops_data(plan: &Plan) -> bool {
    let steps = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    steps.into_iter().any(|step| matches!(step, Step::Database(DatabaseStep::DropDatabase { .. })))
}

/// Every plan that the world's slots would get now drops nothing, unless the group gave the slot up.
fn no_plan_drops_what_the_group_keeps(world: &World) -> Result<(), TestCaseError> {
    let group = world.group.as_ref();
    for slot in world.slots() {
        let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
        let template = group.and_then(|group| group.spec.slots.iter().find(|template| Some(&template.name) == slot.metadata.name.as_ref()));
        let deleted = group.is_none_or(|group| group.metadata.deletion_timestamp.is_some());
        let kept = template.is_some_and(|template| !deleted || template.deletion_protection) || !world.doomed_definitions.is_empty();
        prop_assert!(!(kept && drops_data(&plan)), "{plan:#?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn by_no_door_does_a_plan_drop_what_the_group_keeps(doors in doors(), protected in any::<bool>()) {
        let mut world = settled(protected);
        for door in doors {
            if world.group.is_none() {
                break;
            }
            match door {
                Door::Namespace(namespace) => world.delete_namespace_by_a_side_door(namespace),
                Door::Slot(namespace) => world.delete_slot_by_a_side_door(namespace),
                Door::Status => world.lose_statuses(),
                Door::Definitions => world.doomed_definitions = vec!["slots.tenantry.dev".into()],
                Door::Protect(protected) => world.edit_group(|group| {
                    group.spec.slots.iter_mut().for_each(|slot| slot.deletion_protection = protected);
                }),
                // As the API server admits it.
                Door::Remove => world.edit_group(|group| group.spec.slots.retain(|slot| slot.deletion_protection || slot.name == "dev")),
                Door::Delete => world.edit_group(|group| group.metadata.deletion_timestamp = Some(now())),
                Door::Round => {
                    world.round();
                }
                Door::Killed(life) => {
                    world.life = Some(life);
                    world.round();
                    world.life = None;
                }
            }
            no_plan_drops_what_the_group_keeps(&world)?;
        }
    }
}
