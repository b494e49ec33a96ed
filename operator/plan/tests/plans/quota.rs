//! The quota is never in the way of a roll-out, and nobody gets a larger one by editing what runs.

use serde_json::{Value, json};
use tenantry_crds::{Resources, SlotSize};
use tenantry_plan::{Step, TrackName};

use crate::world::{World, key};

const NAMESPACE: &str = "pcasia-dev";

fn settled() -> World {
    settled_at("small")
}

fn settled_at(size: &str) -> World {
    let mut world = World::new();
    resize(&mut world, size);
    world.settle();
    world
}

fn resize(world: &mut World, size: &str) {
    world.edit_group(|group| group.spec.slots[0].size = size.to_owned());
}

/// Another offer under the name of the slot's size.
fn edit_class(world: &mut World, edit: impl FnOnce(&mut SlotSize)) {
    let class = world.class.as_mut().unwrap();
    edit(class.spec.sizes.get_mut("small").unwrap());
    class.metadata.generation = class.metadata.generation.map(|generation| generation + 1);
}

fn reconcile(world: &mut World) {
    world.reconcile_group();
    let slot = world.slot("dev");
    world.reconcile_slot(&slot);
}

fn object<'w>(world: &'w mut World, kind: &str, name: &str) -> &'w mut Value {
    world.objects.get_mut(&key(kind, NAMESPACE, name)).unwrap()
}

/// Pods, and MiB of memory.
fn quota(world: &World) -> (u64, u64) {
    let hard = &world.objects[&key("ResourceQuota", NAMESPACE, "slot")]["spec"]["hard"];
    assert_eq!(hard["requests.memory"], hard["limits.memory"]);
    let number = |resource: &str| hard[resource].as_str().unwrap().trim_end_matches("Mi").parse().unwrap();
    (number("pods"), number("limits.memory"))
}

/// What the plan asks for: three Deployments, each with old, new and one more pod of that size; two pods each of Jobs, of
/// caches and of probes.
fn planned(replicas: u64, memory: u64) -> (u64, u64) {
    let pods = 3 * (2 * replicas + 1);
    (pods + 2 + 2 + 2, pods * memory + 4 * 64 + 2 * 32)
}

/// The memory that the `api` asks for.
fn asked(world: &mut World) -> String {
    let deployment = object(world, "Deployment", "campaigns-api");
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"].as_str().unwrap().to_owned()
}

/// A pod of before, which ends.
fn ending_pod(world: &mut World) {
    let labels = json!({
        "app.kubernetes.io/managed-by": "tenantry", "tenantry.dev/service": "campaigns", "tenantry.dev/role": "api",
    });
    let metadata = json!({ "name": "of-before", "namespace": NAMESPACE, "labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z" });
    world.objects.insert(key("Pod", NAMESPACE, "of-before"), json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata }));
}

/// What somebody makes of a Deployment who wants more.
fn push_up(world: &mut World, name: &str) {
    let spec = &mut object(world, "Deployment", name)["spec"];
    spec["replicas"] = 40.into();
    let asked = json!({ "requests": { "cpu": "7Mi", "memory": "7Gi" }, "limits": { "memory": "7Gi" } });
    spec["template"]["spec"]["containers"][0]["resources"] = asked;
}

#[test]
fn the_quota_holds_all_old_and_all_new_pods() {
    assert_eq!(quota(&settled()), planned(1, 128));
    assert_eq!(quota(&settled_at("large")), planned(3, 2048));
}

#[test]
fn the_quota_shrinks_once_the_last_pod_of_before_has_ended_and_not_sooner() {
    let mut world = settled();
    edit_class(&mut world, |size| {
        let less = Resources { cpu_millis: 10, memory_mib: 16 };
        (size.api.resources, size.worker.resources) = (less.clone(), less);
    });
    for _ in 0..3 {
        reconcile(&mut world);
        assert_eq!(asked(&mut world), "16Mi");
        assert_eq!(quota(&world), planned(1, 128), "nobody has seen the new template yet");
    }
    ending_pod(&mut world);
    world.tick();
    reconcile(&mut world);
    assert_eq!(quota(&world), planned(1, 128), "one of the old pods has not ended");
    world.objects.remove(&key("Pod", NAMESPACE, "of-before")).unwrap();
    reconcile(&mut world);
    assert_eq!(quota(&world), planned(1, 16));
}

#[test]
fn the_quota_shrinks_after_a_roll_out_to_fewer_pods_to_none_and_from_an_autoscaler() {
    for (before, after, expected) in [("large", "small", planned(1, 128)), ("elastic", "small", planned(1, 128))] {
        let mut world = settled_at(before);
        let most = quota(&world);
        resize(&mut world, after);
        reconcile(&mut world);
        reconcile(&mut world);
        assert_eq!(quota(&world), most, "from {before}");
        world.settle();
        assert_eq!(quota(&world), expected, "from {before}");
    }
    let mut world = settled();
    world.edit_group(|group| {
        group.spec.services.remove("campaigns");
        group.spec.slots.iter_mut().for_each(|slot| slot.services.clear());
    });
    while world.objects.contains_key(&key("Deployment", NAMESPACE, "campaigns-api")) {
        assert_eq!(quota(&world), planned(1, 128), "its pods are there");
        world.round();
    }
    world.settle();
    assert_eq!(quota(&world), (3 + 2, 3 * 128 + 2 * 32));
}

