//! Database logins are replaced, on demand and when they have grown old, on both versions of PostgreSQL; and connections
//! that have to be encrypted are.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};
use tenantry_crds::ResourceGroup;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer, PostgresVersion};

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

struct Tenant<'a> {
    platform: &'a Platform,
    server: &'a PostgresServer,
    group: String,
    manifest: Value,
    database: String,
}

impl<'a> Tenant<'a> {
    async fn ready_on(platform: &'a Platform, server: &'a PostgresServer, secret: &str) -> Self {
        let (class, group) = (unique("standard"), unique("acme"));
        let (_, release) = platform.offer(1).await;
        platform.class_of(&class, vec![manifests::server("main", server.port(), secret, 100)]).await;
        let manifest = manifests::group(&group, &class, vec![pinned("dev", &release)]);
        platform.apply::<ResourceGroup>(manifest.clone()).await;
        platform.wait_until_ready(&group).await;
        let database = platform.slot(&group, "dev").await.unwrap().status.unwrap().database.unwrap().name;
        Self { platform, server, group, manifest, database }
    }

    async fn rotate(&mut self, rotation: Value) {
        self.manifest["spec"]["credentialRotation"] = rotation;
        self.platform.apply::<ResourceGroup>(self.manifest.clone()).await;
    }

    async fn login(&self, secret: &str) -> (String, String) {
        let secret: Secret = Api::namespaced(self.platform.client().await, &format!("{}-dev", self.group)).get(secret).await.unwrap();
        let data = secret.data.unwrap();
        let field = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        (field("username"), field("password"))
    }

    async fn connect(&self, (username, password): &(String, String)) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.server.port());
        options.username(username).password(password).database(&self.database).connect().await
    }

    /// Waits until the slot is Ready with that generation.
    async fn wait_for(&self, generation: u32) {
        eventually(&format!("generation {generation} is in use"), async || {
            let slot = self.platform.slot(&self.group, "dev").await.unwrap();
            let status = slot.status.clone().unwrap_or_default();
            let found = status.services.first().and_then(|service| service.credential.clone());
            let ready = super::platform::has(&status.conditions, "Ready", "True");
            (ready && found.as_ref().is_some_and(|found| found.generation == generation)).then_some(()).ok_or((found, status.conditions))
        })
        .await;
    }
}

async fn rotates_on(version: PostgresVersion) {
    let platform = Platform::shared().await;
    let (server, secret) = platform.another_server(version).await;
    let mut tenant = Tenant::ready_on(platform, &server, &secret).await;
    let (runtime, migration) = (tenant.login("ledger-database").await, tenant.login("ledger-migration").await);
    let mut held = tenant.connect(&runtime).await.unwrap();
    held.execute("INSERT INTO things (name) VALUES ('before')").await.unwrap();

    tenant.rotate(json!({ "generation": 1 })).await;
    tenant.wait_for(2).await;
    let (next_runtime, next_migration) = (tenant.login("ledger-database").await, tenant.login("ledger-migration").await);
    assert!(next_runtime.0.ends_with("_b") && next_runtime.1 != runtime.1);
    assert!(next_migration.0 == migration.0 && next_migration.1 != migration.1);
    assert!(held.execute("SELECT 1").await.is_err(), "the former login's session was ended");
    for refused in [&runtime, &migration] {
        assert!(tenant.connect(refused).await.is_err(), "{} is refused with its former password", refused.0);
    }
    let mut session = tenant.connect(&next_runtime).await.unwrap();
    let name: String = sqlx::query("SELECT name FROM things").fetch_one(&mut session).await.unwrap().get(0);
    assert_eq!(name, "before");
    session.execute("UPDATE things SET name = 'after'").await.unwrap();
    assert!(session.execute("DROP TABLE things").await.is_err());
    tenant.connect(&next_migration).await.unwrap().execute("CREATE TABLE later ()").await.unwrap();
    session.execute("SELECT * FROM later").await.unwrap();

    // As if it had been made long ago: what the comment says is the record.
    let mut superuser = server.connect().await.unwrap();
    let comment: String = sqlx::query("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1")
        .bind(&next_runtime.0)
        .fetch_one(&mut superuser)
        .await
        .unwrap()
        .get(0);
    let (rest, _) = comment.split_once(" since=").unwrap();
    superuser.execute(AssertSqlSafe(format!("COMMENT ON ROLE {} IS '{rest} since=1000000000'", next_runtime.0))).await.unwrap();
    superuser.close().await.unwrap();
    tenant.rotate(json!({ "generation": 1, "every": "720h" })).await;
    tenant.wait_for(3).await;
    assert!(tenant.login("ledger-database").await.0.ends_with("_a"));
    assert!(tenant.connect(&next_runtime).await.is_err());
    platform.delete_group(&tenant.group).await;
    platform.wait_until_gone(&tenant.group, &["dev"]).await;
}

#[tokio::test]
async fn logins_are_replaced_on_demand_and_by_schedule() {
    rotates_on(PostgresVersion::Installed).await;
}

#[tokio::test]
async fn logins_are_replaced_on_demand_and_by_schedule_on_version_17() {
    rotates_on(PostgresVersion::Seventeen).await;
}

#[tokio::test]
async fn where_encryption_is_required_every_connection_is_encrypted_and_a_server_without_it_is_refused() {
    let platform = Platform::shared().await;
    let (encrypting, secret) = platform.server_with(PostgresOptions { tls: true, ..PostgresOptions::default() }).await;
    let (plain, plain_secret) = platform.another_server(PostgresVersion::Installed).await;
    let (class, (_, release)) = (unique("standard"), platform.offer(1).await);
    let require = |name: &str, server: &PostgresServer, secret: &str| {
        let mut server = manifests::server(name, server.port(), secret, 100);
        server["tls"] = "require".into();
        server
    };
    let group = unique("acme");
    platform.class_of(&class, vec![require("main", &plain, &plain_secret)]).await;
    platform.apply::<ResourceGroup>(manifests::group(&group, &class, vec![pinned("dev", &release)])).await;
    let message = platform.wait_for_slot(&group, "dev", "DataServicesReady", "False", "PostgresUnreachable").await;
    assert!(message.to_lowercase().contains("tls") || message.to_lowercase().contains("ssl"), "{message}");

    platform.class_of(&class, vec![require("main", &plain, &plain_secret), require("encrypting", &encrypting, &secret)]).await;
    platform.wait_until_ready(&group).await;
    assert_eq!(platform.slot(&group, "dev").await.unwrap().status.unwrap().database.unwrap().server, "encrypting");
    let mut superuser = encrypting.connect().await.unwrap();
    let operators: Vec<bool> =
        sqlx::query("SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'tenantry-operator'")
            .fetch_all(&mut superuser)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
    assert!(!operators.is_empty() && operators.iter().all(|encrypted| *encrypted), "{operators:?}");
    superuser.close().await.unwrap();
    platform.delete_group(&group).await;
    platform.wait_until_gone(&group, &["dev"]).await;
}
