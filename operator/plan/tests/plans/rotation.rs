//! Credentials are rotated without a moment in which a pod has none that PostgreSQL accepts.

use insta::assert_yaml_snapshot;
use proptest::prelude::*;
use serde_json::json;
use tenantry_crds::CredentialRotation;
use tenantry_plan::{DatabaseStep, Plan, RoleFacts, SlotIdentity, Step, TrackName, reasons};

use crate::world::{World, key};

const HOUR: i64 = 3600;

fn settled() -> World {
    let mut world = World::new();
    world.settle();
    world
}

fn ask(world: &mut World, generation: u32, every: Option<&str>) {
    world.edit_group(|group| group.spec.credential_rotation = Some(CredentialRotation { every: every.map(str::to_owned), generation }));
}

fn plan(world: &World) -> Plan {
    let slot = world.slot("dev");
    tenantry_plan::slot(&slot, &world.slot_facts(&slot))
}

fn role<'w>(world: &'w World, purpose: &str) -> Option<&'w RoleFacts> {
    let database = SlotIdentity::of(&world.slot("dev"), "cluster-uid").database();
    world.databases[&database].roles.get(&format!("{database}_campaigns_{purpose}"))
}

/// The login that pods find, by the end of its name.
fn login_of_pods(world: &World) -> String {
    let secret = &world.objects[&key("Secret", "pcasia-dev", "campaigns-database")];
    let name = data_encoding::BASE64.decode(secret["data"]["username"].as_str().unwrap().as_bytes()).unwrap();
    String::from_utf8(name).unwrap().rsplit('_').next().unwrap().to_owned()
}

fn steps(plan: &Plan) -> Vec<&DatabaseStep> {
    let steps = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    steps.filter_map(|step| if let Step::Database(step) = step { Some(step) } else { None }).collect()
}

fn generation(world: &World) -> u32 {
    world.slot("dev").status.unwrap().services[0].credential.as_ref().unwrap().generation
}

#[test]
fn a_rotation_makes_the_other_login_then_turns_the_pods_to_it_then_ends_the_former() {
    let mut world = settled();
    ask(&mut world, 1, None);
    world.reconcile_group();
    assert_yaml_snapshot!("rotation_1_login", plan(&world));
    world.reconcile_slot(&world.slot("dev"));
    assert_eq!(login_of_pods(&world), "a", "the pods keep their login until the other has all its rights");
    assert_yaml_snapshot!("rotation_2_pods", plan(&world));
    world.reconcile_slot(&world.slot("dev"));
    assert_eq!(login_of_pods(&world), "b");
    assert!(role(&world, "a").unwrap().login);
    let condition = |world: &World, kind: &str| {
        let conditions = world.slot("dev").status.unwrap().conditions;
        let found = conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    };
    assert_eq!(condition(&world, "Reconciling"), ("True".to_owned(), reasons::ROTATING_CREDENTIALS.to_owned()));
    assert_eq!(condition(&world, "DataServicesReady").0, "True");
    world.tick();
    assert_yaml_snapshot!("rotation_3_retirement", plan(&world));
    world.settle();
    assert!(!role(&world, "a").unwrap().login && role(&world, "b").unwrap().login);
    let credential = world.slot("dev").status.unwrap().services[0].credential.clone().unwrap();
    assert_eq!((credential.generation, credential.since.as_str()), (2, "2026-01-01T00:00:00Z"));
}

