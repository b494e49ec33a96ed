//! Which PostgreSQL server a slot's database is made on, and that it is found there again.

use tenantry_crds::PostgresServer;
use tenantry_plan::{Step, TrackName, reasons};

use crate::world::World;

/// A world whose class offers these servers, each with that many connections.
fn with_servers(servers: &[(&str, u32)]) -> World {
    let mut world = World::new();
    let class = world.class.as_mut().unwrap();
    let main = class.spec.postgres.servers[0].clone();
    class.spec.postgres.servers =
        servers.iter().map(|(name, limit)| PostgresServer { name: (*name).to_owned(), connection_limit: *limit, ..main.clone() }).collect();
    world
}

fn server(world: &mut World, name: &str, edit: impl FnOnce(&mut PostgresServer)) {
    let servers = &mut world.class.as_mut().unwrap().spec.postgres.servers;
    edit(servers.iter_mut().find(|server| server.name == name).unwrap());
}

fn place(world: &World, slot: &str) -> String {
    world.slot(slot).status.unwrap().database.unwrap().server
}

fn stall(world: &World, slot: &str) -> Option<(&'static str, String)> {
    let slot = world.slot(slot);
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    plan.track(TrackName::Data).unwrap().stall.as_ref().map(|stall| (stall.reason, stall.message.clone()))
}

fn wait(world: &World, slot: &str) -> Option<&'static str> {
    let slot = world.slot(slot);
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    plan.track(TrackName::Data).unwrap().wait.as_ref().map(|wait| wait.reason)
}

/// Forgets all that the cluster knows of a slot's place.
fn wipe(world: &mut World, slot: &str, secrets_too: bool) {
    let namespace = format!("pcasia-{slot}");
    for ((kind, within, _), object) in &mut world.objects {
        if kind == "Slot" && *within == namespace {
            object.as_object_mut().unwrap().remove("status");
        }
    }
    if secrets_too {
        world.objects.retain(|(kind, within, _), _| kind != "Secret" || *within != namespace);
    }
}

#[test]
fn slots_go_where_the_largest_share_stays_free_and_of_equals_to_the_first_by_name() {
    let mut world = with_servers(&[("b", 200), ("a", 200)]);
    world.settle();
    assert_eq!((place(&world, "dev"), place(&world, "staging")), ("a".to_owned(), "b".to_owned()));
    let mut world = with_servers(&[("main", 100), ("large", 1000)]);
    world.settle();
    assert_eq!((place(&world, "dev"), place(&world, "staging")), ("large".to_owned(), "large".to_owned()));
    assert!(world.databases.is_empty());
}

#[test]
fn a_full_and_a_drained_server_are_passed_over_and_their_slots_stay() {
    let mut world = with_servers(&[("main", 200), ("other", 200)]);
    world.promised.insert("main".into(), 190);
    server(&mut world, "other", |other| other.connection_limit = 100);
    world.settle();
    assert_eq!((place(&world, "dev"), place(&world, "staging")), ("other".to_owned(), "other".to_owned()));
    world.promised.clear();
    server(&mut world, "other", |other| other.drain = true);
    world.edit_group(|group| {
        let mut third = group.spec.slots[0].clone();
        third.name = "qa".into();
        group.spec.slots.push(third);
    });
    world.settle();
    assert_eq!((place(&world, "dev"), place(&world, "qa")), ("other".to_owned(), "main".to_owned()));
}

#[test]
fn without_room_anywhere_the_slot_stalls_and_the_message_says_what_to_do() {
    let mut world = with_servers(&[("main", 200), ("other", 200)]);
    world.promised = [("main".to_owned(), 190), ("other".to_owned(), 3)].into();
    server(&mut world, "other", |other| other.drain = true);
    for _ in 0..6 {
        world.round();
    }
    let (reason, message) = stall(&world, "dev").unwrap();
    assert_eq!(reason, reasons::POSTGRES_SERVER_FULL);
    assert!(message.contains("main has promised 190 of 200; other has promised 3 of 200, and it is drained; raise"), "{message}");
    assert!(world.slot("dev").status.unwrap().database.is_none());
    server(&mut world, "other", |other| other.drain = false);
    world.settle();
    assert_eq!(place(&world, "dev"), "other");
}

