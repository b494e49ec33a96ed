//! The credentials that tenants give their services: mounted only from what is a tenant's own, and never waited for.

use serde_json::{Value, json};
use tenantry_contract::{CredentialNeed, WorkloadRole};
use tenantry_plan::{Step, reasons};

use crate::fixtures::parse;
use crate::world::{World, key};

const SECRET: &str = "payments";
const VALUE: &str = "c2VjcmV0LXZhbHVl";

/// A world whose release knows a credential of `campaigns`' worker, and whose group names a Secret for it.
fn world() -> World {
    let mut world = World::new();
    for release in world.releases.values_mut() {
        release.spec.services.get_mut("campaigns").unwrap().needs.credentials.push(CredentialNeed {
            name: "webhook".into(),
            roles: vec![WorkloadRole::Worker],
            files: vec!["key".into()],
            optional_files: vec!["previous-key".into()],
        });
    }
    name_secret(&mut world, "webhook", SECRET);
    world
}

fn name_secret(world: &mut World, credential: &str, secret: &str) {
    world.edit_group(|group| {
        let credentials = &mut group.spec.services.get_mut("campaigns").unwrap().credentials;
        credentials.insert(credential.to_owned(), parse(json!({ "secretName": secret })));
    });
}

fn put(world: &mut World, labels: Value, data: Value) {
    for namespace in ["pcasia-dev", "pcasia-staging"] {
        let metadata = json!({ "name": SECRET, "namespace": namespace, "uid": "user", "resourceVersion": "1", "labels": labels });
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data });
        world.objects.insert(key("Secret", namespace, SECRET), secret);
    }
}

fn put_usable(world: &mut World) {
    put(world, json!({ "tenantry.dev/user-secret": "" }), json!({ "key": VALUE }));
}

/// Rounds until nothing more happens to objects, though the slot may be stalled.
fn rounds(world: &mut World) {
    (0..20).for_each(|_| {
        world.round();
    });
}

fn volume(world: &World, deployment: &str) -> Option<Value> {
    let deployment = &world.objects[&key("Deployment", "pcasia-dev", deployment)];
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    volumes.iter().find(|volume| volume["name"] == "credential-webhook").cloned()
}

fn reason(world: &World) -> String {
    let conditions = world.slot("dev").status.unwrap().conditions;
    conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap().reason
}

