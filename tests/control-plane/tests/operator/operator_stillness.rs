//! Nothing is written when nothing changes, also after a restart; what drifts comes back.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tenantry_crds::ResourceGroup;
use tenantry_harness::control_plane::Audit;
use tenantry_harness::operator::{NAMESPACE, USER};

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

/// The operator's mutating requests from that line of the audit log on: those about its Lease, and the others.
fn writes(audit_log: &Path, from: usize) -> (usize, Vec<String>) {
    let log = std::fs::read_to_string(audit_log).unwrap();
    let mut leases = 0;
    let mut others = Vec::new();
    for event in log.lines().skip(from).filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let verb = event["verb"].as_str().unwrap_or_default();
        let mutating = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
        if event["user"]["username"] != USER || event["stage"] != "ResponseComplete" || !mutating {
            continue;
        }
        if event["objectRef"]["resource"] == "leases" {
            leases += 1;
        } else {
            others.push(format!("{verb} {}", event["requestURI"]));
        }
    }
    (leases, others)
}

fn lines(audit_log: &Path) -> usize {
    std::fs::read_to_string(audit_log).unwrap().lines().count()
}

/// While the operator renews its Lease three times, nothing else is written.
async fn assert_still(audit_log: &Path, from: usize) {
    eventually("the Lease is renewed three times", async || {
        let (leases, _) = writes(audit_log, from);
        (leases >= 3).then_some(()).ok_or(leases)
    })
    .await;
    assert_eq!(writes(audit_log, from).1, Vec::<String>::new());
}

/// A last event, or a Job that has just finished, may still be under way when a group is Ready: waits until nothing is written
/// while a Lease is renewed.
async fn settle(audit_log: &Path) {
    eventually("nothing is written any more", async || {
        let from = lines(audit_log);
        let renewed = eventually("a Lease is renewed", async || match writes(audit_log, from) {
            (0, _) => Err("none yet"),
            (_, others) => Ok(others),
        });
        let others = renewed.await;
        if others.is_empty() { Ok(()) } else { Err(others) }
    })
    .await;
}

#[tokio::test]
async fn a_settled_operator_writes_nothing_and_repairs_what_drifts() {
    let platform = Platform::start(Audit::On).await;
    let operator = platform.start_operator().await;
    let audit_log = platform.control_plane.audit_log().unwrap();
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let slots = vec![pinned("dev", &release), pinned("production", &release)];
    let begun = Instant::now();
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, slots)).await;
    platform.wait_until_ready(&name).await;
    eprintln!("a group with two slots is Ready after {:?}; {} writes", begun.elapsed(), writes(audit_log, 0).1.len());
    settle(audit_log).await;
    assert_still(audit_log, lines(audit_log)).await;
    eprintln!("the operator holds {} KiB", operator.resident_kib().unwrap());

    drift(&platform, &format!("{name}-dev")).await;
    platform.wait_until_ready(&name).await;
    settle(audit_log).await;

    assert!(operator.stop().await.unwrap().success());
    let lease: Lease = Api::namespaced(platform.client().await, NAMESPACE).get("tenantry-operator").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.filter(|holder| !holder.is_empty()), None, "the lease was given back");
    let from = lines(audit_log);
    let operator = platform.start_operator().await;
    eventually("the operator has looked at both slots", async || {
        let metrics = operator.metrics().await.unwrap();
        let looked = metrics.lines().filter(|line| line.starts_with("tenantry_reconciles_total") && line.contains("kind=\"Slot\""));
        let count: f64 = looked.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        (count >= 2.0).then_some(()).ok_or(metrics)
    })
    .await;
    assert_still(audit_log, from).await;
    let metrics = operator.metrics().await.unwrap();
    assert!(metrics.contains("tenantry_leader 1"), "{metrics}");
    assert_eq!(operator.probe("livez").await, Some(200));
}

async fn drift(platform: &Platform, namespace: &str) {
    let policies: Api<NetworkPolicy> = Api::namespaced(platform.client().await, namespace);
    let policy = policies.list(&ListParams::default()).await.unwrap().items[0].clone();
    policies.delete(&policy.name_any(), &DeleteParams::default()).await.unwrap();
    let begun = Instant::now();
    eventually("the deleted policy is back", async || {
        let found = policies.get_opt(&policy.name_any()).await.unwrap();
        found.filter(|found| found.metadata.uid != policy.metadata.uid).ok_or("not yet")
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let deployments: Api<Deployment> = Api::namespaced(platform.client().await, namespace);
    let deployment = deployments.list(&ListParams::default().labels("tenantry.dev/role=api")).await.unwrap().items[0].name_any();
    let patch = json!({ "spec": { "replicas": 7 } });
    deployments.patch(&deployment, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let begun = Instant::now();
    eventually("the replicas are those of the size again", async || {
        let replicas = deployments.get(&deployment).await.unwrap().spec.replicas;
        (replicas == Some(1)).then_some(()).ok_or(replicas)
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
