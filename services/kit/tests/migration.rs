//! Migrations: repeatable, safe at once, recorded, and readable by older code.

use sqlx::AssertSqlSafe;
use tenantry_contract::paths::SCHEMA_VERSION_TABLE;
use tenantry_harness::postgres::{Login, PostgresServer, TestDatabase};
use tenantry_kit::database::Database;
use tenantry_kit::migration::{KIT_VERSION, MigrationError, Schema, migrate, migrate_connection};
use tenantry_kit::queue::{DEAD_LETTERS_KEPT, DeadLetterReason, Queue, QueueMetrics, observe};
use tenantry_kit::stream::{Consumer, Retention, StreamMetrics, Topic, append, delete_expired, observe_lag};
use tenantry_kit::telemetry::Metrics;

use crate::fixture::{GROUP, Recorder, configuration, event, message, schema};

async fn recorded(test: &TestDatabase) -> i32 {
    let statement = sqlx::AssertSqlSafe(format!("SELECT version FROM {SCHEMA_VERSION_TABLE}"));
    sqlx::query_scalar(statement).fetch_one(&mut test.connect().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_migration_records_its_version_and_can_be_repeated() {
    let test = PostgresServer::shared().await.unwrap().create_database().await.unwrap();
    let credentials = tempfile::tempdir().unwrap();
    test.write_credentials(credentials.path()).unwrap();
    for _ in 0..2 {
        migrate(&configuration(&test), credentials.path(), schema()).await.unwrap();
        assert_eq!(recorded(&test).await, 5);
    }
    assert_eq!(schema().versions().version, KIT_VERSION + 1);
}

#[tokio::test]
async fn migrations_at_once_wait_for_each_other() {
    let test = PostgresServer::shared().await.unwrap().create_database().await.unwrap();
    let (mut first, mut second) = (test.connect().await.unwrap(), test.connect().await.unwrap());
    let (one, two) = tokio::join!(migrate_connection(&mut first, schema()), migrate_connection(&mut second, schema()));
    one.unwrap();
    two.unwrap();
    assert_eq!(recorded(&test).await, 5);
}

#[tokio::test]
async fn an_older_binary_leaves_a_newer_schema_as_it_is() {
    let test = PostgresServer::shared().await.unwrap().create_database().await.unwrap();
    let mut connection = test.connect().await.unwrap();
    migrate_connection(&mut connection, schema()).await.unwrap();
    let older = Schema::new(sqlx::migrate::Migrator::with_migrations(Vec::new()), 1);
    migrate_connection(&mut connection, older).await.unwrap();
    assert_eq!(recorded(&test).await, 5);
}

#[tokio::test]
async fn tables_are_made_in_the_schema_of_the_search_path() {
    let test = PostgresServer::shared().await.unwrap().create_database().await.unwrap();
    let mut connection = test.connect().await.unwrap();
    sqlx::raw_sql("CREATE SCHEMA campaigns; SET search_path = campaigns").execute(&mut connection).await.unwrap();
    migrate_connection(&mut connection, schema()).await.unwrap();
    let outside: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetch_one(&mut connection).await.unwrap();
    assert_eq!(outside, 0);
}

#[tokio::test]
async fn a_login_without_a_schema_is_told_so() {
    let test = PostgresServer::shared().await.unwrap().create_database().await.unwrap();
    let mut connection = test.connect().await.unwrap();
    sqlx::raw_sql("SET search_path = nowhere").execute(&mut connection).await.unwrap();
    let error = migrate_connection(&mut connection, schema()).await.unwrap_err();
    assert!(matches!(error, MigrationError::NoSchema), "{error}");
}

#[test]
fn the_version_of_kit_is_its_last_migration() {
    let empty = Schema::new(sqlx::migrate::Migrator::with_migrations(Vec::new()), 1);
    let last = sqlx::migrate!("./migrations").iter().map(|migration| migration.version).max().unwrap();
    assert_eq!(i64::from(empty.versions().version), last);
}

/// Everything that a queue's consumers and chores do.
async fn use_queue(database: &Database, metrics: &Metrics) {
    let (queue, queues) = (Queue::new("payments"), QueueMetrics::register(metrics));
    let mut connection = database.acquire().await.unwrap();
    let once = message("one").with_deduplication_id("once").unwrap();
    queue.enqueue_all(&mut connection, &[once, message("two"), message("three")]).await.unwrap();
    let messages = queue.lock(&mut connection, 3).await.unwrap().messages;
    let tokens: Vec<_> = messages.iter().map(|message| message.token).collect();
    queue.extend(&mut connection, &tokens, queue.lock_duration()).await.unwrap();
    queue.complete(&mut connection, tokens[0]).await.unwrap();
    queue.abandon(&mut connection, tokens[1], std::time::Duration::ZERO, None).await.unwrap();
    queue.dead_letter(&mut connection, tokens[2], &DeadLetterReason::UNREADABLE, "wrong").await.unwrap();
    queue.redrive(&mut connection, &[tokens[2].message()]).await.unwrap();
    queue.sweep(database, DEAD_LETTERS_KEPT, &queues).await.unwrap();
    observe(database, &queue, &queues).await.unwrap();
    sqlx::query("CREATE OR REPLACE FUNCTION tenantry_now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'")
        .execute(&mut *connection)
        .await
        .unwrap_err();
}

/// The roles of one service, as the operator makes them: an owner without login, a migration login whose sessions act as the owner, and
/// a runtime login with rights on data alone.
#[tokio::test]
async fn tables_belong_to_the_owner_and_rights_on_data_are_enough_to_run() {
    let server = PostgresServer::shared().await.unwrap();
    let test = server.create_database().await.unwrap();
    let name = &test.name;
    let login = |role: &str| Login { name: format!("{name}_{role}"), password: role.to_owned() };
    let (migrator, runtime) = (login("m"), login("a"));
    let database = TestDatabase { owner: server.superuser().clone(), ..test.clone() };
    let statements = format!(
        "CREATE ROLE {name}_o NOLOGIN;
         CREATE ROLE {name}_m LOGIN PASSWORD 'm' IN ROLE {name}_o;
         CREATE ROLE {name}_a LOGIN PASSWORD 'a';
         CREATE SCHEMA campaigns AUTHORIZATION {name}_o;
         GRANT USAGE ON SCHEMA campaigns TO {name}_a;
         ALTER DEFAULT PRIVILEGES FOR ROLE {name}_o IN SCHEMA campaigns
             GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {name}_a;
         ALTER ROLE {name}_m IN DATABASE {name} SET role = {name}_o;
         ALTER ROLE {name}_m IN DATABASE {name} SET search_path = campaigns;
         ALTER ROLE {name}_a IN DATABASE {name} SET search_path = campaigns;"
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut database.connect().await.unwrap()).await.unwrap();

    let credentials = tempfile::tempdir().unwrap();
    TestDatabase { owner: migrator, ..test.clone() }.write_credentials(credentials.path()).unwrap();
    migrate(&configuration(&test), credentials.path(), schema()).await.unwrap();
    let owners: Vec<String> = sqlx::query_scalar("SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'campaigns'")
        .fetch_all(&mut database.connect().await.unwrap())
        .await
        .unwrap();
    assert_eq!(owners, [format!("{name}_o")]);

    TestDatabase { owner: runtime, ..test.clone() }.write_credentials(credentials.path()).unwrap();
    let metrics = Metrics::new();
    let database = Database::connect_lazily(&configuration(&test), credentials.path(), "test", &metrics).unwrap();
    let (topic, streams) = (std::sync::Arc::new(Topic::new("orders")), StreamMetrics::register(&metrics));
    let mut transaction = database.begin().await.unwrap();
    append(&mut transaction, &topic, &[event("key", "content")]).await.unwrap();
    transaction.commit().await.unwrap();
    let mut consumer = Consumer::new(database.clone(), topic, GROUP, &streams);
    assert_eq!(consumer.consume(&mut Recorder).await.unwrap(), 1);
    observe_lag(&database, &streams).await.unwrap();
    let all = Retention { age: std::time::Duration::ZERO, batch: 10 };
    assert_eq!(delete_expired(&database, all).await.unwrap(), 1);
    use_queue(&database, &metrics).await;
    let mut connection = database.acquire().await.unwrap();
    assert!(sqlx::query("CREATE TABLE forbidden ()").execute(&mut *connection).await.is_err());
}
