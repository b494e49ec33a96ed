//! Roll-outs: what is left alone, and what is waited for.

use serde_json::{Value, json};
use tenantry_plan::{Outcome, TrackName, TrackOutcome, reasons, status};

use crate::world::{World, key};

fn settled() -> World {
    let mut world = World::new();
    world.settle();
    world
}

fn plan(world: &World, slot: &str) -> tenantry_plan::Plan {
    let slot = world.slot(slot);
    tenantry_plan::slot(&slot, &world.slot_facts(&slot))
}

/// A pod of that role, in that state.
fn pod(world: &mut World, role: &str, status: Value) {
    let labels = json!({
        "app.kubernetes.io/managed-by": "tenantry", "tenantry.dev/service": "campaigns", "tenantry.dev/role": role,
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "campaigns-x", "namespace": "pcasia-dev", "labels": labels },
        "spec": { "containers": [{ "name": role, "image": "i" }] },
        "status": status,
    });
    world.objects.insert(key("Pod", "pcasia-dev", "campaigns-x"), pod);
}

fn unready(world: &mut World) {
    let deployment = world.objects.get_mut(&key("Deployment", "pcasia-dev", "campaigns-api")).unwrap();
    deployment["status"]["availableReplicas"] = 0.into();
}

#[test]
fn an_image_that_cannot_be_pulled_is_named() {
    let mut world = settled();
    unready(&mut world);
    let waiting = json!({ "reason": "ImagePullBackOff", "message": "Back-off pulling image \"i\": ErrImagePull: not found" });
    let status = json!({ "containerStatuses": [
        { "name": "api", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": { "waiting": waiting } },
    ] });
    pod(&mut world, "api", status);
    let plan = plan(&world, "dev");
    let wait = plan.track(TrackName::Workloads).unwrap().wait.clone().unwrap();
    assert_eq!(wait.reason, reasons::IMAGE_PULL_FAILED);
    assert!(wait.message.contains("the image i of the pod campaigns-x cannot be pulled: not found;"), "{}", wait.message);
    assert!(plan.tracks.iter().all(|track| track.waves.is_empty()));
}

#[test]
fn a_container_that_ends_again_and_again_is_named_with_its_last_words() {
    let mut world = settled();
    unready(&mut world);
    let ended = json!({ "terminated": { "exitCode": 3, "message": "first line\nno such table\n" } });
    let status = json!({ "containerStatuses": [
        { "name": "api", "image": "i", "imageID": "", "ready": false, "restartCount": 4, "state": { "running": {} }, "lastState": ended },
    ] });
    pod(&mut world, "api", status);
    let wait = plan(&world, "dev").track(TrackName::Workloads).unwrap().wait.clone().unwrap();
    assert_eq!(wait.reason, reasons::CRASH_LOOPING);
    assert!(wait.message.contains("with exit code 3: no such table;"), "{}", wait.message);
}

#[test]
fn a_failed_migration_stalls_and_leaves_the_pods_alone() {
    let mut world = settled();
    let running = world.objects[&key("Deployment", "pcasia-dev", "campaigns-api")].clone();
    world.edit_group(|group| group.spec.slots[0].release = Some("v2".into()));
    world.reconcile_group();
    world.reconcile_slot(&world.slot("dev"));
    for ((kind, ..), object) in &mut world.objects {
        if kind == "Job" {
            object["status"] = json!({ "conditions": [{ "type": "Failed", "status": "True", "message": "back-off limit reached" }] });
        }
    }
    world.reconcile_slot(&world.slot("dev"));
    let plan = plan(&world, "dev");
    let stall = plan.track(TrackName::Data).unwrap().stall.clone().unwrap();
    assert_eq!(stall.reason, reasons::MIGRATION_FAILED);
    // The cluster does not remove it, which would be a further attempt.
    let mut jobs = world.objects.iter().filter(|((kind, ..), _)| kind == "Job").map(|(_, job)| job);
    assert!(jobs.all(|job| job["spec"]["ttlSecondsAfterFinished"].is_null()));
    assert_eq!(running, world.objects[&key("Deployment", "pcasia-dev", "campaigns-api")]);
    let status = world.slot("dev").status.unwrap();
    assert_eq!(status.running_release.as_deref(), Some("v1"));
    let condition = |type_: &str| status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().clone();
    assert_eq!(condition("Stalled").status, "True");
    assert_eq!(condition("SchemaCurrent").reason, reasons::MIGRATION_FAILED);
    assert_eq!(condition("DataServicesReady").status, "True");
    // Back to the former release: the failed Job goes, nothing else happens.
    world.edit_group(|group| group.spec.slots[0].release = Some("v1".into()));
    world.settle();
    assert!(!world.objects.keys().any(|(kind, ..)| kind == "Job"));
}

#[test]
fn a_migration_that_has_recorded_its_version_is_left_to_end() {
    let mut world = settled();
    world.edit_group(|group| group.spec.slots[0].release = Some("v2".into()));
    world.reconcile_group();
    world.reconcile_slot(&world.slot("dev"));
    let find = |world: &World| world.objects.iter().find(|((kind, ..), _)| kind == "Job").map(|(_, job)| job.clone());
    let job = find(&world).unwrap();
    assert!(job["status"].is_null());
    world.record("pcasia-dev", &job);
    world.reconcile_slot(&world.slot("dev"));
    assert_eq!(find(&world), Some(job));
    // One that cannot begin any more is of no use once its release is not wanted.
    world.edit_group(|group| group.spec.slots[0].release = Some("v1".into()));
    world.reconcile_group();
    world.reconcile_slot(&world.slot("dev"));
    assert_eq!(find(&world), None);
}

#[test]
fn an_older_release_runs_on_the_newer_schema() {
    let mut world = settled();
    world.edit_group(|group| group.spec.slots[0].release = Some("v2".into()));
    world.settle();
    world.edit_group(|group| group.spec.slots[0].release = Some("v1".into()));
    world.settle();
    let status = world.slot("dev").status.unwrap();
    assert_eq!(status.running_release.as_deref(), Some("v1"));
    assert_eq!(status.services[0].schema_version, Some(4));
}

#[test]
fn with_postgresql_down_isolation_goes_on_and_the_pods_are_left_alone() {
    let mut world = settled();
    world.postgres_is_down = true;
    world.edit_group(|group| {
        group.spec.slots[0].release = Some("v2".into());
        group.spec.owners.clear();
    });
    world.reconcile_group();
    let plan = plan(&world, "dev");
    assert!(!plan.track(TrackName::Isolation).unwrap().waves.is_empty());
    assert_eq!(plan.track(TrackName::Data).unwrap().wait.as_ref().unwrap().reason, "PostgresUnreachable");
    assert!(plan.track(TrackName::Workloads).unwrap().waves.is_empty());
}

#[test]
fn nothing_is_started_in_a_slot_whose_isolation_failed() {
    let mut world = World::new();
    world.settle();
    world.edit_group(|group| group.spec.slots[0].release = Some("v2".into()));
    world.reconcile_group();
    let slot = world.slot("dev");
    let facts = world.slot_facts(&slot);
    let plan = tenantry_plan::slot(&slot, &facts);
    assert!(plan.tracks.iter().any(|track| !track.waves.is_empty()), "a migration is due");
    let failed = TrackOutcome::Failed { reason: "Forbidden", message: "the quota was refused".into() };
    let outcome = Outcome { tracks: vec![(TrackName::Isolation, failed)] };
    let gated = plan.behind_isolation(&outcome);
    for name in [TrackName::Data, TrackName::Workloads] {
        let track = gated.track(name).unwrap();
        assert!(track.waves.is_empty() && track.wait.as_ref().is_some_and(|wait| wait.message.contains("the quota was refused")));
    }
    let report = status::slot_status(&slot, &facts, &gated, &outcome, crate::world::now());
    let reasons: Vec<_> = report.conditions.iter().map(|condition| (condition.type_.as_str(), condition.reason.as_str())).collect();
    assert!(reasons.contains(&("Ready", "Forbidden")), "{reasons:?}");
    assert!(reasons.contains(&("WorkloadsReady", reasons::AWAITING_ISOLATION)), "{reasons:?}");
}
