//! No data is lost by a side door. Each door is tried on real PostgreSQL, and the data are real rows that have to be there
//! afterwards.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tenantry_crds::{ResourceGroup, Slot};

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};
use super::rows;

fn protected(name: &str, release: &str) -> Value {
    let mut slot = pinned(name, release);
    slot["deletionProtection"] = true.into();
    slot
}

/// What kubectl says when it is refused.
async fn refused(platform: &Platform, arguments: &[&str]) -> String {
    let output = platform.control_plane.run("kubectl", arguments, None).await.unwrap();
    assert!(!output.status.success(), "kubectl {arguments:?} was let through");
    String::from_utf8(output.stderr).unwrap()
}

async fn slot_uid(platform: &Platform, group: &str) -> Option<String> {
    platform.slot(group, "dev").await.filter(|slot| slot.metadata.deletion_timestamp.is_none())?.metadata.uid
}

/// Waits until another Slot stands in the place of that one.
async fn wait_until_made_again(platform: &Platform, group: &str, before: &Option<String>) {
    eventually(&format!("the Slot of {group}-dev is made again"), async || {
        let uid = slot_uid(platform, group).await;
        if uid.is_some() && uid != *before { Ok(()) } else { Err(uid) }
    })
    .await;
    platform.wait_until_ready(group).await;
}

#[tokio::test]
async fn a_protected_slot_its_group_and_its_namespace_cannot_be_deleted_until_it_is_unprotected() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let group = |slots| manifests::group(&name, &class, slots);
    platform.apply::<ResourceGroup>(group(vec![protected("dev", &release)])).await;
    let uid = platform.wait_until_ready(&name).await.metadata.uid.unwrap();
    rows::insert(platform, &name, "dev").await;

    let object = format!("resourcegroup.tenantry.dev/{name}");
    let removal = ["patch", &object, "--type=merge", "--patch", r#"{"spec":{"slots":[]}}"#];
    let said = refused(platform, &removal).await;
    assert!(said.contains("set its deletionProtection to false first"), "{said}");
    for cascade in ["background", "foreground", "orphan"] {
        let said = refused(platform, &["delete", &object, &format!("--cascade={cascade}"), "--wait=false"]).await;
        assert!(said.contains("its protected slots: dev; set deletionProtection: false"), "{said}");
        let namespace = format!("namespace/{name}-dev");
        let said = refused(platform, &["delete", &namespace, &format!("--cascade={cascade}"), "--wait=false"]).await;
        assert!(said.contains(&format!("set deletionProtection: false for it in spec.slots of the ResourceGroup {name}")), "{said}");
    }
    rows::assert_there(platform, &name, "dev").await;

    // In two updates that the operator may well see as one.
    platform.apply::<ResourceGroup>(group(vec![pinned("dev", &release)])).await;
    platform.control_plane.kubectl(&removal).await.unwrap();
    eventually("the slot goes", async || {
        let namespaces: Api<Namespace> = Api::all(platform.client().await);
        namespaces.get_opt(&format!("{name}-dev")).await.unwrap().map_or(Ok(()), |namespace| Err(namespace.status))
    })
    .await;
    assert_eq!(platform.leftovers(&uid).await, Vec::<String>::new());
    platform.delete_group(&name).await;
    platform.wait_until_gone(&name, &["dev"]).await;
}

#[tokio::test]
async fn a_namespace_deleted_by_a_mistake_comes_back_with_its_data() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let (name, uid) = platform.ready_group(&class, &release).await;
    rows::insert(platform, &name, "dev").await;
    let before = slot_uid(platform, &name).await;
    platform.control_plane.kubectl(&["delete", &format!("namespace/{name}-dev"), "--wait=false"]).await.unwrap();
    wait_until_made_again(platform, &name, &before).await;
    rows::assert_there(platform, &name, "dev").await;

    platform.delete_group(&name).await;
    platform.wait_until_gone(&name, &["dev"]).await;
    assert_eq!(platform.leftovers(&uid).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_slot_deleted_in_whatever_way_is_made_again_and_its_pods_never_end() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let (name, _) = platform.ready_group(&class, &release).await;
    rows::insert(platform, &name, "dev").await;
    let namespace = format!("--namespace={name}-dev");
    let pods = || async {
        let arguments = ["get", "pods", &namespace, "--selector=tenantry.dev/role in (api, worker)", "--output=name"];
        platform.control_plane.kubectl(&arguments).await.unwrap()
    };
    let running = pods().await;
    assert!(!running.is_empty());
    for cascade in ["background", "foreground", "orphan"] {
        let before = slot_uid(platform, &name).await;
        let arguments = ["delete", "slot.tenantry.dev/dev", &namespace, &format!("--cascade={cascade}"), "--wait=false"];
        platform.control_plane.kubectl(&arguments).await.unwrap();
        wait_until_made_again(platform, &name, &before).await;
        rows::assert_there(platform, &name, "dev").await;
    }
    assert_eq!(pods().await, running);
    platform.delete_group(&name).await;
    platform.wait_until_gone(&name, &["dev"]).await;
}

#[tokio::test]
async fn a_group_deleted_in_the_foreground_or_with_orphans_is_torn_down_as_any_other() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    for cascade in ["foreground", "orphan"] {
        let (name, uid) = platform.ready_group(&class, &release).await;
        let arguments = ["delete", &format!("resourcegroup.tenantry.dev/{name}"), &format!("--cascade={cascade}"), "--wait=false"];
        platform.control_plane.kubectl(&arguments).await.unwrap();
        platform.wait_until_gone(&name, &["dev"]).await;
        assert_eq!(platform.leftovers(&uid).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn wiped_statuses_are_found_again_with_the_data() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let (name, _) = platform.ready_group(&class, &release).await;
    rows::insert(platform, &name, "dev").await;
    let database = rows::database(platform, &name, "dev").await;
    let client = platform.client().await;
    let empty = Patch::Merge(json!({ "status": null }));
    let groups: Api<ResourceGroup> = Api::all(client.clone());
    groups.patch_status(&name, &PatchParams::default(), &empty).await.unwrap();
    let slots: Api<Slot> = Api::namespaced(client.clone(), &format!("{name}-dev"));
    slots.patch_status("dev", &PatchParams::default(), &empty).await.unwrap();
    let classes: Api<tenantry_crds::ResourceGroupClass> = Api::all(client);
    classes.patch_status(&class, &PatchParams::default(), &empty).await.unwrap();
    eventually("the database is known again", async || {
        let found = platform.slot(&name, "dev").await.and_then(|slot| slot.status).and_then(|status| status.database);
        found.filter(|found| found.name == database).map(|_| ()).ok_or("not yet")
    })
    .await;
    platform.wait_until_ready(&name).await;
    rows::assert_there(platform, &name, "dev").await;
}