#[test]
fn the_quota_of_sizes_that_were_given_up_half_way_is_kept_until_one_is_reached() {
    let mut world = settled();
    for size in ["large", "elastic", "small"] {
        resize(&mut world, size);
        reconcile(&mut world);
        reconcile(&mut world);
        assert_eq!(quota(&world).1, planned(3, 2048).1, "{size}");
    }
    world.settle();
    assert_eq!(quota(&world), planned(1, 128));
}

#[test]
fn a_deployment_that_somebody_pushed_up_gets_no_room_and_is_repaired() {
    for size in ["small", "elastic"] {
        let mut world = settled_at(size);
        let before = object(&mut world, "ResourceQuota", "slot").clone();
        let deployment = object(&mut world, "Deployment", "campaigns-api").clone();
        push_up(&mut world, "campaigns-api");
        // With the fields of its own that say so.
        let annotations = &mut object(&mut world, "Deployment", "campaigns-api")["metadata"]["annotations"];
        annotations["tenantry.dev/applied-hash"] = "forged".into();
        let slot = world.slot("dev");
        let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
        assert!(plan.track(TrackName::Isolation).unwrap().waves.is_empty(), "{size}");
        let workloads = plan.track(TrackName::Workloads).unwrap();
        let mut steps = workloads.waves.iter().flat_map(|wave| &wave.steps);
        assert!(steps.any(|step| matches!(step, Step::Apply(manifest) if manifest.name() == "campaigns-api")), "{size}");
        reconcile(&mut world);
        assert_eq!(*object(&mut world, "ResourceQuota", "slot"), before, "{size}");
        let repaired = object(&mut world, "Deployment", "campaigns-api");
        assert_eq!(repaired["spec"]["template"], deployment["spec"]["template"], "{size}");
    }
}

#[test]
fn a_deployment_that_is_pushed_up_in_mid_roll_out_gets_no_room_either() {
    let mut world = settled_at("large");
    resize(&mut world, "small");
    reconcile(&mut world);
    push_up(&mut world, "greeter-api");
    reconcile(&mut world);
    assert_eq!(quota(&world), planned(3, 2048));
    world.settle();
    assert_eq!(quota(&world), planned(1, 128));
}

#[test]
fn a_deployment_that_somebody_adds_under_the_operators_label_gets_no_room() {
    let mut world = settled();
    let before = object(&mut world, "ResourceQuota", "slot").clone();
    let mut added = object(&mut world, "Deployment", "campaigns-api").clone();
    added["metadata"]["name"] = "intruder".into();
    world.objects.insert(key("Deployment", NAMESPACE, "intruder"), added);
    reconcile(&mut world);
    assert_eq!(*object(&mut world, "ResourceQuota", "slot"), before);
    assert!(!world.objects.contains_key(&key("Deployment", NAMESPACE, "intruder")));
}

#[test]
fn a_quota_that_is_edited_or_lost_is_what_it_was_also_while_former_pods_wait_for_data() {
    for waits in [false, true] {
        let mut world = settled_at("large");
        let hard = quota(&world);
        world.postgres_is_down = waits;
        if waits {
            resize(&mut world, "small");
        }
        reconcile(&mut world);
        for (resource, value) in
            [("pods", json!("1")), ("requests.cpu", json!("7Mi")), ("limits.memory", json!("1Ti")), ("services", json!("0"))]
        {
            object(&mut world, "ResourceQuota", "slot")["spec"]["hard"][resource] = value;
            reconcile(&mut world);
            assert_eq!(quota(&world), hard, "{resource}, waiting: {waits}");
            assert!(object(&mut world, "ResourceQuota", "slot")["spec"]["hard"]["services"].is_null());
        }
        world.objects.remove(&key("ResourceQuota", NAMESPACE, "slot")).unwrap();
        reconcile(&mut world);
        assert_eq!(quota(&world), hard, "waiting: {waits}");
    }
}

#[test]
fn the_quota_is_written_once_before_a_roll_out_and_once_after_it() {
    let mut world = settled_at("large");
    let mut versions = Vec::new();
    let mut note = |world: &mut World| {
        versions.push(object(world, "ResourceQuota", "slot")["metadata"]["resourceVersion"].clone());
        versions.dedup();
    };
    note(&mut world);
    resize(&mut world, "elastic");
    for _ in 0..12 {
        world.round();
        note(&mut world);
    }
    assert_eq!(versions.len(), 3, "{versions:?}");
}
