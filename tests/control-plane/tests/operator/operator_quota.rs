//! The quota of a slot's namespace under a real quota admission: it stands in the way of no roll-out, and gives nobody more who
//! edits what runs.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tenantry_crds::{ResourceGroup, ResourceGroupClass};

use super::manifests::{self, pinned};
use super::platform::{ADMIN_SECRET, Platform, eventually, unique};
use super::tampering;

const API: &str = "ledger-api";
const QUOTA: &str = "slot";

/// A class whose `small` has so many pods of so much memory of each role.
fn class(platform: &Platform, name: &str, replicas: u32, memory: u32) -> Value {
    let mut class = manifests::class(name, platform.postgres.port(), ADMIN_SECRET);
    for role in ["api", "worker"] {
        class["spec"]["sizes"]["small"][role] = json!({ "replicas": replicas, "resources": { "cpuMillis": 20, "memoryMib": memory } });
    }
    class
}

async fn quota(client: &Client, namespace: &str) -> ResourceQuota {
    Api::namespaced(client.clone(), namespace).get(QUOTA).await.unwrap()
}

fn hard(quota: &ResourceQuota) -> Value {
    json!(quota.spec.as_ref().unwrap().hard)
}

/// What the quota gave, whenever it was written since that version.
async fn quotas_since(client: &Client, namespace: &str, version: &str) -> Vec<Value> {
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    let parameters = WatchParams::default().fields(&format!("metadata.name={QUOTA}")).timeout(3);
    let events: Vec<WatchEvent<ResourceQuota>> = quotas.watch(&parameters, version).await.unwrap().boxed().try_collect().await.unwrap();
    let written = events.into_iter().filter_map(|event| match event {
        WatchEvent::Added(quota) | WatchEvent::Modified(quota) | WatchEvent::Deleted(quota) => Some(hard(&quota)),
        _ => None,
    });
    written.collect()
}

/// The memory that each pod of the `api` gets.
async fn memory_of_pods(client: &Client, namespace: &str) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = pods.list(&ListParams::default().labels("tenantry.dev/role=api")).await.unwrap();
    let memory = |pod: &Pod| json!(pod.spec)["containers"][0]["resources"]["requests"]["memory"].as_str().unwrap().to_owned();
    found.iter().map(memory).collect()
}

#[tokio::test]
async fn a_deployment_that_somebody_pushes_up_gets_no_larger_quota_and_is_repaired() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let (group, _) = platform.ready_group(&class, &release).await;
    let (client, namespace) = (platform.client().await, format!("{group}-dev"));
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let settled = deployments.get(API).await.unwrap();
    let before = quota(&client, &namespace).await;

    let resources = "/spec/template/spec/containers/0/resources";
    let replace = |path: String, value: Value| json!({ "op": "replace", "path": path, "value": value });
    let edits = [
        json!([replace(format!("{resources}/requests/cpu"), json!("7Mi"))]),
        json!([replace(resources.to_owned(), json!({ "requests": { "memory": "7Gi" }, "limits": { "memory": "7Gi" } }))]),
        json!([replace("/spec/replicas".to_owned(), json!(40))]),
        json!([replace("/spec/replicas".to_owned(), json!(40)), replace(format!("{resources}/requests/cpu"), json!("1"))]),
    ];
    for edit in edits {
        let edited = tampering::patch(&client, &deployments, API, &edit).await.unwrap();
        assert_ne!(edited.spec, settled.spec);
        eventually("the Deployment is repaired", async || {
            let found = deployments.get(API).await.unwrap();
            if found.spec == settled.spec { Ok(()) } else { Err(found.spec) }
        })
        .await;
    }
    let written = quotas_since(&client, &namespace, before.resource_version().as_deref().unwrap()).await;
    assert!(written.iter().all(|written| *written == hard(&before)), "{written:?} instead of {}", hard(&before));
    platform.wait_until_ready(&group).await;
    eventually("one pod as the plan has it is left", async || {
        let memory = memory_of_pods(&client, &namespace).await;
        if memory == ["48Mi"] { Ok(()) } else { Err(memory) }
    })
    .await;
}

/// The pods of before take more than all the new ones together may: they have to have room beside them.
#[tokio::test]
async fn a_class_that_shrinks_and_grows_rolls_out_under_its_quotas() {
    let platform = Platform::shared().await;
    let (_, release) = platform.offer(1).await;
    let (name, group) = (unique("shrinking"), unique("acme"));
    platform.apply::<ResourceGroupClass>(class(platform, &name, 2, 2048)).await;
    platform.apply::<ResourceGroup>(manifests::group(&group, &name, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&group).await;
    let (client, namespace) = (platform.client().await, format!("{group}-dev"));

    for (replicas, memory) in [(1, 48), (2, 2048), (1, 2048), (3, 48)] {
        platform.apply::<ResourceGroupClass>(class(platform, &name, replicas, memory)).await;
        let wanted = vec![if memory == 2048 { "2Gi".to_owned() } else { format!("{memory}Mi") }; replicas as usize];
        eventually(&format!("{replicas} pods of {memory} MiB are left"), async || {
            let found = memory_of_pods(&client, &namespace).await;
            if found == wanted { Ok(()) } else { Err((found, platform.slot(&group, "dev").await.unwrap().status)) }
        })
        .await;
        // Two caches, migrations and probes each; of api and worker the old, the new and one more.
        let pods = 2 * (2 * replicas + 1) + 2 + 2 + 2;
        eventually("the quota is the class's", async || {
            let found = hard(&quota(&client, &namespace).await);
            if found["pods"] == json!(pods.to_string()) { Ok(()) } else { Err(found) }
        })
        .await;
    }
    platform.wait_until_ready(&group).await;
}
