//! Several PostgreSQL servers in a class: where a slot's database is made, and that it stays there and is found there again.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sqlx::{Connection, Row};
use tenantry_crds::{Release, ResourceGroup, Slot};
use tenantry_harness::control_plane::Audit;
use tenantry_harness::postgres::{PostgresServer, PostgresVersion, StopMode};

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

/// Connections of a slot of the size `small`.
const WANTED: u32 = 14;

async fn place(platform: &Platform, group: &str, slot: &str) -> Option<String> {
    Some(platform.slot(group, slot).await?.status?.database?.server)
}

/// The names of the slots' databases on a server, and the connections that they were promised.
async fn databases(server: &PostgresServer) -> (Vec<String>, i64) {
    let mut superuser = server.connect().await.unwrap();
    let rows = sqlx::query(
        "SELECT datname::text, datconnlimit::bigint FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE 'tenantry %' ORDER BY 1",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    superuser.close().await.unwrap();
    (rows.iter().map(|row| row.get(0)).collect(), rows.iter().map(|row| row.get::<i64, _>(1)).sum())
}

async fn apply_group(platform: &Platform, class: &str, release: &str, slots: &[&str]) -> String {
    let name = unique("acme");
    let slots = slots.iter().map(|slot| pinned(slot, release)).collect();
    platform.apply::<ResourceGroup>(manifests::group(&name, class, slots)).await;
    name
}

async fn release(platform: &Platform) -> String {
    let release = unique("v1");
    platform.apply::<Release>(manifests::release(&release, 1)).await;
    release
}

#[tokio::test]
async fn slots_are_spread_over_servers_of_both_versions_and_a_drained_and_a_missing_one_get_no_more() {
    let platform = Platform::shared().await;
    let ((one, one_secret), (two, two_secret)) =
        tokio::join!(platform.another_server(PostgresVersion::Installed), platform.another_server(PostgresVersion::Seventeen));
    let (class, release) = (unique("standard"), release(platform).await);
    let servers = |drained: bool| -> Vec<Value> {
        let mut one = manifests::server("one", one.port(), &one_secret, 100);
        one["drain"] = drained.into();
        vec![one, manifests::server("two", two.port(), &two_secret, 100)]
    };
    platform.class_of(&class, servers(false)).await;
    let first = apply_group(platform, &class, &release, &["a", "b", "c", "d"]).await;
    platform.wait_until_ready(&first).await;
    let (on_one, promised) = databases(&one).await;
    assert_eq!((on_one.len(), promised), (2, i64::from(2 * WANTED)), "the four are spread evenly");
    assert_eq!(databases(&two).await.0.len(), 2);

    platform.class_of(&class, servers(true)).await;
    let second = apply_group(platform, &class, &release, &["a", "b"]).await;
    platform.wait_until_ready(&second).await;
    assert_eq!(databases(&one).await.0, on_one, "a drained server keeps its slots and gets no others");
    platform.wait_until_ready(&first).await;

    // Taken out of the class, it is missed by its own slots alone; put back, all is well.
    let whole = servers(false);
    platform.class_of(&class, vec![whole[1].clone()]).await;
    let mut stalled = Vec::new();
    for slot in ["a", "b", "c", "d"] {
        if place(platform, &first, slot).await.as_deref() == Some("one") {
            stalled.push(platform.wait_for_slot(&first, slot, "Stalled", "True", "DatabaseElsewhere").await);
        }
    }
    assert_eq!(stalled.len(), 2);
    assert!(stalled[0].contains("on the server one"), "{}", stalled[0]);
    platform.wait_until_ready(&second).await;
    platform.class_of(&class, whole).await;
    platform.wait_until_ready(&first).await;

    // One that does not answer is passed over by slots that were never placed.
    one.stop(StopMode::Immediate).await.unwrap();
    let third = apply_group(platform, &class, &release, &["a", "b", "c"]).await;
    platform.wait_until_ready(&third).await;
    for slot in ["a", "b", "c"] {
        assert_eq!(place(platform, &third, slot).await.as_deref(), Some("two"));
    }
    one.start_again().await.unwrap();
    for group in [&first, &second, &third] {
        platform.delete_group(group).await;
    }
    platform.wait_until_gone(&first, &["a", "b", "c", "d"]).await;
    platform.wait_until_gone(&second, &["a", "b"]).await;
    platform.wait_until_gone(&third, &["a", "b", "c"]).await;
    assert_eq!((databases(&one).await.1, databases(&two).await.1), (0, 0));
}

#[tokio::test]
async fn slots_that_are_placed_at_the_same_time_do_not_overrun_a_servers_budget() {
    let platform = Platform::shared().await;
    let ((one, one_secret), (two, two_secret)) =
        tokio::join!(platform.another_server(PostgresVersion::Installed), platform.another_server(PostgresVersion::Installed));
    let (class, release) = (unique("standard"), release(platform).await);
    // Room for three on the one, for two on the other.
    let servers = |more: u32| {
        vec![
            manifests::server("one", one.port(), &one_secret, 3 * WANTED + 3),
            manifests::server("two", two.port(), &two_secret, 2 * WANTED + 5 + more),
        ]
    };
    platform.class_of(&class, servers(0)).await;
    let groups = join_all((0..7).map(|_| apply_group(platform, &class, &release, &["dev"]))).await;
    eventually("five of the seven are Ready and two are told that there is no room", async || {
        let (mut ready, mut full) = (0, 0);
        for group in &groups {
            let conditions = platform.slot(group, "dev").await.and_then(|slot| slot.status).unwrap_or_default().conditions;
            ready += usize::from(super::platform::has(&conditions, "Ready", "True"));
            let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled" && condition.status == "True");
            full += usize::from(
                stalled.is_some_and(|stalled| stalled.reason == "PostgresServerFull" && stalled.message.contains("add a server")),
            );
        }
        let ((_, promised_one), (_, promised_two)) = (databases(&one).await, databases(&two).await);
        assert!(promised_one <= i64::from(3 * WANTED + 3) && promised_two <= i64::from(2 * WANTED + 5), "{promised_one}, {promised_two}");
        (ready == 5 && full == 2).then_some(()).ok_or((ready, full))
    })
    .await;
    platform.class_of(&class, servers(2 * WANTED)).await;
    for group in &groups {
        platform.wait_until_ready(group).await;
    }
    assert_eq!((databases(&one).await.0.len(), databases(&two).await.0.len()), (3, 4));
    for group in &groups {
        platform.delete_group(group).await;
    }
    for group in &groups {
        platform.wait_until_gone(group, &["dev"]).await;
    }
}

/// Forgets all that the cluster knows of a slot's place.
async fn forget_place(platform: &Platform, group: &str) {
    let namespace = format!("{group}-dev");
    let slots: Api<Slot> = Api::namespaced(platform.client().await, &namespace);
    let nothing = Patch::Merge(json!({ "status": { "database": null, "runningRelease": null, "services": null, "conditions": null } }));
    slots.patch_status("dev", &PatchParams::default(), &nothing).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(platform.client().await, &namespace);
    secrets.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_slot_is_found_again_without_any_record_and_never_made_anew_while_its_server_is_silent() {
    let platform = Platform::start(Audit::Off).await;
    let ((one, one_secret), (two, two_secret)) =
        tokio::join!(platform.another_server(PostgresVersion::Installed), platform.another_server(PostgresVersion::Seventeen));
    let servers = [("one", &one, &one_secret), ("two", &two, &two_secret)];
    let (class, release) = (unique("standard"), release(&platform).await);
    let describe = |limits: [u32; 2]| -> Vec<Value> {
        servers.iter().zip(limits).map(|((name, server, secret), limit)| manifests::server(name, server.port(), secret, limit)).collect()
    };
    platform.class_of(&class, describe([100, 1000])).await;
    let operator = platform.start_operator().await;
    let group = apply_group(&platform, &class, &release, &["dev"]).await;
    platform.wait_until_ready(&group).await;
    assert_eq!(place(&platform, &group, "dev").await.as_deref(), Some("two"), "the larger one has the larger share left");
    let (before, _) = databases(&two).await;
    operator.stop().await.unwrap();

    // By free share it would go to the other now.
    platform.class_of(&class, describe([1000, 100])).await;
    forget_place(&platform, &group).await;
    two.stop(StopMode::Fast).await.unwrap();
    let operator = platform.start_operator().await;
    let message = platform.wait_for_slot(&group, "dev", "DataServicesReady", "False", "PostgresUnreachable").await;
    assert!(message.contains("its database may be there"), "{message}");
    assert_eq!(databases(&one).await.0, Vec::<String>::new());
    assert_eq!(place(&platform, &group, "dev").await, None);

    two.start_again().await.unwrap();
    platform.wait_until_ready(&group).await;
    assert_eq!(place(&platform, &group, "dev").await.as_deref(), Some("two"));
    assert_eq!(databases(&two).await.0, before);
    assert_eq!(databases(&one).await.0, Vec::<String>::new());
    operator.stop().await.unwrap();
}