#[test]
fn a_secret_of_the_tenants_own_is_mounted_where_the_release_says_and_nowhere_else() {
    let mut world = world();
    world.settle_group();
    put_usable(&mut world);
    world.settle();
    let items = json!([{ "key": "key", "path": "key" }, { "key": "previous-key", "path": "previous-key" }]);
    let source = json!({ "secretName": SECRET, "defaultMode": 0o440, "items": items, "optional": true });
    assert_eq!(volume(&world, "campaigns-worker"), Some(json!({ "name": "credential-webhook", "secret": source })));
    let worker = &world.objects[&key("Deployment", "pcasia-dev", "campaigns-worker")];
    let mounts = worker["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = json!({ "name": "credential-webhook", "mountPath": "/etc/tenantry/credentials/webhook", "readOnly": true });
    assert!(mounts.contains(&mount), "{mounts:?}");
    assert_eq!([volume(&world, "campaigns-api"), volume(&world, "greeter-api")], [None, None]);
    assert_eq!(reason(&world), reasons::READY);
    assert!(world.printed.iter().all(|plan| !plan.contains(VALUE)), "no plan has a value");
}

#[test]
fn a_missing_secret_is_told_of_and_keeps_nothing_from_running() {
    let mut world = world();
    rounds(&mut world);
    assert_eq!(reason(&world), reasons::CREDENTIAL_MISSING);
    assert_eq!(volume(&world, "campaigns-worker"), None);
    put_usable(&mut world);
    world.settle();
    assert!(volume(&world, "campaigns-worker").is_some());
    assert_eq!(reason(&world), reasons::READY);
}

#[test]
fn a_secret_without_what_the_service_needs_is_not_mounted() {
    let mut world = world();
    world.settle_group();
    put(&mut world, json!({ "tenantry.dev/user-secret": "" }), json!({ "wrong": VALUE }));
    rounds(&mut world);
    assert_eq!((reason(&world).as_str(), volume(&world, "campaigns-worker")), (reasons::CREDENTIAL_NOT_USABLE, None));
}

#[test]
fn a_secret_without_the_label_or_of_the_operators_own_is_never_mounted() {
    let managed = json!({ "tenantry.dev/user-secret": "", "app.kubernetes.io/managed-by": "tenantry" });
    for labels in [json!({}), json!({ "app": "shop" }), managed.clone()] {
        let mut world = world();
        world.settle_group();
        put_usable(&mut world);
        world.settle();
        // Even where it was mounted while it was the tenant's own.
        put(&mut world, labels.clone(), json!({ "key": VALUE }));
        rounds(&mut world);
        assert_eq!(volume(&world, "campaigns-worker"), None, "{labels}");
        // What says that it is the operator's own, and is not, the operator takes away.
        let expected = if labels == managed { reasons::CREDENTIAL_MISSING } else { reasons::CREDENTIAL_NOT_USABLE };
        assert_eq!(reason(&world), expected, "{labels}");
    }
}

/// Admission refuses such names; should one get through, the labels tell.
#[test]
fn the_slots_own_database_login_is_never_mounted_as_a_credential() {
    let mut world = world();
    name_secret(&mut world, "webhook", "campaigns-database");
    rounds(&mut world);
    assert!(world.objects.contains_key(&key("Secret", "pcasia-dev", "campaigns-database")));
    assert_eq!((reason(&world).as_str(), volume(&world, "campaigns-worker")), (reasons::CREDENTIAL_NOT_USABLE, None));
}

#[test]
fn pods_are_not_replaced_because_a_secret_is_gone_or_has_changed() {
    let mut world = world();
    world.settle_group();
    put_usable(&mut world);
    world.settle();
    let mounted = volume(&world, "campaigns-worker");
    let steps = |world: &World| {
        let slot = world.slot("dev");
        let plan = tenantry_plan::slot(&slot, &world.slot_facts(&slot));
        let waves = plan.tracks.into_iter().flat_map(|track| track.waves);
        waves.flat_map(|wave| wave.steps).collect::<Vec<Step>>()
    };
    put(&mut world, json!({ "tenantry.dev/user-secret": "" }), json!({ "key": "b3RoZXI=", "previous-key": VALUE }));
    assert_eq!(steps(&world), []);
    world.objects.remove(&key("Secret", "pcasia-dev", SECRET));
    assert_eq!(steps(&world), []);
    rounds(&mut world);
    assert_eq!((reason(&world).as_str(), volume(&world, "campaigns-worker")), (reasons::CREDENTIAL_MISSING, mounted));
}

#[test]
fn a_slot_may_name_a_secret_of_another_name() {
    let mut world = world();
    world.edit_group(|group| {
        group.spec.slots[0].services = parse(json!({ "campaigns": { "credentials": { "webhook": { "secretName": "trial" } } } }));
    });
    world.settle_group();
    let named = |slot: &str| tenantry_plan::user_secret_names(&world.slot(slot)).into_iter().collect::<Vec<_>>();
    assert_eq!((named("dev"), named("staging")), (vec!["trial".to_owned()], vec![SECRET.to_owned()]));
}

#[test]
fn a_credential_that_the_release_does_not_know_is_refused_by_name() {
    let mut world = world();
    name_secret(&mut world, "mail", SECRET);
    rounds(&mut world);
    assert_eq!(reason(&world), reasons::UNKNOWN_CREDENTIAL);
    let message = world.slot("dev").status.unwrap().conditions[0].message.clone();
    assert!(message.starts_with("campaigns of release v1 has no credential mail; it has: webhook."), "{message}");
}
