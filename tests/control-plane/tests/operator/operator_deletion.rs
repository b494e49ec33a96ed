//! A deleted group leaves nothing, in the cluster or in PostgreSQL.

use tenantry_crds::ResourceGroup;

use super::manifests::{self, pinned};
use super::platform::{Platform, unique};

#[tokio::test]
async fn a_deleted_group_leaves_nothing_and_its_neighbour_everything() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let (name, neighbour) = (unique("acme"), unique("acme"));
    for name in [&name, &neighbour] {
        let slots = vec![pinned("dev", &release), pinned("production", &release)];
        platform.apply::<ResourceGroup>(manifests::group(name, &class, slots)).await;
    }
    let uid = platform.wait_until_ready(&name).await.metadata.uid.unwrap();
    let neighbours_uid = platform.wait_until_ready(&neighbour).await.metadata.uid.unwrap();
    assert_eq!(platform.leftovers(&uid).await.len(), 8, "two databases with three roles each");
    platform.delete_group(&name).await;
    platform.wait_until_gone(&name, &["dev", "production"]).await;
    assert_eq!(platform.leftovers(&uid).await, Vec::<String>::new());
    assert_eq!(platform.leftovers(&neighbours_uid).await.len(), 8);
    platform.wait_until_ready(&neighbour).await;
}

#[tokio::test]
async fn a_group_that_was_never_ready_is_deleted_too() {
    let platform = Platform::shared().await;
    let name = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&name, "nowhere", vec![pinned("dev", "v99")])).await;
    platform.wait_for_slot(&name, "dev", "Stalled", "True", "UnknownClass").await;
    platform.delete_group(&name).await;
    platform.wait_until_gone(&name, &["dev"]).await;
}
