//! A PostgreSQL server that hangs instead of refusing: connections stand, nothing comes through.

use std::time::{Duration, Instant};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::DeleteParams;
use tenantry_crds::{Release, ResourceGroup};
use tenantry_harness::postgres::PostgresVersion;
use tenantry_harness::stalling_proxy::StallingProxy;

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

/// More slots than the operator has workers.
const GROUPS: usize = 5;
const SLOTS: [&str; 4] = ["a", "b", "c", "d"];

#[tokio::test]
async fn a_hanging_server_holds_up_its_own_slots_alone_and_is_used_again_when_it_answers() {
    let platform = Platform::shared().await;
    let (server, secret) = platform.another_server(PostgresVersion::Installed).await;
    let proxy = StallingProxy::start(server.port()).await.unwrap();
    let (class, (good_class, release)) = (unique("standard"), platform.offer(1).await);
    platform.class_of(&class, vec![manifests::server("main", proxy.port(), &secret, 1000)]).await;
    let settled = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&settled, &class, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&settled).await;

    proxy.stall();
    let hung: Vec<String> = (0..GROUPS).map(|_| unique("hung")).collect();
    for group in &hung {
        let slots = SLOTS.iter().map(|slot| pinned(slot, &release)).collect();
        platform.apply::<ResourceGroup>(manifests::group(group, &class, slots)).await;
    }
    // The settled one is in the middle of its life: it is to have another release.
    let next = unique("v2");
    platform.apply::<Release>(manifests::release(&next, 2)).await;
    platform.apply::<ResourceGroup>(manifests::group(&settled, &class, vec![pinned("dev", &next)])).await;
    let message = platform.wait_for_slot(&settled, "dev", "DataServicesReady", "False", "PostgresUnreachable").await;
    eprintln!("the hanging server: {message}");
    for group in &hung {
        for slot in SLOTS {
            platform.wait_for_slot(group, slot, "DataServicesReady", "False", "PostgresUnreachable").await;
        }
    }

    // Others are served as if nothing was, and isolation is repaired where the server hangs.
    let begun = Instant::now();
    let neighbour = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&neighbour, &good_class, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&neighbour).await;
    eprintln!("a neighbour became Ready after {:?}", begun.elapsed());
    let policies: Api<NetworkPolicy> = Api::namespaced(platform.client().await, &format!("{settled}-dev"));
    policies.delete("default-deny", &DeleteParams::default()).await.unwrap();
    let begun = Instant::now();
    eventually("the deleted policy is back", async || policies.get("default-deny").await.map(|_| ())).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    proxy.flow();
    platform.wait_until_ready(&settled).await;
    for group in hung.iter().chain([&settled, &neighbour]) {
        platform.delete_group(group).await;
    }
    for group in &hung {
        platform.wait_until_gone(group, &SLOTS).await;
    }
    platform.wait_until_gone(&settled, &["dev"]).await;
}
