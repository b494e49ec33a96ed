//! What a slot has in PostgreSQL, whose it is and who may enter; and a server that cannot be used.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};
use tenantry_crds::{ResourceGroup, ResourceGroupClass};

use super::manifests::{self, pinned};
use super::platform::{Platform, unique};

struct Login {
    username: String,
    password: String,
}

async fn login(platform: &Platform, namespace: &str, secret: &str) -> Login {
    let secret: Secret = Api::namespaced(platform.client().await, namespace).get(secret).await.unwrap();
    let data = secret.data.unwrap();
    let field = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    Login { username: field("username"), password: field("password") }
}

async fn connect(platform: &Platform, login: &Login, database: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(platform.postgres.port())
        .username(&login.username)
        .password(&login.password)
        .database(database)
        .connect()
        .await
}

async fn ready_group(platform: &Platform) -> (String, String) {
    let (class, release) = platform.offer(1).await;
    let (name, _) = platform.ready_group(&class, &release).await;
    let database = platform.slot(&name, "dev").await.unwrap().status.unwrap().database.unwrap().name;
    (name, database)
}

fn refusal(error: sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

const INSUFFICIENT_PRIVILEGE: &str = "42501";

#[tokio::test]
async fn runtime_logins_have_rights_on_data_and_migration_logins_make_what_the_owner_owns() {
    let platform = Platform::shared().await;
    let (name, database) = ready_group(platform).await;
    let namespace = format!("{name}-dev");
    let runtime = login(platform, &namespace, "ledger-database").await;
    let mut session = connect(platform, &runtime, &database).await.unwrap();
    session.execute("INSERT INTO things (name) VALUES ('a')").await.unwrap();
    session.execute("UPDATE things SET name = 'b'").await.unwrap();
    for statement in [
        "CREATE TABLE mine ()",
        "DROP TABLE things",
        "ALTER TABLE things ADD x int",
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine ()",
        "TRUNCATE things",
    ] {
        assert_eq!(refusal(session.execute(statement).await.unwrap_err()), INSUFFICIENT_PRIVILEGE, "{statement}");
    }
    let migration = login(platform, &namespace, "ledger-migration").await;
    let mut session = connect(platform, &migration, &database).await.unwrap();
    session.execute("CREATE TABLE later (id int)").await.unwrap();
    let owner: String =
        sqlx::query("SELECT tableowner::text FROM pg_tables WHERE tablename = 'later'").fetch_one(&mut session).await.unwrap().get(0);
    assert!(owner.ends_with("_owner"), "{owner}");
    let mut session = connect(platform, &runtime, &database).await.unwrap();
    session.execute("SELECT * FROM later").await.unwrap();
}

#[tokio::test]
async fn databases_and_roles_are_opaque_marked_and_closed_to_everybody_else() {
    let platform = Platform::shared().await;
    let ((one, its), (other, foreign)) = tokio::join!(ready_group(platform), ready_group(platform));
    assert!(!its.contains(&one) && its.len() <= 63, "{its}");
    let uid = platform.group(&one).await.unwrap().metadata.uid.unwrap();
    let mut named = platform.leftovers(&uid).await;
    named.sort();
    let roles = ["a", "migrate", "owner"].map(|purpose| format!("{its}_ledger_{purpose}"));
    assert_eq!(named, [vec![its.clone()], roles.to_vec()].concat());

    let mut superuser = platform.postgres.connect().await.unwrap();
    let can_log_in: bool =
        sqlx::query("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1").bind(&roles[2]).fetch_one(&mut superuser).await.unwrap().get(0);
    assert!(!can_log_in, "the owner is no login");
    for secret in ["ledger-database", "ledger-migration"] {
        let login = login(platform, &format!("{one}-dev"), secret).await;
        connect(platform, &login, &its).await.unwrap();
        for database in [foreign.as_str(), "postgres", "template1"] {
            let error = connect(platform, &login, database).await.unwrap_err();
            assert_eq!(refusal(error), INSUFFICIENT_PRIVILEGE, "{secret} of {one} enters {database} of {other}");
        }
    }
}

#[tokio::test]
async fn a_missing_and_a_wrong_admin_login_are_named_and_healed() {
    let platform = Platform::shared().await;
    let (_, release) = platform.offer(1).await;
    let (class, name, secret) = (unique("standard"), unique("acme"), unique("admin"));
    platform.apply::<ResourceGroupClass>(manifests::class(&class, platform.postgres.port(), &secret)).await;
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &release)])).await;
    let message = platform.wait_for_slot(&name, "dev", "DataServicesReady", "False", "PostgresSecretMissing").await;
    assert!(message.contains(&secret), "{message}");
    platform.write_admin_secret(&secret, "not-the-password").await;
    let message = platform.wait_for_slot(&name, "dev", "DataServicesReady", "False", "PostgresAuthenticationFailed").await;
    assert!(!message.contains("not-the-password"), "{message}");
    platform.write_admin_secret(&secret, &platform.postgres.admin().password).await;
    platform.wait_until_ready(&name).await;
}

#[tokio::test]
async fn a_database_of_the_slots_name_without_its_comment_is_left_alone() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let mut group = manifests::group(&name, &class, vec![pinned("dev", &release)]);
    platform.apply::<ResourceGroup>(group.clone()).await;
    platform.wait_until_ready(&name).await;
    let database = platform.slot(&name, "dev").await.unwrap().status.unwrap().database.unwrap().name;
    let mut superuser = platform.postgres.connect().await.unwrap();
    superuser.execute(AssertSqlSafe(format!("COMMENT ON DATABASE {database} IS NULL"))).await.unwrap();

    group["spec"]["slots"][0]["size"] = "large".into();
    platform.apply::<ResourceGroup>(group).await;
    let message = platform.wait_for_slot(&name, "dev", "Stalled", "True", "DatabaseNotOurs").await;
    assert!(message.contains(&database), "{message}");
    let row = sqlx::query("SELECT shobj_description(oid, 'pg_database'), datconnlimit FROM pg_database WHERE datname = $1")
        .bind(&database)
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    let (comment, connections): (Option<String>, i32) = (row.get(0), row.get(1));
    assert_eq!((comment, connections), (None, 14), "it is as it was");
    let uid = platform.group(&name).await.unwrap().metadata.uid.unwrap();
    let cluster = kube_system_uid(platform).await;
    let restored = format!("COMMENT ON DATABASE {database} IS 'tenantry cluster={cluster} group={uid} slot=dev'");
    superuser.execute(AssertSqlSafe(restored)).await.unwrap();
    superuser.close().await.unwrap();
    platform.wait_until_ready(&name).await;
}

async fn kube_system_uid(platform: &Platform) -> String {
    Api::<Namespace>::all(platform.client().await).get("kube-system").await.unwrap().metadata.uid.unwrap()
}