#[test]
fn the_former_login_stays_while_a_pod_of_before_is_there_even_if_it_is_ending() {
    let mut world = settled();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "campaigns-x", "namespace": "pcasia-dev", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app.kubernetes.io/managed-by": "tenantry", "tenantry.dev/service": "campaigns", "tenantry.dev/role": "worker" },
            "annotations": { "tenantry.dev/credential": "former" },
        },
        "spec": { "containers": [] },
    });
    let pod_key = key("Pod", "pcasia-dev", "campaigns-x");
    world.objects.insert(pod_key.clone(), pod);
    ask(&mut world, 1, None);
    for _ in 0..10 {
        world.round();
    }
    assert_eq!(login_of_pods(&world), "b");
    assert!(role(&world, "a").unwrap().login);
    let wait = plan(&world).track(TrackName::Data).unwrap().wait.clone().unwrap();
    assert_eq!(wait.reason, reasons::ROTATING_CREDENTIALS);
    assert!(wait.message.contains("campaigns, generation 2, is ready, and the pods move to it"), "{}", wait.message);
    world.objects.remove(&pod_key);
    world.settle();
    assert!(!role(&world, "a").unwrap().login);
}

#[test]
fn a_login_is_replaced_when_it_has_grown_old_and_no_earlier() {
    let mut world = settled();
    ask(&mut world, 0, Some("720h"));
    world.settle();
    world.postgres_clock += 720 * HOUR - 1;
    world.settle();
    assert_eq!(generation(&world), 1);
    world.postgres_clock += 1;
    world.settle();
    assert_eq!((generation(&world), login_of_pods(&world).as_str()), (2, "b"));
    world.postgres_clock += 719 * HOUR;
    world.settle();
    assert_eq!(generation(&world), 2);
    world.postgres_clock += HOUR;
    world.settle();
    assert_eq!((generation(&world), login_of_pods(&world).as_str()), (3, "a"));
}

#[test]
fn a_number_that_is_raised_asks_once_and_one_that_is_lowered_never() {
    let mut world = settled();
    for (asked, expected) in [(4, 2), (4, 2), (3, 2), (0, 2), (4, 2), (5, 3)] {
        ask(&mut world, asked, None);
        world.settle();
        assert_eq!(generation(&world), expected, "after {asked}");
    }
    let before = world.summary();
    world.edit_group(|group| group.spec.credential_rotation = None);
    world.settle();
    assert_eq!(generation(&world), 3);
    assert_eq!(world.summary()["databases"], before["databases"]);
}

#[test]
fn a_lost_status_and_lost_secrets_do_not_disturb_a_rotation() {
    for rounds in 0..6 {
        let mut world = settled();
        ask(&mut world, 1, None);
        for _ in 0..rounds {
            world.round();
        }
        for ((kind, ..), object) in &mut world.objects {
            if kind == "Slot" {
                object.as_object_mut().unwrap().remove("status");
            }
        }
        world.objects.retain(|(kind, ..), _| kind != "Secret");
        world.settle();
        assert_eq!((generation(&world), login_of_pods(&world).as_str()), (2, "b"), "after {rounds} rounds");
        assert!(!role(&world, "a").unwrap().login);
    }
}

#[test]
fn while_postgresql_does_not_answer_the_pods_keep_their_login() {
    let mut world = settled();
    ask(&mut world, 1, None);
    world.settle();
    world.postgres_is_down = true;
    ask(&mut world, 2, None);
    for _ in 0..4 {
        world.round();
    }
    assert_eq!(login_of_pods(&world), "b");
    assert!(steps(&plan(&world)).is_empty());
    assert!(world.objects.contains_key(&key("Secret", "pcasia-dev", "campaigns-migration")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn killed_anywhere_in_a_rotation_it_ends_as_if_it_had_not_been(lives in prop::collection::vec(0_usize..12, 0..8)) {
        let mut unkilled = settled();
        ask(&mut unkilled, 1, None);
        unkilled.settle();
        let mut killed = settled();
        ask(&mut killed, 1, None);
        for life in lives {
            killed.life = Some(life);
            killed.round();
            // At every moment there is a login that PostgreSQL accepts and the pods find.
            let login = login_of_pods(&killed);
            prop_assert!(role(&killed, &login).unwrap().login);
        }
        killed.life = None;
        killed.settle();
        prop_assert_eq!(killed.summary(), unkilled.summary());
    }
}
