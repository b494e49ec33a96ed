//! Two operators: one that was stopped in the middle of a deletion and goes on after another has taken over, and two that
//! run by mistake. Neither does harm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use tenantry_crds::ResourceGroup;
use tenantry_harness::control_plane::Audit;
use tenantry_harness::operator::Operator;
use tenantry_harness::step_gate::{Held, StepGate};

use super::audit::{lines, settle, writes};
use super::end_state;
use super::manifests::{self, pinned};
use super::normal::Names;
use super::platform::{Platform, eventually, unique};

const DEADLINE: Duration = Duration::from_secs(90);
/// The steps of a deletion in whose midst the leader is stopped: the step is decided and not done.
const STOPPED_BEFORE: [&str; 5] = ["delete Slot", "delete Deployment", "drop database", "drop role", "delete Namespace"];

/// Lets everything pass until a step of that kind is about to be done.
async fn pass_until(gate: &mut StepGate, step: &str) -> Held {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        let held = gate.next().await.unwrap();
        if held.moment.step == step && held.moment.phase == "before" {
            return held;
        }
        held.go().await.unwrap();
    }
    panic!("no step {step} within {DEADLINE:?}");
}

/// Lets everything pass until the operator ends by itself.
async fn pass_until_it_ends(operator: &mut Operator, gate: &mut StepGate) -> Vec<String> {
    let (begun, mut passed) = (Instant::now(), Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            held = gate.next() => {
                let held = held.unwrap();
                passed.push(format!("{} {} {}", held.moment.phase, held.moment.step, held.moment.object));
                let _ = held.go().await;
            }
            _ = ticks.tick() => {
                if let Some(status) = operator.try_wait().unwrap() {
                    assert!(!status.success(), "a former leader ends with an error");
                    return passed;
                }
                assert!(begun.elapsed() < DEADLINE, "a former leader goes on: {}", operator.log());
            }
        }
    }
}

/// Every object's UID, and all that is in PostgreSQL.
async fn possessions(platform: &Platform, group: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let client = platform.client().await;
    let uid = platform.group(group).await.unwrap().metadata.uid.unwrap();
    let objects = end_state::managed(&client, group).await;
    let objects = objects.iter().map(|object| {
        let kind = &object.types.as_ref().unwrap().kind;
        (format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any()), object.uid().unwrap_or_default())
    });
    (objects.collect(), end_state::in_postgres(platform, &uid).await)
}

#[tokio::test]
async fn a_leader_stopped_in_mid_deletion_and_continued_after_fail_over_spares_the_next_group_of_that_name() {
    let platform = Platform::start(Audit::Off).await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let manifest = || manifests::group(&name, &class, vec![pinned("dev", &release)]);
    for step in STOPPED_BEFORE {
        let (mut former, mut gate) = platform.start_gated_operator(&[]);
        platform.apply::<ResourceGroup>(manifest()).await;
        // The group is there, made by whoever led before, or comes now.
        let ready = platform.wait_until_ready(&name);
        tokio::pin!(ready);
        let first = loop {
            tokio::select! {
                group = &mut ready => break group,
                held = gate.next() => held.unwrap().go().await.unwrap(),
            }
        };
        platform.delete_group(&name).await;
        let held = pass_until(&mut gate, step).await;
        former.pause().unwrap();

        let begun = Instant::now();
        let successor = platform.start_operator().await;
        platform.wait_until_gone(&name, &["dev"]).await;
        let gone = begun.elapsed();
        assert_eq!(platform.leftovers(&first.metadata.uid.unwrap()).await, Vec::<String>::new());
        platform.apply::<ResourceGroup>(manifest()).await;
        platform.wait_until_ready(&name).await;
        let before = possessions(&platform, &name).await;

        // What it had decided it may do now: it has a stale plan and the old group's identity.
        former.resume().unwrap();
        let _ = held.go().await;
        let passed = pass_until_it_ends(&mut former, &mut gate).await;
        eprintln!("stopped before `{step}`: gone after {gone:?} without it; then it went on for {passed:?}");
        assert_eq!(possessions(&platform, &name).await, before, "stopped before `{step}`");
        platform.wait_until_ready(&name).await;
        assert!(successor.stop().await.unwrap().success());
    }
}

#[tokio::test]
async fn two_operators_that_lead_at_once_by_mistake_agree() {
    let platform = Platform::start(Audit::On).await;
    let audit_log = platform.control_plane.audit_log().unwrap();
    // By another Lease, and by the same name in the same one.
    for (one, other) in [
        (["--lease-name=one", "--identity=one"], ["--lease-name=other", "--identity=other"]),
        (["--lease-name=same", "--identity=same"], ["--lease-name=same", "--identity=same"]),
    ] {
        let mut operators = Vec::new();
        for own in [one, other] {
            operators.push(platform.start_operator_with(&own).await);
        }
        for operator in &operators {
            eventually("both lead", async || {
                let metrics = operator.metrics().await.unwrap();
                metrics.contains("tenantry_leader 1").then_some(()).ok_or("not yet")
            })
            .await;
        }
        let (class, release) = platform.offer(1).await;
        let names = ["a", "b", "c"].map(unique);
        for name in &names {
            let slots = vec![pinned("dev", &release), pinned("production", &release)];
            platform.apply::<ResourceGroup>(manifests::group(name, &class, slots)).await;
        }
        for name in &names {
            platform.wait_until_ready(name).await;
        }
        settle(audit_log).await;
        let from = lines(audit_log);
        eventually("both renew their Leases", async || {
            let (leases, others) = writes(audit_log, from);
            assert_eq!(others, Vec::<String>::new(), "they do not fight");
            (leases >= 4).then_some(()).ok_or(leases)
        })
        .await;
        // Nothing but names differs between groups.
        let mut states = Vec::new();
        for name in &names {
            let uid = platform.group(name).await.unwrap().metadata.uid.unwrap();
            states.push(end_state::of_group(&platform, name, &uid, &Names::new(&[(name, "GROUP")])).await);
        }
        assert_eq!(states[0], states[1]);
        assert_eq!(states[0], states[2]);
        let uids: Vec<String> = futures::future::join_all(names.iter().map(|name| platform.group(name)))
            .await
            .into_iter()
            .map(|group| group.unwrap().metadata.uid.unwrap())
            .collect();
        for name in &names {
            platform.delete_group(name).await;
        }
        for (name, uid) in names.iter().zip(uids) {
            platform.wait_until_gone(name, &["dev", "production"]).await;
            assert_eq!(platform.leftovers(&uid).await, Vec::<String>::new());
        }
        for operator in operators {
            operator.kill().unwrap();
        }
    }
}
