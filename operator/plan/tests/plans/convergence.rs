//! Whatever is changed, whatever is broken, and wherever the operator is killed: the next runs lead to the same state.

use proptest::prelude::*;
use serde_json::json;

use crate::world::World;

/// What a user does, or what happens.
#[derive(Debug, Clone)]
enum Event {
    Release(&'static str),
    Size(&'static str),
    Setting(i64),
    RemoveService(&'static str),
    AddServices,
    RemoveStaging,
    AddStaging,
    /// Somebody deletes one of the operator's objects.
    Loss(prop::sample::Index),
    /// Somebody edits one.
    Drift(prop::sample::Index),
    Round,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        prop_oneof![Just("v1"), Just("v2")].prop_map(Event::Release),
        prop_oneof![Just("small"), Just("large"), Just("elastic")].prop_map(Event::Size),
        (0_i64..9).prop_map(Event::Setting),
        prop_oneof![Just("campaigns"), Just("greeter")].prop_map(Event::RemoveService),
        Just(Event::AddServices),
        Just(Event::RemoveStaging),
        Just(Event::AddStaging),
        any::<prop::sample::Index>().prop_map(Event::Loss),
        any::<prop::sample::Index>().prop_map(Event::Drift),
        Just(Event::Round),
        Just(Event::Round),
    ];
    prop::collection::vec(event, 0..8)
}

fn happen(world: &mut World, event: &Event) {
    let fresh = crate::fixtures::group();
    match event {
        Event::Release(release) => world.edit_group(|group| group.spec.slots[0].release = Some((*release).to_owned())),
        Event::Size(size) => world.edit_group(|group| group.spec.slots.iter_mut().for_each(|slot| slot.size = (*size).to_owned())),
        Event::Setting(grace) => world.edit_group(|group| {
            if let Some(service) = group.spec.services.get_mut("campaigns") {
                service.settings = json!({ "grace": grace });
            }
        }),
        Event::RemoveService(service) => world.edit_group(|group| {
            group.spec.services.remove(*service);
            group.spec.slots.iter_mut().for_each(|slot| {
                slot.services.remove(*service);
            });
        }),
        Event::AddServices => world.edit_group(|group| group.spec.services = fresh.spec.services.clone()),
        Event::RemoveStaging => world.edit_group(|group| group.spec.slots.truncate(1)),
        Event::AddStaging => world.edit_group(|group| {
            if group.spec.slots.len() < 2 {
                group.spec.slots.push(fresh.spec.slots[1].clone());
            }
        }),
        Event::Loss(index) => {
            let owned: Vec<_> =
                world.objects.keys().filter(|(kind, ..)| !["Namespace", "Slot"].contains(&kind.as_str())).cloned().collect();
            if !owned.is_empty() {
                world.objects.remove(index.get(&owned));
            }
        }
        Event::Drift(index) => {
            let owned: Vec<_> = world
                .objects
                .keys()
                .filter(|(kind, ..)| ["Deployment", "Service", "NetworkPolicy", "ResourceQuota", "RoleBinding"].contains(&kind.as_str()))
                .cloned()
                .collect();
            if !owned.is_empty() {
                drift(world.objects.get_mut(index.get(&owned)).unwrap());
            }
        }
        Event::Round => {
            world.round();
        }
    }
}

fn drift(object: &mut serde_json::Value) {
    match object["kind"].as_str().unwrap() {
        "Deployment" => object["spec"]["replicas"] = 0.into(),
        "Service" => object["spec"]["ports"] = json!([]),
        "NetworkPolicy" => object["spec"]["ingress"] = json!([{}, {}]),
        "ResourceQuota" => object["spec"]["hard"]["pods"] = "1".into(),
        _ => object["subjects"] = json!([]),
    }
}

/// An object's spec; of an autoscaled Deployment without the number of its pods, which depends on what was before.
fn without_autoscaled(object: &serde_json::Value) -> serde_json::Value {
    let mut spec = object["spec"].clone();
    if object["metadata"]["annotations"]["tenantry.dev/autoscaled"].is_string() {
        spec.as_object_mut().unwrap().remove("replicas");
    }
    spec
}

/// The state that the group alone leads to, in a world without a history.
fn without_history(world: &World) -> World {
    let mut fresh = World::new();
    let spec = world.group.as_ref().unwrap().spec.clone();
    fresh.group.as_mut().unwrap().spec = spec;
    fresh.settle();
    fresh
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_settles_and_leaves_the_objects_that_the_group_asks_for(events in events()) {
        let mut world = World::new();
        events.iter().for_each(|event| happen(&mut world, event));
        world.settle();
        let fresh = without_history(&world);
        // The promoted slot may run another revision than a fresh one: what it was first given.
        let of_dev = |world: &World| -> Vec<_> {
            world.objects.iter().filter(|((_, namespace, name), _)| namespace == "pcasia-dev" || name == "pcasia-dev")
                .map(|(key, object)| (key.clone(), without_autoscaled(object))).collect()
        };
        prop_assert_eq!(of_dev(&world), of_dev(&fresh));
    }

    #[test]
    fn killed_anywhere_the_next_run_leads_to_the_same_state(lives in prop::collection::vec(0_usize..40, 0..12), release in 1..3) {
        let mut unkilled = World::new();
        unkilled.settle();
        unkilled.edit_group(|group| group.spec.slots[0].release = Some(format!("v{release}")));
        unkilled.settle();

        let mut killed = World::new();
        for (index, life) in lives.iter().enumerate() {
            killed.life = Some(*life);
            killed.round();
            if index == lives.len() / 2 {
                killed.edit_group(|group| group.spec.slots[0].release = Some(format!("v{release}")));
            }
        }
        killed.life = None;
        killed.edit_group(|group| group.spec.slots[0].release = Some(format!("v{release}")));
        killed.settle();
        let version = |world: &World| format!("{:?}", world.databases.values().map(|facts| &facts.schemas).collect::<Vec<_>>());
        prop_assert_eq!(version(&killed), version(&unkilled));
        prop_assert_eq!(killed.summary(), unkilled.summary());
    }

    #[test]
    fn killed_anywhere_in_a_deletion_nothing_is_left(before in 0_usize..60, lives in prop::collection::vec(0_usize..30, 0..12)) {
        let mut world = World::new();
        world.life = Some(before);
        for _ in 0..12 {
            world.round();
        }
        world.edit_group(|group| group.metadata.deletion_timestamp = Some(crate::world::now()));
        for life in lives {
            world.life = Some(life);
            world.round();
        }
        world.life = None;
        for _ in 0..20 {
            world.round();
        }
        prop_assert!(world.group.is_none());
        prop_assert_eq!(world.summary(), World::new().summary());
    }

    #[test]
    fn no_plan_prints_a_secret(events in events()) {
        let mut world = World::new();
        events.iter().for_each(|event| happen(&mut world, event));
        world.settle();
        let secrets: Vec<String> = world.objects.iter().filter(|((kind, ..), _)| kind == "Secret")
            .flat_map(|(_, secret)| secret["data"].as_object().unwrap().clone())
            .filter(|(key, _)| key != "username")
            .flat_map(|(_, value)| {
                let encoded = value.as_str().unwrap().to_owned();
                let plain = String::from_utf8(data_encoding::BASE64.decode(encoded.as_bytes()).unwrap()).unwrap();
                [encoded, plain]
            })
            .collect();
        let elsewhere = world.objects.iter().filter(|((kind, ..), _)| kind != "Secret").map(|(_, object)| object.to_string());
        for printed in world.printed.iter().cloned().chain(elsewhere) {
            prop_assert!(!printed.contains("SCRAM-SHA-256$"));
            for secret in &secrets {
                prop_assert!(!printed.contains(secret.as_str()));
            }
        }
    }
}
