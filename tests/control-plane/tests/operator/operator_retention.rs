//! Data that are kept on purpose: a retained database and who may take it over, a removed service, and a database that is lost
//! for ever.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use tenantry_crds::{ResourceGroup, ResourceGroupClass, RetainedDatabase};
use tenantry_harness::control_plane::Audit;
use tenantry_harness::postgres::{PostgresServer, PostgresVersion, StopMode};

use super::manifests::{self, pinned};
use super::platform::{ADMIN_SECRET, Platform, eventually, unique};
use super::rows;

fn adopting(name: &str, release: &str, server: &str, database: &str) -> Value {
    let mut slot = pinned(name, release);
    slot["adoptDatabase"] = json!({ "server": server, "name": database });
    slot
}

async fn retained(platform: &Platform, class: &str) -> Vec<RetainedDatabase> {
    let class: ResourceGroupClass = Api::all(platform.client().await).get(class).await.unwrap();
    class.status.unwrap_or_default().retained_databases
}

#[tokio::test]
async fn a_retained_database_is_closed_listed_and_taken_over_by_its_name_alone() {
    retains_and_takes_over(Platform::shared().await).await;
}

async fn retains_and_takes_over(platform: &Platform) {
    let (class, release) = platform.offer(1).await;
    let (first, second, third) = (unique("acme"), unique("acme"), unique("acme"));
    let retaining = |name: &str, slots| {
        let mut group = manifests::group(name, &class, slots);
        group["spec"]["deletionPolicy"] = "Retain".into();
        group
    };
    platform.apply::<ResourceGroup>(retaining(&first, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&first).await;
    rows::insert(platform, &first, "dev").await;
    let database = rows::database(platform, &first, "dev").await;
    let login = rows::login(platform, &first, "dev").await;
    assert!(rows::may_enter(platform, &login, &database).await);
    platform.delete_group(&first).await;
    platform.wait_until_gone(&first, &["dev"]).await;

    assert!(!rows::may_enter(platform, &login, &database).await, "its logins are gone");
    assert_eq!(rows::count(platform, &database).await, 1, "a superuser can save it");
    eventually("the class lists it", async || {
        let listed = retained(platform, &class).await;
        let found = listed.iter().find(|found| found.name == database && found.group == first && found.slot == "dev");
        found.map(|_| ()).ok_or(listed)
    })
    .await;

    // A group of the same name begins afresh.
    platform.apply::<ResourceGroup>(manifests::group(&first, &class, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&first).await;
    let fresh = rows::database(platform, &first, "dev").await;
    assert_ne!(fresh, database);
    assert_eq!(rows::count(platform, &fresh).await, 0);

    // What is in use, or nobody's, is refused.
    for name in [&fresh, &stray(platform).await] {
        platform.apply::<ResourceGroup>(manifests::group(&third, &class, vec![adopting("dev", &release, "main", name)])).await;
        let message = platform.wait_for_slot(&third, "dev", "Stalled", "True", "DatabaseNotRetained").await;
        eventually("the message names it", async || {
            let message = platform.wait_for_slot(&third, "dev", "Stalled", "True", "DatabaseNotRetained").await;
            if message.contains(name.as_str()) { Ok(()) } else { Err(message) }
        })
        .await;
        assert!(message.contains("which is not retained"), "{message}");
    }
    platform.apply::<ResourceGroup>(manifests::group(&third, &class, vec![adopting("dev", &release, "main", "taaaaaaaaaaaaaaaa")])).await;
    platform.wait_for_slot(&third, "dev", "Stalled", "True", "DatabaseNotFound").await;
    platform.delete_group(&third).await;
    platform.wait_until_gone(&third, &["dev"]).await;

    // By its name it is taken over, with its rows, and goes on with its migrations.
    let newer = unique("v2");
    platform.apply::<tenantry_crds::Release>(manifests::release(&newer, 2)).await;
    platform.apply::<ResourceGroup>(manifests::group(&second, &class, vec![adopting("dev", &newer, "main", &database)])).await;
    platform.wait_until_ready(&second).await;
    rows::assert_there(platform, &second, "dev").await;
    let taken = rows::database(platform, &second, "dev").await;
    assert_ne!(taken, database);
    assert!(rows::may_enter(platform, &rows::login(platform, &second, "dev").await, &taken).await);
    let mut session = rows::connect(platform, &taken).await;
    let version = format!("SELECT max(version) FROM ledger.{}", tenantry_contract::paths::SCHEMA_VERSION_TABLE);
    let version: i32 = sqlx::query(AssertSqlSafe(version)).fetch_one(&mut session).await.unwrap().get(0);
    session.close().await.unwrap();
    assert_eq!(version, 2);
    eventually("the class lists it no more", async || {
        let listed = retained(platform, &class).await;
        if listed.iter().any(|found| found.name == database) { Err(listed) } else { Ok(()) }
    })
    .await;
    for name in [&first, &second] {
        platform.delete_group(name).await;
        platform.wait_until_gone(name, &["dev"]).await;
    }
}

/// A database with a name as the operator gives them, that somebody else made.
async fn stray(platform: &Platform) -> String {
    let hex = uuid::Uuid::new_v4().simple().to_string();
    let letters: String = hex[..16].bytes().map(|byte| char::from(b'a' + byte % 26)).collect();
    let name = format!("t{letters}");
    let mut superuser = platform.postgres.connect().await.unwrap();
    superuser.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"))).await.unwrap();
    superuser.close().await.unwrap();
    name
}

#[tokio::test]
async fn a_removed_service_has_its_data_back_within_its_time_and_not_after_it() {
    keeps_and_drops_a_service(Platform::shared().await).await;
}

async fn keeps_and_drops_a_service(platform: &Platform) {
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let group = manifests::group(&name, &class, vec![pinned("dev", &release)]);
    let remove = async |retain_for: &str| {
        let groups: Api<ResourceGroup> = Api::all(platform.client().await);
        let patch = json!({ "spec": { "services": { "ledger": null }, "retainFor": retain_for } });
        groups.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    platform.apply::<ResourceGroup>(group.clone()).await;
    let uid = platform.wait_until_ready(&name).await.metadata.uid.unwrap();
    rows::insert(platform, &name, "dev").await;
    let (database, login) = (rows::database(platform, &name, "dev").await, rows::login(platform, &name, "dev").await);

    remove("1h").await;
    eventually("its logins end", async || if rows::may_enter(platform, &login, &database).await { Err("they do not") } else { Ok(()) })
        .await;
    platform.wait_until_ready(&name).await;
    rows::assert_there(platform, &name, "dev").await;
    platform.apply::<ResourceGroup>(group.clone()).await;
    platform.wait_until_ready(&name).await;
    rows::assert_there(platform, &name, "dev").await;
    assert!(rows::may_enter(platform, &rows::login(platform, &name, "dev").await, &database).await);

    remove("1s").await;
    eventually("its schema goes", async || {
        let mut session = rows::connect(platform, &database).await;
        let found = sqlx::query("SELECT FROM pg_namespace WHERE nspname = 'ledger'").fetch_optional(&mut session).await.unwrap();
        session.close().await.unwrap();
        found.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    assert_eq!(platform.leftovers(&uid).await, std::slice::from_ref(&database), "the roles are gone, the database stays");
    platform.apply::<ResourceGroup>(group).await;
    platform.wait_until_ready(&name).await;
    assert_eq!(rows::count(platform, &database).await, 0, "a fresh start");
    platform.delete_group(&name).await;
    platform.wait_until_gone(&name, &["dev"]).await;
    assert_eq!(platform.leftovers(&uid).await, Vec::<String>::new());
}

#[tokio::test]
async fn version_17_renames_databases_and_roles_and_drops_services_too() {
    let platform = Platform::start_on(PostgresVersion::Seventeen, Audit::Off).await;
    let operator = platform.start_operator().await;
    retains_and_takes_over(&platform).await;
    keeps_and_drops_a_service(&platform).await;
    operator.stop().await.unwrap();
}

#[tokio::test]
async fn of_several_servers_a_database_is_taken_over_where_it_is_after_a_wrong_one_was_named_too() {
    let platform = Platform::shared().await;
    let ((one, one_secret), (two, two_secret)) =
        tokio::join!(platform.another_server(PostgresVersion::Installed), platform.another_server(PostgresVersion::Seventeen));
    let (class, (_, release)) = (unique("standard"), platform.offer(1).await);
    let servers = |drained: &str| -> Vec<Value> {
        let server = |name: &str, server: &PostgresServer, secret: &str| {
            let mut manifest = manifests::server(name, server.port(), secret, 100);
            manifest["drain"] = (name == drained).into();
            manifest
        };
        vec![server("one", &one, &one_secret), server("two", &two, &two_secret)]
    };
    platform.class_of(&class, servers("one")).await;
    let (first, second) = (unique("acme"), unique("acme"));
    let mut retaining = manifests::group(&first, &class, vec![pinned("dev", &release)]);
    retaining["spec"]["deletionPolicy"] = "Retain".into();
    platform.apply::<ResourceGroup>(retaining).await;
    platform.wait_until_ready(&first).await;
    let database = rows::database(platform, &first, "dev").await;
    rows::insert_on(&two, &database).await;
    platform.delete_group(&first).await;
    platform.wait_until_gone(&first, &["dev"]).await;
    eventually("the class lists it with its server", async || {
        let listed = retained(platform, &class).await;
        let found = listed.iter().find(|found| found.name == database && found.server == "two");
        found.map(|_| ()).ok_or(listed)
    })
    .await;

    // A drained server gets no other slots, but the one that is to have what is there.
    platform.class_of(&class, servers("two")).await;
    let on = |server: &str| {
        let slots = vec![adopting("dev", &release, server, &database), pinned("staging", &release)];
        manifests::group(&second, &class, slots)
    };
    for (wrong, says) in [("three", "which the class does not have"), ("one", "which the server one does not have")] {
        platform.apply::<ResourceGroup>(on(wrong)).await;
        eventually("the message says what is wrong", async || {
            let message = platform.wait_for_slot(&second, "dev", "Stalled", "True", "DatabaseNotFound").await;
            if message.contains(says) { Ok(()) } else { Err(message) }
        })
        .await;
    }
    platform.apply::<ResourceGroup>(on("two")).await;
    platform.wait_until_ready(&second).await;
    let placed = async |slot: &str| platform.slot(&second, slot).await.unwrap().status.unwrap().database.unwrap();
    assert_eq!((placed("dev").await.server.as_str(), placed("staging").await.server.as_str()), ("two", "one"));
    let taken = placed("dev").await.name;
    assert_eq!(rows::count_on(&two, &taken).await, 1);
    assert!(rows::may_enter_on(&two, &rows::login(platform, &second, "dev").await, &taken).await);
    platform.delete_group(&second).await;
    platform.wait_until_gone(&second, &["dev", "staging"]).await;
}

#[tokio::test]
async fn a_database_whose_server_is_lost_blocks_until_it_is_given_up_by_name_and_that_is_on_record() {
    let platform = Platform::shared().await;
    let (_, release) = platform.offer(1).await;
    let lost = PostgresServer::start().await.unwrap();
    let (class, name, secret) = (unique("standard"), unique("acme"), unique("admin"));
    platform.write_admin_secret(&secret, &lost.admin().password).await;
    assert_ne!(secret, ADMIN_SECRET);
    let mut superuser = lost.connect().await.unwrap();
    for database in ["postgres", "template1"] {
        let statement = format!("ALTER DATABASE {database} OWNER TO {}", tenantry_harness::postgres::ADMIN);
        superuser.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    superuser.close().await.unwrap();
    platform.apply::<ResourceGroupClass>(manifests::class(&class, lost.port(), &secret)).await;
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &release)])).await;
    platform.wait_until_ready(&name).await;
    let database = rows::database(platform, &name, "dev").await;
    lost.stop(StopMode::Immediate).await.unwrap();

    platform.delete_group(&name).await;
    let message = platform.wait_for_slot(&name, "dev", "DeletionBlocked", "True", "PostgresUnreachable").await;
    let annotation = format!("tenantry.dev/abandon-database={database}");
    assert!(message.contains(&annotation), "{message}");
    let groups: Api<ResourceGroup> = Api::all(platform.client().await);
    let patch = json!({ "metadata": { "annotations": { "tenantry.dev/abandon-database": database } } });
    groups.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    platform.wait_until_gone(&name, &["dev"]).await;
    let records: Api<ConfigMap> = Api::namespaced(platform.client().await, "tenantry-system");
    let record = records.get(&format!("tenantry-abandoned-{database}")).await.unwrap().data.unwrap();
    assert_eq!((record["group"].as_str(), record["slot"].as_str(), record["server"].as_str()), (name.as_str(), "dev", "main"));
    let events = platform.control_plane.kubectl(&["get", "events.v1.events.k8s.io", "--all-namespaces", "--output=yaml"]).await.unwrap();
    assert!(events.contains("DatabaseAbandoned"), "the group's readers are told");
}

#[tokio::test]
async fn a_class_without_the_slots_server_stalls_it_and_touches_nothing_until_it_is_swapped_back() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let (other, name) = (unique("other"), unique("acme"));
    let mut manifest = manifests::class(&other, platform.postgres.port(), ADMIN_SECRET);
    manifest["spec"]["postgres"]["servers"][0]["name"] = "another".into();
    platform.apply::<ResourceGroupClass>(manifest).await;
    let group = |class: &str| manifests::group(&name, class, vec![pinned("dev", &release)]);
    platform.apply::<ResourceGroup>(group(&class)).await;
    platform.wait_until_ready(&name).await;
    rows::insert(platform, &name, "dev").await;
    let (database, login) = (rows::database(platform, &name, "dev").await, rows::login(platform, &name, "dev").await);
    let namespace = format!("--namespace={name}-dev");
    let pods = || async {
        platform
            .control_plane
            .kubectl(&["get", "pods", &namespace, "--selector=tenantry.dev/role in (api, worker)", "--output=name"])
            .await
            .unwrap()
    };
    let running = pods().await;
    platform.apply::<ResourceGroup>(group(&other)).await;
    platform.wait_for_slot(&name, "dev", "Stalled", "True", "DatabaseElsewhere").await;
    assert_eq!(pods().await, running);
    assert!(rows::may_enter(platform, &login, &database).await);
    assert_eq!(rows::count(platform, &database).await, 1);
    platform.apply::<ResourceGroup>(group(&class)).await;
    platform.wait_until_ready(&name).await;
    rows::assert_there(platform, &name, "dev").await;
    assert_eq!(pods().await, running);
    platform.delete_group(&name).await;
    platform.wait_until_gone(&name, &["dev"]).await;
}
