//! An operator that is killed in the middle of its work: the next one goes on from there.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::ListParams;
use tenantry_crds::ResourceGroup;
use tenantry_harness::control_plane::Audit;

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

#[tokio::test]
async fn an_operator_killed_while_creating_and_while_deleting_is_replaced_without_a_trace() {
    let platform = Platform::start(Audit::Off).await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let operator = platform.start_operator().await;
    let slots = vec![pinned("dev", &release), pinned("production", &release)];
    let uid = platform.apply::<ResourceGroup>(manifests::group(&name, &class, slots)).await.metadata.uid.unwrap();

    let accounts: Api<ServiceAccount> = Api::all(platform.client().await);
    eventually("the first objects are there", async || {
        let managed = ListParams::default().labels("app.kubernetes.io/managed-by=tenantry");
        let found = accounts.list(&managed).await.unwrap().items.len();
        (found > 0).then_some(()).ok_or(found)
    })
    .await;
    operator.kill().unwrap();
    let operator = platform.start_operator().await;
    eventually("the first roles are there", async || {
        let found = platform.leftovers(&uid).await;
        (!found.is_empty()).then_some(()).ok_or(found)
    })
    .await;
    operator.kill().unwrap();
    let operator = platform.start_operator().await;
    platform.wait_until_ready(&name).await;
    assert_eq!(platform.leftovers(&uid).await.len(), 8);

    platform.delete_group(&name).await;
    eventually("the deletion has reached PostgreSQL", async || {
        let found = platform.leftovers(&uid).await;
        (found.len() < 8).then_some(()).ok_or(found)
    })
    .await;
    operator.kill().unwrap();
    let _operator = platform.start_operator().await;
    platform.wait_until_gone(&name, &["dev", "production"]).await;
    assert_eq!(platform.leftovers(&uid).await, Vec::<String>::new());
}
