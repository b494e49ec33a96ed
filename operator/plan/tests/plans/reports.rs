//! Statuses: what `kubectl wait` relies on.

use std::collections::BTreeMap;

use serde_json::json;
use tenantry_plan::{Observation, Outcome, TrackName, TrackOutcome, reasons, status};

use crate::fixtures::parse;
use crate::world::{World, now};

#[test]
fn a_settled_world_is_ready_and_a_later_report_is_the_same() {
    let mut world = World::new();
    world.settle();
    let later = parse(json!("2027-01-01T00:00:00Z"));
    let slot = world.slot("dev");
    let facts = world.slot_facts(&slot);
    let plan = tenantry_plan::slot(&slot, &facts);
    let report = status::slot_status(&slot, &facts, &plan, &Outcome::default(), later);
    assert_eq!(Some(&report), slot.status.as_ref());
    let ready = &report.conditions[0];
    assert_eq!(
        (ready.type_.as_str(), ready.status.as_str(), ready.message.as_str()),
        ("Ready", "True", "runs release v1 of campaigns, greeter")
    );
    assert_eq!(report.services[0].url.as_deref(), Some("http://campaigns.pcasia-dev.svc:8080"));
    let group = world.group.unwrap().status.unwrap();
    assert_eq!(group.ready_slots.as_deref(), Some("2/2"));
    assert_eq!((group.conditions[0].status.as_str(), group.conditions[0].reason.as_str()), ("True", reasons::READY));
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut world = World::new();
    world.settle();
    let slot = world.slot("dev");
    let facts = world.slot_facts(&slot);
    let plan = tenantry_plan::slot(&slot, &facts);
    let failed = TrackOutcome::Failed { reason: "ApplyFailed", message: "the API server said no".into() };
    let outcome = Outcome { tracks: vec![(TrackName::Isolation, failed)] };
    let report = status::slot_status(&slot, &facts, &plan, &outcome, parse(json!("2027-01-01T00:00:00Z")));
    let state: Vec<_> = report
        .conditions
        .iter()
        .map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.last_transition_time == now()))
        .collect();
    assert_eq!(
        state,
        [
            ("Ready", "False", false),
            ("Reconciling", "True", false),
            ("Stalled", "False", true),
            ("DataServicesReady", "True", true),
            ("SchemaCurrent", "True", true),
            ("WorkloadsReady", "True", true),
            ("NetworkIsolated", "True", true),
        ]
    );
    assert_eq!(report.conditions[0].reason, "ApplyFailed");
}

#[test]
fn what_was_not_found_out_stalls_a_slot_only_where_somebody_must_act() {
    let mut world = World::new();
    world.settle();
    let slot = world.slot("dev");
    for (reason, stalled) in [
        (reasons::POSTGRES_UNREACHABLE, false),
        (reasons::POSTGRES_BUSY, false),
        (reasons::POSTGRES_AUTHENTICATION_FAILED, true),
        (reasons::POSTGRES_SECRET_MISSING, true),
    ] {
        let mut facts = world.slot_facts(&slot);
        facts.database = Observation::Failed { reason, message: "what to do".into() };
        let plan = tenantry_plan::slot(&slot, &facts);
        let report = status::slot_status(&slot, &facts, &plan, &Outcome::default(), now());
        let of = |kind: &str| {
            let found = report.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
            (found.status.as_str(), found.reason.as_str())
        };
        let (stalls, reconciles) = if stalled { ("True", "False") } else { ("False", "True") };
        assert_eq!((of("Stalled"), of("Reconciling")), ((stalls, reason), (reconciles, reason)));
        assert_eq!(of("DataServicesReady"), ("False", reason));
    }
    let mut facts = world.slot_facts(&slot);
    facts.master_key = Observation::Failed { reason: reasons::MASTER_KEY_MISSING, message: "restore it".into() };
    let plan = tenantry_plan::slot(&slot, &facts);
    let report = status::slot_status(&slot, &facts, &plan, &Outcome::default(), now());
    assert!(report.conditions.iter().any(|condition| condition.type_ == "Stalled" && condition.status == "True"));
}

#[test]
fn a_group_is_not_ready_before_its_slots_have_seen_their_latest_spec() {
    let mut world = World::new();
    world.settle();
    world.edit_group(|group| group.spec.slots[0].release = Some("v2".into()));
    world.reconcile_group();
    let status = world.group.as_ref().unwrap().status.clone().unwrap();
    assert_eq!(status.observed_generation, 2);
    assert_eq!(status.conditions[0].status, "False");
    assert_eq!(status.ready_slots.as_deref(), Some("1/2"));
}

#[test]
fn a_class_and_a_release_in_use_are_held() {
    let world = World::new();
    let mut class = world.class.unwrap();
    let users = ["pcasia".to_owned()];
    let plan = tenantry_plan::class(&class, &users);
    assert_eq!(plan.tracks[0].waves.len(), 1);
    class.metadata.finalizers = Some(vec![tenantry_crds::names::IN_USE_FINALIZER.to_owned()]);
    assert!(tenantry_plan::class(&class, &users).is_settled());
    class.metadata.deletion_timestamp = Some(now());
    let plan = tenantry_plan::class(&class, &users);
    let report = status::class_status(&class, &users, &BTreeMap::new(), &plan, &Outcome::default(), now());
    assert_eq!(report.conditions[0].message, "it is deleted once no groups use it; 1 still do: pcasia");
    assert_eq!(report.groups, 1);
    assert_eq!(tenantry_plan::class(&class, &[]).tracks[0].waves.len(), 1);
}

#[test]
fn a_class_lists_what_slots_left_behind_and_remembers_it_while_a_server_is_silent() {
    let mut class = crate::fixtures::class();
    let plan = tenantry_plan::class(&class, &[]);
    let comment = "tenantry cluster=c group=g slot=dev retained=2026-01-01T00:00:00Z name=pcasia".to_owned();
    let answer = |databases: &[(&str, &str)]| {
        let databases = databases.iter().map(|(name, comment)| ((*name).to_owned(), (*comment).to_owned())).collect();
        BTreeMap::from([("main".to_owned(), Some(databases))])
    };
    let answered = answer(&[("tabc", &comment), ("tdef", "tenantry cluster=c group=g slot=dev"), ("other", "mine, retained=yes")]);
    class.status = Some(status::class_status(&class, &[], &answered, &plan, &Outcome::default(), now()));
    let listed = class.status.clone().unwrap().retained_databases;
    let names: Vec<_> = listed.iter().map(|database| (database.name.as_str(), database.group.as_str(), database.slot.as_str())).collect();
    assert_eq!(names, [("tabc", "pcasia", "dev")]);
    let silent = BTreeMap::from([("main".to_owned(), None)]);
    assert_eq!(status::class_status(&class, &[], &silent, &plan, &Outcome::default(), now()).retained_databases, listed);
    let gone = answer(&[]);
    assert!(status::class_status(&class, &[], &gone, &plan, &Outcome::default(), now()).retained_databases.is_empty());
}
