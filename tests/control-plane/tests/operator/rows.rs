//! Rows in a slot's database, put there and looked for as the superuser: the data that must not be lost.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};
use tenantry_harness::postgres::PostgresServer;

use super::platform::Platform;

/// What is written into the row.
const CONTENT: &str = "must not be lost";

/// The name of a slot's database.
pub async fn database(platform: &Platform, group: &str, slot: &str) -> String {
    platform.slot(group, slot).await.unwrap().status.unwrap().database.unwrap().name
}

pub async fn connect(platform: &Platform, database: &str) -> PgConnection {
    connect_to(&platform.postgres, database).await
}

async fn connect_to(server: &PostgresServer, database: &str) -> PgConnection {
    let options: PgConnectOptions = server.url_of(server.superuser(), database).parse().unwrap();
    options.connect().await.unwrap()
}

pub async fn insert(platform: &Platform, group: &str, slot: &str) {
    insert_on(&platform.postgres, &database(platform, group, slot).await).await;
}

pub async fn insert_on(server: &PostgresServer, database: &str) {
    let mut session = connect_to(server, database).await;
    sqlx::query("INSERT INTO ledger.things (name) VALUES ($1)").bind(CONTENT).execute(&mut session).await.unwrap();
    session.close().await.unwrap();
}

/// How many of the rows that [`insert`] made are in a database.
pub async fn count(platform: &Platform, database: &str) -> i64 {
    count_on(&platform.postgres, database).await
}

pub async fn count_on(server: &PostgresServer, database: &str) -> i64 {
    let mut session = connect_to(server, database).await;
    let found = sqlx::query("SELECT count(*) FROM ledger.things WHERE name = $1").bind(CONTENT).fetch_one(&mut session).await;
    session.close().await.unwrap();
    found.unwrap().get(0)
}

pub async fn assert_there(platform: &Platform, group: &str, slot: &str) {
    assert_eq!(count(platform, &database(platform, group, slot).await).await, 1, "the row of {group}-{slot}");
}

/// A login of `ledger`, as its pods have it.
pub struct Login {
    username: String,
    password: String,
}

pub async fn login(platform: &Platform, group: &str, slot: &str) -> Login {
    let secrets: Api<Secret> = Api::namespaced(platform.client().await, &format!("{group}-{slot}"));
    let data = secrets.get("ledger-database").await.unwrap().data.unwrap();
    let field = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    Login { username: field("username"), password: field("password") }
}

/// Whether a login may enter a database and read there.
pub async fn may_enter(platform: &Platform, login: &Login, database: &str) -> bool {
    may_enter_on(&platform.postgres, login, database).await
}

pub async fn may_enter_on(server: &PostgresServer, login: &Login, database: &str) -> bool {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(server.port())
        .username(&login.username)
        .password(&login.password)
        .database(database);
    let Ok(mut session) = options.connect().await else { return false };
    let read = session.execute("SELECT * FROM things").await.is_ok();
    // The operator may have ended it meanwhile.
    let _ = session.close().await;
    read
}
