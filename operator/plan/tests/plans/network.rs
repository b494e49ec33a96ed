//! The network is believed to be isolated only after a probe of the policies as they are, and is not tried again for nothing.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tenantry_crds::{NetworkIsolation, NetworkProbeResult};
use tenantry_plan::{Step, TrackName, reasons};

use crate::world::{World, key};

fn open() -> World {
    let mut world = World::new();
    world.network_is_open = true;
    for _ in 0..20 {
        world.round();
    }
    world
}

/// Status and reason of a condition of `dev`.
fn condition(world: &World, kind: &str) -> (String, String) {
    let conditions = world.slot("dev").status.unwrap().conditions;
    let found = conditions.into_iter().find(|condition| condition.type_ == kind).unwrap();
    (found.status, found.reason)
}

fn later(world: &mut World, seconds: i64) {
    let now: Timestamp = world.now.0 + SignedDuration::from_secs(seconds);
    world.now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
}

/// The probes that the plan of `dev` would start.
fn probes(world: &World) -> usize {
    let slot = world.slot("dev");
    let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
    let track = plan.track(TrackName::Network).unwrap();
    track.waves.iter().flat_map(|wave| &wave.steps).filter(|step| matches!(step, Step::Apply(job) if job.kind.kind == "Job")).count()
}

#[test]
fn a_refused_probe_makes_a_slot_isolated_and_no_other_follows() {
    let mut world = World::new();
    world.settle();
    assert_eq!(condition(&world, "NetworkIsolated"), ("True".into(), reasons::NETWORK_REFUSES.into()));
    later(&mut world, 1_000_000);
    assert_eq!(probes(&world), 0);
}

#[test]
fn what_the_operator_tried_while_the_probe_listened_counts_after_the_probes_end() {
    let mut world = World::new();
    let listening = |world: &World| world.objects.keys().find(|(kind, namespace, _)| kind == "Pod" && namespace.ends_with("-dev")).cloned();
    let rounds = (0..20).find(|_| {
        world.round();
        listening(&world).is_some()
    });
    assert!(rounds.is_some() && condition(&world, "NetworkIsolated").0 == "Unknown");
    let pod = listening(&world).unwrap();
    world.objects.get_mut(&pod).unwrap()["status"] =
        json!({ "podIP": "10.1.0.7", "containerStatuses": [{ "name": "probe", "state": { "terminated": { "exitCode": 0 } } }] });
    world.round();
    assert_eq!(condition(&world, "NetworkIsolated"), ("True".into(), reasons::NETWORK_REFUSES.into()));
}

#[test]
fn where_a_probe_got_through_the_slot_is_not_ready_but_runs() {
    let world = open();
    assert_eq!(condition(&world, "NetworkIsolated"), ("False".into(), reasons::NETWORK_NOT_ISOLATED.into()));
    assert_eq!(condition(&world, "Ready"), ("False".into(), reasons::NETWORK_NOT_ISOLATED.into()));
    assert_eq!(condition(&world, "WorkloadsReady").0, "True");
    let message = world.slot("dev").status.unwrap().conditions[0].message.clone();
    assert!(message.starts_with("the operator reached a pod of the slot at 10.1.0.7:8083, which"), "{message}");
    assert!(message.contains("Install a network plugin that does") && message.contains("spec.network.isolation"), "{message}");
}

#[test]
fn a_class_may_have_it_only_reported() {
    let mut world = open();
    world.class.as_mut().unwrap().spec.network.isolation = NetworkIsolation::Reported;
    world.round();
    assert_eq!(condition(&world, "Ready").0, "True");
    assert_eq!(condition(&world, "NetworkIsolated").0, "False");
    // A trial in between does not make it unready.
    later(&mut world, 100);
    assert_eq!(probes(&world), 1);
    for _ in 0..4 {
        world.round();
        assert_eq!(condition(&world, "Ready").0, "True");
    }
}

#[test]
fn a_network_that_let_a_probe_through_is_tried_again_ever_later() {
    let mut world = open();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let mut pause = 0;
        while probes(&world) == 0 {
            later(&mut world, 10);
            pause += 10;
        }
        pauses.push(pause);
        for _ in 0..4 {
            world.round();
        }
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    world.network_is_open = false;
    later(&mut world, 3600);
    world.settle();
    let probe = world.slot("dev").status.unwrap().network.unwrap();
    assert_eq!((probe.result, probe.failures), (NetworkProbeResult::Isolated, 0));
}

#[test]
fn other_policies_than_those_that_were_tried_are_tried_at_once() {
    let mut world = World::new();
    world.settle();
    // As a former operator has left it, whose policies were others.
    world.objects.get_mut(&key("Slot", "pcasia-dev", "dev")).unwrap()["status"]["network"]["policies"] = "former".into();
    assert_eq!(probes(&world), 1);
    world.reconcile_slot(&world.slot("dev"));
    assert_eq!(condition(&world, "NetworkIsolated"), ("Unknown".into(), reasons::NETWORK_PROBING.into()));
    world.settle();
    assert_eq!(condition(&world, "NetworkIsolated").0, "True");
}
