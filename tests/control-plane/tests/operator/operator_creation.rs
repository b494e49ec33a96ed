//! A group in, a running copy of the application out; and what happens when it changes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tenantry_crds::{Release, ResourceGroup};

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

async fn names<K>(platform: &Platform, namespace: &str) -> Vec<String>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(platform.client().await, namespace);
    api.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn a_group_becomes_namespaces_slots_and_everything_in_them() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let staging = json!({ "name": "staging", "size": "large", "promoteFrom": "dev", "initialRelease": release });
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &release), staging])).await;
    let group = platform.wait_until_ready(&name).await;
    let status = group.status.clone().unwrap();
    assert_eq!(status.ready_slots.as_deref(), Some("2/2"));
    assert_eq!(status.slots.len(), 2);

    let namespace = format!("{name}-dev");
    let found: Namespace = Api::all(platform.client().await).get(&namespace).await.unwrap();
    assert_eq!(found.labels().get("pod-security.kubernetes.io/enforce").map(String::as_str), Some("restricted"));
    assert_eq!(found.labels().get("tenantry.dev/group-uid"), group.metadata.uid.as_ref());
    for (kind, found) in [
        ("ResourceQuota", names::<ResourceQuota>(platform, &namespace).await),
        ("LimitRange", names::<LimitRange>(platform, &namespace).await),
        ("NetworkPolicy", names::<NetworkPolicy>(platform, &namespace).await),
        ("RoleBinding", names::<RoleBinding>(platform, &namespace).await),
    ] {
        assert!(!found.is_empty(), "no {kind}");
    }
    let accounts = names::<ServiceAccount>(platform, &namespace).await;
    assert!(accounts.contains(&"ledger".to_owned()), "{accounts:?}");
    assert!(names::<Service>(platform, &namespace).await.contains(&"ledger".to_owned()));
    let secrets = names::<Secret>(platform, &namespace).await;
    for secret in ["ledger-api", "ledger-database", "ledger-migration"] {
        assert!(secrets.contains(&secret.to_owned()), "{secret} is not among {secrets:?}");
    }
    let deployments: Api<Deployment> = Api::namespaced(platform.client().await, &format!("{name}-staging"));
    let api = deployments.list(&ListParams::default().labels("tenantry.dev/role=api")).await.unwrap();
    assert_eq!(api.items[0].spec.replicas, Some(2), "the size large has two");

    let slot = platform.slot(&name, "dev").await.unwrap().status.unwrap();
    assert_eq!(slot.running_release, Some(release));
    assert_eq!(slot.services[0].schema_version, Some(1));
    let events: Api<Event> = Api::namespaced(platform.client().await, &namespace);
    eventually("the slot has an event of its becoming Ready", async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let told = events.iter().any(|event| event.reason.as_deref() == Some("Ready"));
        told.then_some(()).ok_or("no event")
    })
    .await;
}

#[tokio::test]
async fn a_promoted_slot_without_an_initial_release_awaits_its_first_promotion() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let staging = json!({ "name": "staging", "size": "small", "promoteFrom": "dev" });
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &release), staging])).await;
    platform.wait_for_slot(&name, "staging", "Ready", "False", "AwaitingPromotion").await;
    assert!(platform.slot(&name, "staging").await.unwrap().spec.revision.is_none());
    platform.wait_for_slot(&name, "dev", "Ready", "True", "Ready").await;
}

#[tokio::test]
async fn a_new_release_is_migrated_to_and_a_removed_slot_goes() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let both = vec![pinned("dev", &release), pinned("extra", &release)];
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, both)).await;
    let uid = platform.wait_until_ready(&name).await.metadata.uid.unwrap();
    let before = platform.leftovers(&uid).await.len();

    let next = unique("v2");
    platform.apply::<Release>(manifests::release(&next, 2)).await;
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &next)])).await;
    platform.wait_until_ready(&name).await;
    eventually("dev runs the new release on its schema", async || {
        let status = platform.slot(&name, "dev").await.unwrap().status.unwrap();
        let current = status.running_release.as_ref() == Some(&next) && status.services[0].schema_version == Some(2);
        current.then_some(()).ok_or(status)
    })
    .await;
    eventually("the removed slot goes, with its database and roles", async || {
        let namespace: Option<Namespace> = Api::all(platform.client().await).get_opt(&format!("{name}-extra")).await.unwrap();
        let left = platform.leftovers(&uid).await;
        (namespace.is_none() && left.len() * 2 == before).then_some(()).ok_or(left)
    })
    .await;
}
