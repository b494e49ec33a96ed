//! What cannot be done stalls its slot alone, with a reason and what to do.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tenantry_crds::ResourceGroup;

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

/// Applies a group with one slot changed by `change`, and gives the message of its condition Stalled.
async fn stalled(reason: &str, change: impl FnOnce(&mut Value)) -> String {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let mut group = manifests::group(&name, &class, vec![pinned("dev", &release)]);
    change(&mut group["spec"]);
    platform.apply::<ResourceGroup>(group).await;
    platform.wait_for_slot(&name, "dev", "Stalled", "True", reason).await
}

#[tokio::test]
async fn an_unknown_class_stalls_the_slot() {
    let message = stalled("UnknownClass", |spec| spec["classRef"]["name"] = "nowhere".into()).await;
    assert!(message.contains("nowhere"), "{message}");
}

#[tokio::test]
async fn an_unknown_size_stalls_the_slot_and_names_those_there_are() {
    let message = stalled("UnknownSize", |spec| spec["slots"][0]["size"] = "huge".into()).await;
    assert!(message.contains("huge") && message.contains("small"), "{message}");
}

#[tokio::test]
async fn an_unknown_release_stalls_the_slot() {
    let message = stalled("UnknownRelease", |spec| spec["slots"][0]["release"] = "v99".into()).await;
    assert!(message.contains("v99"), "{message}");
}

#[tokio::test]
async fn an_unknown_service_stalls_the_slot() {
    let message = stalled("UnknownService", |spec| spec["services"]["nosuch"] = json!({})).await;
    assert!(message.contains("nosuch"), "{message}");
}

#[tokio::test]
async fn a_setting_of_the_wrong_type_stalls_the_slot_with_its_path() {
    let message = stalled("InvalidSettings", |spec| {
        spec["services"]["ledger"]["settings"] = json!({ "limits": { "daily": "many" } });
    })
    .await;
    assert!(message.contains("limits") && message.contains("daily"), "{message}");
}

#[tokio::test]
async fn a_wrong_change_leaves_what_runs_and_the_other_slots_alone() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let (name, _) = platform.ready_group(&class, &release).await;
    let wrong = vec![pinned("dev", "v99"), pinned("other", &release)];
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, wrong)).await;
    platform.wait_for_slot(&name, "dev", "Stalled", "True", "UnknownRelease").await;
    platform.wait_for_slot(&name, "other", "Ready", "True", "Ready").await;
    let status = platform.slot(&name, "dev").await.unwrap().status.unwrap();
    assert_eq!(status.running_release, Some(release));
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(platform.client().await, &format!("{name}-dev"));
    assert!(pods.list(&ListParams::default()).await.unwrap().items.len() >= 3, "api, worker and cache go on running");
}

#[tokio::test]
async fn a_foreign_namespace_is_never_taken_over() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let before = platform.create_namespace(&format!("{name}-dev")).await;
    let slots = vec![pinned("dev", &release), pinned("other", &release)];
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, slots)).await;
    eventually("the group says that the namespace is not its own", async || {
        let conditions = platform.group(&name).await.unwrap().status.unwrap_or_default().conditions;
        let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled" && condition.reason == "NamespaceNotOurs");
        stalled.map(|_| ()).ok_or(format!("{conditions:?}"))
    })
    .await;
    platform.wait_for_slot(&name, "other", "Ready", "True", "Ready").await;
    let after: Namespace = Api::all(platform.client().await).get(&before.name_any()).await.unwrap();
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert!(platform.slot(&name, "dev").await.is_none());
    let maps: Api<ConfigMap> = Api::namespaced(platform.client().await, &before.name_any());
    assert!(maps.list(&ListParams::default()).await.unwrap().iter().all(|map| map.name_any() == "kube-root-ca.crt"));
}
