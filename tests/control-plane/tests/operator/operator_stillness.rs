//! Nothing is written when nothing changes, also after a restart.

use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};
use tenantry_harness::control_plane::Audit;
use tenantry_harness::operator::{NAMESPACE, Operator};

use super::audit::{assert_still, lines, settle, writes};
use super::manifests::{self, pinned};
use super::platform::{ADMIN_SECRET, Platform, eventually, has, unique};

/// How long nothing may be written. `cargo xtask bench operator` does ten minutes.
const STILL: Duration = Duration::from_secs(60);

/// Waits until the operator has reconciled so many Slots.
async fn looked_at(operator: &Operator, slots: f64) {
    eventually("the operator has looked at all slots", async || {
        let metrics = operator.metrics().await.unwrap();
        let looked = metrics.lines().filter(|line| line.starts_with("tenantry_reconciles_total") && line.contains("kind=\"Slot\""));
        let count: f64 = looked.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        (count >= slots).then_some(()).ok_or(metrics)
    })
    .await;
}

/// Groups in every state that lasts: Ready, waiting for a promotion, stalled by a wrong setting, by an unknown release and by
/// an unknown class.
async fn groups_in_every_state(platform: &Platform) {
    let (class, release) = platform.offer(1).await;
    let unused = (unique("standard"), unique("v1"));
    platform.apply::<ResourceGroupClass>(manifests::class(&unused.0, platform.postgres.port(), ADMIN_SECRET)).await;
    platform.apply::<Release>(manifests::release(&unused.1, 1)).await;
    let [ready, other, wrong, unknown, nowhere] = ["ready", "other", "wrong", "unknown", "nowhere"].map(unique);
    let staging = json!({ "name": "staging", "size": "large", "promoteFrom": "dev", "initialRelease": release });
    let waiting = json!({ "name": "production", "size": "large", "promoteFrom": "staging" });
    platform.apply::<ResourceGroup>(manifests::group(&ready, &class, vec![pinned("dev", &release), staging])).await;
    platform
        .apply::<ResourceGroup>(manifests::group(
            &other,
            &class,
            vec![pinned("dev", &release), json!({ "name": "staging", "size": "small", "promoteFrom": "dev" }), waiting],
        ))
        .await;
    let mut group = manifests::group(&wrong, &class, vec![pinned("dev", &release)]);
    group["spec"]["services"]["ledger"]["settings"] = json!({ "limits": { "daily": "many" } });
    platform.apply::<ResourceGroup>(group).await;
    platform.apply::<ResourceGroup>(manifests::group(&unknown, &class, vec![pinned("dev", "v99")])).await;
    platform.apply::<ResourceGroup>(manifests::group(&nowhere, "nowhere", vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&ready).await;
    platform.wait_for_slot(&other, "dev", "Ready", "True", "Ready").await;
    platform.wait_for_slot(&wrong, "dev", "Stalled", "True", "InvalidSettings").await;
    platform.wait_for_slot(&unknown, "dev", "Stalled", "True", "UnknownRelease").await;
    platform.wait_for_slot(&nowhere, "dev", "Stalled", "True", "UnknownClass").await;
    eventually("every slot of a class was probed", async || {
        // A probe that the operator came too late for is repeated.
        let slots = Api::<Slot>::all(platform.client().await).list(&ListParams::default()).await.unwrap().items;
        let of_class = slots.iter().filter(|slot| slot.spec.class_ref.name == class);
        let is_probed = |slot: &&Slot| has(&slot.status.clone().unwrap_or_default().conditions, "NetworkIsolated", "True");
        let not_yet: Vec<String> = of_class.filter(|slot| !is_probed(slot)).filter_map(|slot| slot.namespace()).collect();
        if not_yet.is_empty() { Ok(()) } else { Err(not_yet) }
    })
    .await;
    eventually("classes and releases say that they are settled", async || {
        let client = platform.client().await;
        for name in [&class, &unused.0] {
            let found = Api::<ResourceGroupClass>::all(client.clone()).get(name).await.unwrap();
            if !has(&found.status.unwrap_or_default().conditions, "Ready", "True") {
                return Err(name.clone());
            }
        }
        for name in [&release, &unused.1] {
            let found = Api::<Release>::all(client.clone()).get(name).await.unwrap();
            if !has(&found.status.unwrap_or_default().conditions, "Ready", "True") {
                return Err(name.clone());
            }
        }
        Ok(())
    })
    .await;
}

/// Has the cluster remove the Jobs of migrations now and not in some minutes, as it does when their time is over.
async fn end_the_time_of_migrations(platform: &Platform) {
    let jobs = ListParams::default().labels("tenantry.dev/role=migrate");
    let client = platform.client().await;
    let found = Api::<Job>::all(client.clone()).list(&jobs).await.unwrap();
    assert!(!found.items.is_empty(), "a migration's Job stays for a while");
    for job in found {
        let own: Api<Job> = Api::namespaced(client.clone(), &job.namespace().unwrap());
        let at_once = Patch::Merge(json!({ "spec": { "ttlSecondsAfterFinished": 0 } }));
        own.patch(&job.name_any(), &PatchParams::default(), &at_once).await.unwrap();
    }
    eventually("the cluster has removed the Jobs of migrations", async || {
        let left = Api::<Job>::all(client.clone()).list(&jobs).await.unwrap().items.len();
        (left == 0).then_some(()).ok_or(left)
    })
    .await;
}

#[tokio::test]
async fn a_settled_operator_writes_nothing_but_its_lease_for_a_minute_and_after_a_restart() {
    let platform = Platform::start(Audit::On).await;
    let operator = platform.start_operator().await;
    let audit_log = platform.control_plane.audit_log().unwrap();
    groups_in_every_state(&platform).await;
    settle(audit_log).await;
    let (from, begun) = (lines(audit_log), Instant::now());
    end_the_time_of_migrations(&platform).await;
    eventually("a minute has passed, and the Lease was renewed all along", async || {
        let (leases, others) = writes(audit_log, from);
        assert_eq!(others, Vec::<String>::new());
        (begun.elapsed() > STILL && leases >= 3).then_some(()).ok_or(leases)
    })
    .await;
    eprintln!("the operator holds {} KiB", operator.resident_kib().unwrap());

    assert!(operator.stop().await.unwrap().success());
    let lease: Lease = Api::namespaced(platform.client().await, NAMESPACE).get("tenantry-operator").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.filter(|holder| !holder.is_empty()), None, "the lease was given back");
    let from = lines(audit_log);
    let operator = platform.start_operator().await;
    looked_at(&operator, 8.0).await;
    assert_still(audit_log, from).await;
    let metrics = operator.metrics().await.unwrap();
    assert!(metrics.contains("tenantry_leader 1"), "{metrics}");
    assert_eq!(operator.probe("livez").await, Some(200));

    // Killed, it leaves a Lease that has to expire; its successor writes nothing either.
    operator.kill().unwrap();
    let from = lines(audit_log);
    let operator = platform.start_operator().await;
    looked_at(&operator, 8.0).await;
    assert_still(audit_log, from).await;
}
