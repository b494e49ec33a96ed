//! Who owns the number of pods, on a real API server: the autoscaler where the class asks for one, and the operator otherwise; never
//! nobody, which would mean one pod.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tenantry_crds::{ResourceGroup, ResourceGroupClass};

use super::manifests::{self, pinned};
use super::platform::{ADMIN_SECRET, Platform, eventually, unique};

const API: &str = "ledger-api";

fn class(platform: &Platform, name: &str, replicas: u32, autoscaling: Option<Value>) -> Value {
    let mut class = manifests::class(name, platform.postgres.port(), ADMIN_SECRET);
    let api = &mut class["spec"]["sizes"]["small"]["api"];
    api["replicas"] = replicas.into();
    if let Some(autoscaling) = autoscaling {
        api["autoscaling"] = autoscaling;
    }
    class
}

/// The number of pods that the Deployment asks for, whenever it changed since that version.
async fn numbers_since(deployments: &Api<Deployment>, version: &str) -> Vec<i32> {
    let parameters = WatchParams::default().fields(&format!("metadata.name={API}")).timeout(3);
    let events: Vec<WatchEvent<Deployment>> = deployments.watch(&parameters, version).await.unwrap().boxed().try_collect().await.unwrap();
    let changed = events.into_iter().filter_map(|event| match event {
        WatchEvent::Added(deployment) | WatchEvent::Modified(deployment) => deployment.spec.replicas,
        _ => None,
    });
    let mut numbers: Vec<i32> = changed.collect();
    numbers.dedup();
    numbers
}

#[tokio::test]
async fn an_autoscaler_comes_and_goes_and_the_number_of_pods_stays_until_its_owner_changes_it() {
    let platform = Platform::shared().await;
    let (_, release) = platform.offer(1).await;
    let (name, group) = (unique("elastic"), unique("acme"));
    platform.apply::<ResourceGroupClass>(class(platform, &name, 3, None)).await;
    platform.apply::<ResourceGroup>(manifests::group(&group, &name, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&group).await;
    let namespace = format!("{group}-dev");
    let deployments: Api<Deployment> = Api::namespaced(platform.client().await, &namespace);
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(platform.client().await, &namespace);
    let before = deployments.get(API).await.unwrap().metadata.resource_version.unwrap();

    let autoscaling = json!({ "maxReplicas": 6, "targetCpuPercent": 50, "scaleDownAfterSeconds": 0 });
    platform.apply::<ResourceGroupClass>(class(platform, &name, 2, Some(autoscaling))).await;
    let found = eventually("there is an autoscaler", async || autoscalers.get(API).await).await;
    let spec = found.spec;
    assert_eq!((spec.min_replicas, spec.max_replicas), (Some(2), 6));
    eventually("the Deployment states no number any more", async || {
        let found = deployments.get(API).await.unwrap();
        let annotations = found.metadata.annotations.unwrap_or_default();
        annotations.contains_key("tenantry.dev/autoscaled").then_some(()).ok_or(annotations)
    })
    .await;
    assert_eq!(numbers_since(&deployments, &before).await, [3], "switching it on changes no number");

    // As the autoscaler does.
    let scale = json!({ "spec": { "replicas": 5 } });
    deployments.patch_scale(API, &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    platform.wait_until_ready(&group).await;
    let scaled = deployments.get(API).await.unwrap();
    assert_eq!(scaled.spec.replicas, Some(5));
    // What somebody changes and adds is repaired; of that, the number alone is left to the autoscaler.
    let scaled = scaled.metadata.resource_version.unwrap();
    let edit = json!({ "spec": { "replicas": 4, "progressDeadlineSeconds": 77, "minReadySeconds": 1 } });
    deployments.patch(API, &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    eventually("the edit is undone", async || {
        let found = deployments.get(API).await.unwrap().spec;
        if found.progress_deadline_seconds == Some(300) && found.min_ready_seconds.is_none() { Ok(()) } else { Err(found) }
    })
    .await;
    // With the pods of the scaling before still on their way.
    let numbers = numbers_since(&deployments, &scaled).await;
    assert!(numbers == [4] || numbers == [5, 4], "{numbers:?}");

    let scaled = deployments.get(API).await.unwrap().metadata.resource_version.unwrap();
    platform.apply::<ResourceGroupClass>(class(platform, &name, 2, None)).await;
    eventually("the autoscaler goes", async || {
        let found = autoscalers.get_opt(API).await.unwrap();
        found.is_none().then_some(()).ok_or(found)
    })
    .await;
    eventually("the number is the class's", async || {
        let found = deployments.get(API).await.unwrap().spec.replicas;
        if found == Some(2) { Ok(()) } else { Err(found) }
    })
    .await;
    let numbers = numbers_since(&deployments, &scaled).await;
    assert!(numbers == [4, 2] || numbers == [2], "at once: {numbers:?}");
    platform.wait_until_ready(&group).await;
}

#[tokio::test]
async fn an_autoscaled_deployment_without_pods_is_repaired() {
    let platform = Platform::shared().await;
    let (_, release) = platform.offer(1).await;
    let (name, group) = (unique("elastic"), unique("acme"));
    let autoscaling = json!({ "maxReplicas": 3, "targetCpuPercent": 50 });
    platform.apply::<ResourceGroupClass>(class(platform, &name, 2, Some(autoscaling))).await;
    platform.apply::<ResourceGroup>(manifests::group(&group, &name, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&group).await;
    let deployments: Api<Deployment> = Api::namespaced(platform.client().await, &format!("{group}-dev"));
    assert_eq!(deployments.get(API).await.unwrap().spec.replicas, Some(2));
    let none = json!({ "spec": { "replicas": 0 } });
    deployments.patch_scale(API, &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    eventually("there are two again", async || {
        let found = deployments.get(API).await.unwrap().spec.replicas;
        if found == Some(2) { Ok(()) } else { Err(found) }
    })
    .await;
}
