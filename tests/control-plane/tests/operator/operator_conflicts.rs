//! Somebody else writes the same objects at the same time.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tenantry_crds::{ResourceGroup, Slot};
use tenantry_harness::control_plane::Audit;

use super::audit::{assert_still, lines, settle};
use super::manifests::{self, pinned};
use super::platform::{Platform, eventually};
use super::tampering;

const FOR: Duration = Duration::from_secs(8);

#[tokio::test]
async fn concurrent_writers_are_outlasted_and_own_nothing_in_the_end() {
    let platform = Platform::start(Audit::On).await;
    let _operator = platform.start_operator().await;
    let audit_log = platform.control_plane.audit_log().unwrap();
    let (class, release) = platform.offer(1).await;
    let (name, _) = platform.ready_group(&class, &release).await;
    let (client, namespace) = (platform.client().await, format!("{name}-dev"));
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let slots: Api<Slot> = Api::namespaced(client.clone(), &namespace);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let api = deployments.list(&ListParams::default().labels("tenantry.dev/role=api")).await.unwrap().items[0].name_any();

    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < FOR {
        rounds += 1;
        let sizes = ["small", "large"];
        let group = json!([{ "name": "dev", "size": sizes[rounds % 2], "release": release }]);
        let forced = PatchParams::apply("intruder").force();
        let replicas = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "replicas": rounds % 5 } });
        let size = json!({ "apiVersion": "tenantry.dev/v1alpha1", "kind": "Slot", "spec": { "size": "huge" } });
        let labels =
            json!({ "metadata": { "labels": { "tenantry.dev/slot": "other", "pod-security.kubernetes.io/enforce": "privileged" } } });
        let finalizer = json!([{ "op": "add", "path": "/metadata/finalizers/-", "value": format!("example.org/{}", rounds % 3) }]);
        let (replicas, size, labels, plain) = (Patch::Apply(&replicas), Patch::Apply(&size), Patch::Merge(&labels), PatchParams::default());
        // Whoever loses a race loses it.
        let _ = tokio::join!(
            deployments.patch(&api, &forced, &replicas),
            slots.patch("dev", &forced, &size),
            namespaces.patch(&namespace, &plain, &labels),
            tampering::patch(&client, &slots, "dev", &finalizer),
            async {
                let mut manifest = manifests::group(&name, &class, vec![]);
                manifest["spec"]["slots"] = group;
                platform.apply::<ResourceGroup>(manifest).await;
            },
        );
    }
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &release)])).await;
    let slot = slots.get("dev").await.unwrap();
    let kept: Vec<&String> = slot.finalizers().iter().filter(|finalizer| !finalizer.starts_with("example.org/")).collect();
    assert_eq!(kept.len(), 1, "{:?}", slot.finalizers());
    let only_ours = json!({ "metadata": { "finalizers": kept } });
    slots.patch("dev", &PatchParams::default(), &Patch::Merge(&only_ours)).await.unwrap();
    platform.wait_until_ready(&name).await;
    eventually("everything is as the group says", async || {
        let replicas = deployments.get(&api).await.unwrap().spec.replicas;
        let slot = slots.get("dev").await.unwrap();
        let namespace = namespaces.get(&namespace).await.unwrap();
        let label = namespace.labels().get("pod-security.kubernetes.io/enforce").cloned();
        let right = replicas == Some(1) && slot.spec.size == "small" && label.as_deref() == Some("restricted");
        right.then_some(()).ok_or((replicas, slot.spec.size, label))
    })
    .await;
    let owners = deployments.get(&api).await.unwrap().managed_fields().to_vec();
    let intruders: Vec<_> = owners.iter().filter(|entry| entry.manager.as_deref() == Some("intruder")).collect();
    assert!(intruders.is_empty(), "{intruders:?}");
    eprintln!("{rounds} rounds of concurrent writes");
    settle(audit_log).await;
    assert_still(audit_log, lines(audit_log)).await;
}
