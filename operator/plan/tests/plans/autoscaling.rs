//! Where an autoscaler owns the number of pods, the plan does not.

use insta::assert_yaml_snapshot;
use serde_json::{Value, json};
use tenantry_plan::{Step, TrackName};

use crate::world::{World, key};

const NAMESPACE: &str = "pcasia-dev";
const API: &str = "campaigns-api";

fn resize(world: &mut World, size: &str) {
    world.edit_group(|group| group.spec.slots[0].size = size.to_owned());
}

fn object<'w>(world: &'w World, kind: &str, name: &str) -> Option<&'w Value> {
    world.objects.get(&key(kind, NAMESPACE, name))
}

fn replicas(world: &World) -> i64 {
    object(world, "Deployment", API).unwrap()["spec"]["replicas"].as_i64().unwrap()
}

/// Settles, killed after each further step; gives the numbers of pods that there were on the way.
fn settle_step_by_step(world: &mut World) -> Vec<i64> {
    let mut seen = vec![replicas(world)];
    for _ in 0..60 {
        world.life = Some(1);
        world.round();
        seen.push(replicas(world));
    }
    world.life = None;
    world.settle();
    seen.push(replicas(world));
    seen.dedup();
    seen
}

#[test]
fn switching_an_autoscaler_on_and_off_never_falls_back_to_one_pod() {
    let mut world = World::new();
    resize(&mut world, "large");
    world.settle();
    assert_eq!(replicas(&world), 3);
    assert!(object(&world, "HorizontalPodAutoscaler", API).is_none());

    resize(&mut world, "elastic");
    assert_eq!(settle_step_by_step(&mut world), [3], "the number stays while its owner changes");
    let spec = &object(&world, "HorizontalPodAutoscaler", API).unwrap()["spec"];
    assert_eq!((&spec["minReplicas"], &spec["maxReplicas"]), (&json!(2), &json!(5)));
    assert!(object(&world, "HorizontalPodAutoscaler", "campaigns-worker").is_none(), "its size asks for none");
    world.scale(NAMESPACE, API, 5);
    world.settle();
    assert_eq!(replicas(&world), 5, "the autoscaler's word counts");

    resize(&mut world, "small");
    assert_eq!(settle_step_by_step(&mut world), [5, 1], "at once what the size says");
    assert!(object(&world, "HorizontalPodAutoscaler", API).is_none());
}

#[test]
fn the_autoscaler_goes_before_the_deployment_states_a_number_again() {
    let mut world = World::new();
    resize(&mut world, "elastic");
    world.settle();
    resize(&mut world, "small");
    world.reconcile_group();
    // First the configuration, whose pool sizes change.
    let slot = world.slot("dev");
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    let steps: Vec<&Step> = plan.track(TrackName::Workloads).unwrap().waves.iter().flat_map(|wave| &wave.steps).collect();
    let autoscaler = steps.iter().position(|step| matches!(step, Step::Delete(id) if id.kind == "HorizontalPodAutoscaler"));
    let deployment = steps.iter().position(|step| matches!(step, Step::Apply(manifest) if manifest.kind.kind == "Deployment"));
    assert!(autoscaler.unwrap() < deployment.unwrap());
}

#[test]
fn pods_that_the_autoscaler_adds_are_no_roll_out_and_none_at_all_is_repaired() {
    let mut world = World::new();
    resize(&mut world, "elastic");
    world.settle();
    assert_eq!(replicas(&world), 2, "a new Deployment gets the fewest without waiting for the autoscaler");
    world.scale(NAMESPACE, API, 4);
    let deployment = world.objects.get_mut(&key("Deployment", NAMESPACE, API)).unwrap();
    deployment["status"] = json!({
        "observedGeneration": deployment["metadata"]["generation"], "replicas": 4, "updatedReplicas": 4, "availableReplicas": 2,
    });
    let slot = world.slot("dev");
    assert!(tenantry_plan::slot(&slot, &world.slot_facts(&slot)).is_settled(), "two more come up, and nobody waits for them");

    // An autoscaler leaves a Deployment without pods alone.
    world.scale(NAMESPACE, API, 0);
    world.settle();
    assert_eq!(replicas(&world), 2);
}

#[test]
fn quota_connections_and_disruptions_are_counted_for_the_most_pods() {
    let mut world = World::new();
    resize(&mut world, "elastic");
    world.settle();
    let hard = &object(&world, "ResourceQuota", "slot").unwrap()["spec"]["hard"];
    // Two APIs of at most five, a worker of two: old, new and one more each; two pods each of Jobs, of caches and of probes.
    assert_eq!(hard["pods"], json!((2 * 11 + 5 + 2 + 2 + 2).to_string()));
    for name in [API, "greeter-api", "campaigns-worker"] {
        assert!(object(&world, "PodDisruptionBudget", name).is_some(), "{name}");
    }
    let configuration = world
        .objects
        .iter()
        .find(|((kind, namespace, name), _)| kind == "ConfigMap" && namespace == NAMESPACE && name.starts_with("campaigns-"));
    let text = configuration.unwrap().1["data"].as_object().unwrap().values().next().unwrap().as_str().unwrap();
    let configuration: Value = serde_json::from_str(text).unwrap();
    let each = configuration["database"]["maxConnections"].as_u64().unwrap();
    let facts = world.databases.values().next().unwrap();
    let limit = facts.roles.iter().find(|(role, _)| role.ends_with("campaigns_a")).unwrap().1.connection_limit;
    // Six APIs and three workers while both roll.
    assert!(each >= 1 && i64::try_from(each * 9).unwrap() <= limit, "{each} connections for each of 9, of {limit}");
}

#[test]
fn an_elastic_slot_word_for_word() {
    let mut world = World::new();
    resize(&mut world, "large");
    world.settle();
    resize(&mut world, "elastic");
    world.reconcile_group();
    let slot = world.slot("dev");
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    let steps = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    let about_replicas: Vec<&Step> = steps
        .filter(|step| match step {
            Step::Apply(manifest) => manifest.kind.kind == "HorizontalPodAutoscaler",
            Step::ApplyAs(..) => true,
            _ => false,
        })
        .collect();
    let mut printed = json!(about_replicas);
    printed.as_array_mut().unwrap().iter_mut().filter_map(|step| step.get_mut("applyAs")?.get_mut(1)).for_each(|manifest| {
        manifest["metadata"].as_object_mut().unwrap().remove("uid").unwrap();
    });
    assert_yaml_snapshot!("elastic_slot", printed);
}
