//! A retained database is taken over by its name, and nothing else is.

use tenantry_crds::{DatabaseAdoption, DeletionPolicy, PostgresServer};
use tenantry_plan::{SlotIdentity, TrackName, reasons};

use crate::fixtures;
use crate::world::{World, now};

/// A world in which a former group has left the databases of its slots behind, and a new one of the same name is to come.
fn after_a_group() -> World {
    let mut world = World::new();
    world.edit_group(|group| group.spec.deletion_policy = DeletionPolicy::Retain);
    world.settle();
    world.edit_group(|group| group.metadata.deletion_timestamp = Some(now()));
    for _ in 0..12 {
        world.round();
    }
    assert!(world.group.is_none());
    let mut group = fixtures::group();
    group.metadata.uid = Some("another-uid".into());
    group.spec.slots.truncate(1);
    world.group = Some(group);
    world
}

fn identity(group: &str) -> SlotIdentity {
    SlotIdentity { cluster_uid: "cluster-uid".into(), group_uid: group.into(), slot: "dev".into() }
}

fn adopt(world: &mut World, name: &str, server: &str) {
    let adoption = DatabaseAdoption { server: server.into(), name: name.into() };
    world.edit_group(|group| group.spec.slots[0].adopt_database = Some(adoption));
}

fn stall(world: &mut World) -> (&'static str, String) {
    for _ in 0..6 {
        world.round();
    }
    let slot = world.slot("dev");
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    let stall = plan.track(TrackName::Data).unwrap().stall.clone().unwrap();
    (stall.reason, stall.message)
}

#[test]
fn a_new_group_takes_a_retained_database_over_by_its_name() {
    let mut world = after_a_group();
    let (source, name) = (identity("group-uid").database(), identity("another-uid").database());
    let versions = world.databases[&source].schemas["campaigns"].version;
    adopt(&mut world, &source, "main");
    world.settle();
    let facts = &world.databases[&name];
    assert_eq!(facts.schemas["campaigns"].version, versions);
    assert_eq!(facts.schemas["campaigns"].owner, format!("{name}_campaigns_owner"));
    assert!(identity("another-uid").owns(facts.comment.clone().flatten().as_deref()));
    assert!(facts.roles.values().all(|role| identity("another-uid").owns(role.comment.as_deref())));
    assert_eq!(facts.roles.values().filter(|role| role.login).count(), 2);
    assert!(world.databases.get(&source).is_none_or(|source| source.comment.is_none()));
    // Its schema goes on with its migrations, and the annotation of the past has no effect any more.
    world.edit_group(|group| group.spec.slots[0].release = Some("v2".into()));
    world.settle();
    assert_eq!(world.databases[&name].schemas["campaigns"].version, Some(4));
}

#[test]
fn a_server_that_was_named_wrongly_at_first_is_left_for_the_right_one() {
    let mut world = after_a_group();
    let (source, name) = (identity("group-uid").database(), identity("another-uid").database());
    let servers = &mut world.class.as_mut().unwrap().spec.postgres.servers;
    servers.push(PostgresServer { name: "other".into(), ..servers[0].clone() });
    servers[0].drain = true;
    adopt(&mut world, &source, "other");
    let (reason, message) = stall(&mut world);
    assert_eq!(reason, reasons::DATABASE_NOT_FOUND);
    assert!(message.contains("which the server other does not have"), "{message}");
    adopt(&mut world, &source, "main");
    world.settle();
    assert_eq!(world.slot("dev").status.unwrap().database.unwrap().server, "main");
    assert!(identity("another-uid").owns(world.databases[&name].comment.clone().flatten().as_deref()));
    assert!(world.elsewhere.get("other").is_none_or(|found| found.is_empty()), "nothing was made there");
    // Once it has a database, the slot stays: what is written later has no effect.
    adopt(&mut world, &source, "other");
    world.settle();
    assert_eq!(world.slot("dev").status.unwrap().database.unwrap().server, "main");
}

#[test]
fn never_by_chance_of_a_name() {
    let mut world = after_a_group();
    world.settle();
    let (source, name) = (identity("group-uid").database(), identity("another-uid").database());
    assert!(identity("group-uid").has_retained(world.databases[&source].comment.clone().flatten().as_deref()));
    assert!(world.databases[&name].comment.is_some(), "a fresh one was made");
}

#[test]
fn what_is_in_use_or_foreign_or_missing_is_refused_and_nothing_is_made() {
    let mut world = after_a_group();
    let source = identity("group-uid").database();
    let name = identity("another-uid").database();
    for (comment, server, reason) in [
        (Some(identity("group-uid").comment().to_string()), "main", reasons::DATABASE_NOT_RETAINED),
        (None, "main", reasons::DATABASE_NOT_RETAINED),
        (Some("somebody's retained=yes".into()), "main", reasons::DATABASE_NOT_RETAINED),
        (world.databases[&source].comment.clone().flatten(), "elsewhere", reasons::DATABASE_NOT_FOUND),
    ] {
        world.databases.get_mut(&source).unwrap().comment = Some(comment.clone());
        adopt(&mut world, &source, server);
        let (found, message) = stall(&mut world);
        assert_eq!(found, reason, "{message}");
        assert_eq!(world.databases[&source].comment, Some(comment));
        assert!(world.databases.get(&name).is_none_or(|facts| facts.comment.is_none()));
    }
    adopt(&mut world, "taaaaaaaaaaaaaaaa", "main");
    let (reason, message) = stall(&mut world);
    assert_eq!(reason, reasons::DATABASE_NOT_FOUND);
    assert!(message.contains("status.retainedDatabases of the ResourceGroupClass standard"), "{message}");
}

#[test]
fn a_slot_that_is_added_again_does_not_take_its_former_database_by_itself() {
    let mut world = World::new();
    world.edit_group(|group| group.spec.deletion_policy = DeletionPolicy::Retain);
    world.settle();
    let template = world.group.as_ref().unwrap().spec.slots[0].clone();
    world.edit_group(|group| group.spec.slots.clear());
    world.settle();
    world.edit_group(|group| group.spec.slots = vec![template]);
    let (reason, message) = stall(&mut world);
    let name = identity("group-uid").database();
    assert_eq!(reason, reasons::DATABASE_RETAINED);
    assert!(message.contains(&format!("adoptDatabase: {{ server: main, name: {name} }}")), "{message}");
    adopt(&mut world, &name, "main");
    world.settle();
    assert_eq!(world.databases[&name].schemas["campaigns"].version, Some(3));
    assert!(identity("group-uid").owns(world.databases[&name].comment.clone().flatten().as_deref()));
}