#[test]
fn an_unreachable_server_holds_up_its_own_slots_alone() {
    let mut world = with_servers(&[("main", 200), ("other", 200)]);
    world.down.insert("main".into());
    world.settle();
    assert_eq!((place(&world, "dev"), place(&world, "staging")), ("other".to_owned(), "other".to_owned()));
    world.down = ["other".to_owned()].into();
    assert_eq!(wait(&world, "dev"), Some("PostgresUnreachable"));
    world.edit_group(|group| {
        let mut third = group.spec.slots[0].clone();
        third.name = "qa".into();
        group.spec.slots.push(third);
    });
    for _ in 0..12 {
        world.round();
    }
    assert_eq!(place(&world, "qa"), "main");
    assert_eq!(world.slot("qa").status.unwrap().running_release.as_deref(), Some("v1"));
}

#[test]
fn a_slot_is_found_again_by_its_secrets_and_by_its_comment_when_its_status_is_lost() {
    for secrets_too in [false, true] {
        let mut world = with_servers(&[("main", 200), ("other", 200)]);
        world.settle();
        let (before, first) = (world.summary(), place(&world, "dev"));
        wipe(&mut world, "dev", secrets_too);
        // By its free share the slot would be placed elsewhere.
        world.promised.insert(first.clone(), 150);
        world.settle();
        assert_eq!(place(&world, "dev"), first);
        assert_eq!(world.summary(), before);
    }
}

#[test]
fn a_slot_that_ran_gets_no_other_database_while_its_server_may_be_the_silent_one() {
    let mut world = with_servers(&[("main", 200), ("other", 200)]);
    world.settle();
    let first = place(&world, "dev");
    wipe(&mut world, "dev", true);
    world.down.insert(first.clone());
    for _ in 0..6 {
        world.round();
    }
    assert_eq!(wait(&world, "dev"), Some("PostgresUnreachable"));
    assert!(world.slot("dev").status.unwrap().database.is_none());
    world.down.clear();
    world.settle();
    assert_eq!(place(&world, "dev"), first);
}

#[test]
fn of_two_slots_that_were_given_the_last_room_the_slower_goes_elsewhere() {
    let mut world = with_servers(&[("main", 200), ("other", 40)]);
    world.reconcile_group();
    while world.slots().is_empty() {
        world.reconcile_group();
    }
    let slot = world.slot("dev");
    world.reconcile_slot(&slot);
    assert_eq!(place(&world, "dev"), "main");
    assert!(world.databases.is_empty());
    world.promised.insert("main".into(), 195);
    world.settle();
    assert_eq!(place(&world, "dev"), "other");
    assert!(world.databases.is_empty(), "nothing was made on the server that was full");
}

#[test]
fn a_server_that_left_the_class_stalls_its_slot_and_is_never_replaced() {
    let mut world = with_servers(&[("main", 200), ("other", 200)]);
    world.settle();
    let first = place(&world, "dev");
    world.class.as_mut().unwrap().spec.postgres.servers.retain(|server| server.name != first);
    for _ in 0..4 {
        world.round();
    }
    let (reason, message) = stall(&world, "dev").unwrap();
    assert_eq!(reason, reasons::DATABASE_ELSEWHERE);
    assert!(message.contains(&first), "{message}");
    assert_eq!(place(&world, "dev"), first);
}

#[test]
fn a_database_in_two_places_stalls_rather_than_being_chosen() {
    let mut world = with_servers(&[("main", 200), ("other", 200)]);
    world.settle();
    let name = world.slot("dev").status.unwrap().database.unwrap().name;
    let copy = world.databases_of(&place(&world, "dev")).unwrap()[&name].clone();
    wipe(&mut world, "dev", true);
    world.databases.insert(name.clone(), copy.clone());
    world.elsewhere.entry("other".into()).or_default().insert(name, copy);
    let (reason, message) = stall(&world, "dev").unwrap();
    assert_eq!(reason, reasons::DATABASE_ELSEWHERE);
    assert!(message.contains("main, other"), "{message}");
    let mut slot = world.slot("dev");
    slot.metadata.deletion_timestamp = Some(crate::world::now());
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    let mut steps = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    assert!(!steps.any(|step| matches!(step, Step::Database(_))));
}

#[test]
fn a_deleted_slot_without_a_record_is_dropped_where_it_is() {
    let mut world = with_servers(&[("main", 200), ("other", 200)]);
    world.settle();
    for slot in ["dev", "staging"] {
        wipe(&mut world, slot, true);
    }
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(crate::world::now()));
    for _ in 0..12 {
        world.round();
    }
    assert!(world.group.is_none());
    let all = world.databases.values().chain(world.elsewhere.values().flatten().map(|(_, facts)| facts));
    assert!(all.into_iter().all(|facts| facts.comment.is_none() && facts.roles.is_empty()));
}
