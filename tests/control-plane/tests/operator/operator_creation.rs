//! A group in, a running copy of the application out; and what happens when it changes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota, Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tenantry_crds::{Release, ResourceGroup};

use super::fake_kubelet::NO_SUCH_IMAGE;
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
    // Of what has no namespace they are in `default`.
    let events: Api<Event> = Api::namespaced(platform.client().await, "default");
    eventually("the group has an event of its becoming Ready", async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let of_group = |event: &Event| event.regarding.as_ref().and_then(|regarding| regarding.uid.clone()) == group.metadata.uid;
        let told = events.iter().any(|event| of_group(event) && event.reason.as_deref() == Some("Ready"));
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

/// The cluster removes Jobs that have ended, and a Job that is not there would be made again.
#[tokio::test]
async fn the_job_of_a_migration_that_failed_stays_until_somebody_deletes_it() {
    let platform = Platform::shared().await;
    let (class, release) = (platform.offer(1).await.0, unique("v1"));
    let mut broken = manifests::release(&release, 1);
    broken["spec"]["services"]["ledger"]["image"] = manifests::IMAGE.replace("ledger", NO_SUCH_IMAGE).into();
    platform.apply::<Release>(broken).await;
    let name = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &release)])).await;
    let jobs: Api<Job> = Api::namespaced(platform.client().await, &format!("{name}-dev"));
    let migrations = ListParams::default().labels("tenantry.dev/role=migrate");
    let job = eventually("the migration begins", async || jobs.list(&migrations).await.unwrap().items.pop().ok_or("no Job")).await;
    assert!(job.spec.unwrap().ttl_seconds_after_finished.is_some());

    let late = Patch::Merge(json!({ "spec": { "activeDeadlineSeconds": 1 } }));
    jobs.patch(job.metadata.name.as_ref().unwrap(), &PatchParams::default(), &late).await.unwrap();
    platform.wait_for_slot(&name, "dev", "Stalled", "True", "MigrationFailed").await;
    eventually("the cluster is to leave it alone", async || {
        let found = jobs.list(&migrations).await.unwrap().items.pop().filter(|found| found.metadata.uid == job.metadata.uid);
        let found = found.ok_or("it is gone")?;
        if found.spec.unwrap().ttl_seconds_after_finished.is_none() { Ok(()) } else { Err("it goes by itself") }
    })
    .await;
}
