//! What cannot be decided at admission: it stalls the slot alone, what runs is untouched, and the message says what to write.

use tenantry_crds::ResourceGroup;
use tenantry_plan::{Step, TrackName, reasons};

use crate::world::{World, key};

/// Settles, edits, and gives reason and message of the stall of `dev`; the other slot must be settled, nothing of `dev`'s may
/// have changed.
fn stall(edit: impl FnOnce(&mut ResourceGroup)) -> (String, String) {
    let mut world = World::new();
    world.settle();
    let running = world.objects[&key("Deployment", "pcasia-dev", "campaigns-api")].clone();
    world.edit_group(edit);
    for _ in 0..4 {
        world.round();
    }
    assert_eq!(running, world.objects[&key("Deployment", "pcasia-dev", "campaigns-api")]);
    let staging = world.slot("staging");
    assert!(tenantry_plan::slot(&staging, &world.slot_facts(&staging)).is_settled());
    let status = world.slot("dev").status.unwrap();
    assert_eq!(status.running_release.as_deref(), Some("v1"));
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled").unwrap().clone();
    assert_eq!(stalled.status, "True");
    let group = world.group.unwrap().status.unwrap();
    assert_eq!(group.ready_slots.as_deref(), Some("1/2"));
    assert!(group.conditions.iter().any(|condition| condition.type_ == "Stalled" && condition.status == "True"));
    (stalled.reason, stalled.message)
}

#[test]
fn an_unknown_release_stalls() {
    let (reason, message) = stall(|group| group.spec.slots[0].release = Some("v9".into()));
    assert_eq!(reason, reasons::UNKNOWN_RELEASE);
    assert!(message.starts_with("there is no Release v9;"), "{message}");
}

#[test]
fn an_unknown_size_stalls_and_the_message_lists_those_there_are() {
    let (reason, message) = stall(|group| group.spec.slots[0].size = "huge".into());
    assert_eq!(reason, reasons::UNKNOWN_SIZE);
    assert_eq!(message, "the class standard has no size huge; write one of: elastic, large, small");
}

#[test]
fn a_setting_of_the_wrong_type_stalls_with_its_path() {
    let (reason, message) = stall(|group| {
        group.spec.slots[0].services.get_mut("campaigns").unwrap().settings = serde_json::json!({ "baseCurrency": 7 });
    });
    assert_eq!(reason, reasons::INVALID_SETTINGS);
    assert!(message.starts_with("services.campaigns.settings.baseCurrency: 7 is not of type \"string\""), "{message}");
}

#[test]
fn an_unknown_service_stalls_a_pinned_slot_but_not_a_promoted_one() {
    let (reason, message) = stall(|group| {
        group
            .spec
            .services
            .insert("nothing".into(), tenantry_crds::ServiceSettings { settings: serde_json::json!({}), ..Default::default() });
    });
    assert_eq!(reason, reasons::UNKNOWN_SERVICE);
    assert!(message.contains("has no service nothing; it has: campaigns, greeter"), "{message}");
}

#[test]
fn a_server_without_room_stalls() {
    let mut world = World::new();
    world.settle();
    let name = world.slot("dev").status.unwrap().database.unwrap().name;
    world.databases.get_mut(&name).unwrap().promised_connections = 190;
    world.edit_group(|group| group.spec.slots[0].size = "large".into());
    world.round();
    let plan = tenantry_plan::slot(&world.slot("dev"), &world.slot_facts(&world.slot("dev")));
    assert_eq!(plan.track(TrackName::Data).unwrap().stall.as_ref().unwrap().reason, reasons::POSTGRES_SERVER_FULL);
}

#[test]
fn a_namespace_that_is_not_ours_stalls_its_slot_and_no_other() {
    let mut world = World::new();
    let foreign = serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "pcasia-dev", "uid": "theirs" } });
    world.objects.insert(key("Namespace", "", "pcasia-dev"), foreign.clone());
    for _ in 0..12 {
        world.round();
    }
    assert_eq!(world.objects[&key("Namespace", "", "pcasia-dev")], foreign);
    let plan = tenantry_plan::group(world.group.as_ref().unwrap(), &world.group_facts());
    let stalled: Vec<_> = plan.tracks.iter().filter_map(|track| Some((track.slot.clone()?, track.stall.as_ref()?.reason))).collect();
    assert_eq!(stalled, [("dev".to_owned(), reasons::NAMESPACE_NOT_OURS)]);
    let staging = world.slot("staging");
    assert_eq!(staging.status.unwrap().running_release.as_deref(), Some("v1"));
    // Not even a deletion touches it.
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(crate::world::now()));
    for _ in 0..10 {
        world.round();
    }
    assert!(world.group.is_none());
    assert_eq!(world.objects[&key("Namespace", "", "pcasia-dev")], foreign);
}

#[test]
fn a_promoted_slot_takes_its_initial_release_once_and_no_later_change() {
    let mut world = World::new();
    world.settle();
    let before = world.slot("staging").spec.revision.unwrap();
    world.edit_group(|group| {
        group.spec.slots[1].initial_release = Some("v2".into());
        group.spec.slots[1].size = "large".into();
        group.spec.services.get_mut("campaigns").unwrap().settings = serde_json::json!({ "grace": 8 });
    });
    world.settle();
    let staging = world.slot("staging");
    assert_eq!(staging.spec.size, "large");
    assert_eq!(staging.spec.revision.unwrap(), before);
}

#[test]
fn a_pinned_slot_that_becomes_promoted_keeps_what_it_runs() {
    let mut world = World::new();
    world.settle();
    let before = world.slot("dev").spec.revision;
    world.edit_group(|group| {
        group.spec.slots[0].release = None;
        group.spec.slots[0].promote_from = Some("staging".into());
    });
    world.settle();
    assert_eq!(world.slot("dev").spec.revision, before);
}

#[test]
fn a_promoted_slot_without_initial_release_awaits_its_promotion_isolated() {
    let mut world = World::new();
    world.edit_group(|group| group.spec.slots[1].initial_release = None);
    for _ in 0..10 {
        world.round();
    }
    let staging = world.slot("staging");
    let conditions = staging.status.clone().unwrap().conditions;
    let state: Vec<_> = conditions
        .iter()
        .take(3)
        .map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str()))
        .collect();
    let reason = reasons::AWAITING_PROMOTION;
    assert_eq!(state, [("Ready", "False", reason), ("Reconciling", "False", reason), ("Stalled", "False", reason)]);
    assert!(world.objects.contains_key(&key("NetworkPolicy", "pcasia-staging", "default-deny")));
    let plan = tenantry_plan::slot(&staging, &world.slot_facts(&staging));
    assert!(!plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps).any(|step| matches!(step, Step::Database(_))));
}
