//! Whose tokens a slot's services accept: from the group's manifest into their configuration.

use serde_json::{Value, json};
use tenantry_contract::{AuthConfiguration, AuthNeed};
use tenantry_crds::Auth;

use crate::fixtures::parse;
use crate::world::{World, key};

fn auth(issuer: &str) -> Auth {
    parse(json!({ "issuers": [{
        "issuer": issuer,
        "audiences": ["shop"],
        "jwks": { "keys": [{ "kty": "OKP", "use": "sig", "kid": "1", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] },
    }] }))
}

/// A world whose release says that `campaigns` accepts tokens.
fn world() -> World {
    let mut world = World::new();
    for release in world.releases.values_mut() {
        release.spec.services.get_mut("campaigns").unwrap().needs.auth = Some(AuthNeed::default());
    }
    world
}

/// The configuration that the pods of a Deployment have.
fn configuration(world: &World, namespace: &str, service: &str) -> (String, Value) {
    let deployment = &world.objects[&key("Deployment", namespace, &format!("{service}-api"))];
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let name = volumes.iter().find_map(|volume| volume["configMap"]["name"].as_str()).unwrap().to_owned();
    let text = world.objects[&key("ConfigMap", namespace, &name)]["data"]["service.json"].as_str().unwrap().to_owned();
    (name, serde_json::from_str(&text).unwrap())
}

fn issuer(world: &World, namespace: &str) -> Option<String> {
    configuration(world, namespace, "campaigns").1["auth"]["issuers"][0]["issuer"].as_str().map(str::to_owned)
}

#[test]
fn the_groups_issuers_reach_the_service_whole() {
    let mut world = world();
    world.edit_group(|group| group.spec.auth = Some(auth("https://login.example")));
    world.settle();
    let configured: AuthConfiguration = parse(configuration(&world, "pcasia-dev", "campaigns").1["auth"].clone());
    assert_eq!(configured, AuthConfiguration::from(&auth("https://login.example")));
    assert_eq!(configured.issuers[0].user_id_claim, "sub");
}

#[test]
fn a_group_without_issuers_plans_as_if_there_were_no_such_thing() {
    let names = |edit: fn(&mut World)| {
        let mut world = world();
        edit(&mut world);
        world.settle();
        (configuration(&world, "pcasia-dev", "campaigns").0, configuration(&world, "pcasia-dev", "greeter").0)
    };
    let mut before = World::new();
    before.settle();
    let expected = (configuration(&before, "pcasia-dev", "campaigns").0, configuration(&before, "pcasia-dev", "greeter").0);
    assert_eq!(names(|_| ()), expected);
    assert_eq!(names(|world| world.edit_group(|group| group.spec.auth = Some(Auth::default()))), expected);
}

/// A service of a release from before there were issuers would not start on a configuration that names some.
#[test]
fn a_service_that_does_not_need_issuers_is_not_told_of_them() {
    let mut plain = World::new();
    plain.settle();
    let mut world = world();
    world.edit_group(|group| group.spec.auth = Some(auth("https://login.example")));
    world.settle();
    assert_eq!(configuration(&world, "pcasia-dev", "greeter"), configuration(&plain, "pcasia-dev", "greeter"));
}

/// An issuer that changes its key does not wait for a promotion.
#[test]
fn a_change_reaches_every_slot_at_once_promoted_ones_too() {
    let mut world = world();
    world.edit_group(|group| group.spec.auth = Some(auth("https://login.example")));
    world.settle();
    world.edit_group(|group| group.spec.auth = Some(auth("https://other.example")));
    world.settle();
    for namespace in ["pcasia-dev", "pcasia-staging"] {
        assert_eq!(issuer(&world, namespace).as_deref(), Some("https://other.example"), "{namespace}");
    }
    world.edit_group(|group| group.spec.auth = None);
    world.settle();
    for namespace in ["pcasia-dev", "pcasia-staging"] {
        assert_eq!(issuer(&world, namespace), None, "{namespace}");
    }
}

#[test]
fn a_slots_own_issuers_stand_instead_of_the_groups() {
    let mut world = world();
    world.edit_group(|group| {
        group.spec.auth = Some(auth("https://login.example"));
        group.spec.slots[0].auth = Some(auth("https://login.dev.example"));
        group.spec.slots[1].auth = Some(Auth::default());
    });
    world.settle();
    assert_eq!(issuer(&world, "pcasia-dev").as_deref(), Some("https://login.dev.example"));
    assert_eq!(issuer(&world, "pcasia-staging"), None);
}

#[test]
fn an_issuer_that_somebody_adds_to_a_slot_is_taken_out() {
    let mut world = world();
    world.edit_group(|group| group.spec.auth = Some(auth("https://login.example")));
    world.settle();
    let slot = world.objects.get_mut(&key("Slot", "pcasia-dev", "dev")).unwrap();
    let mut stranger = slot["spec"]["auth"]["issuers"][0].clone();
    stranger["issuer"] = json!("https://stranger.example");
    slot["spec"]["auth"]["issuers"].as_array_mut().unwrap().push(stranger);
    world.settle();
    let issuers = configuration(&world, "pcasia-dev", "campaigns").1["auth"]["issuers"].as_array().unwrap().len();
    assert_eq!((issuers, issuer(&world, "pcasia-dev").as_deref()), (1, Some("https://login.example")));
}
