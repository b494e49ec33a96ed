//! The pool: recovers by itself, says when to ask again, follows a rotation without losing a request.

use sqlx::{AssertSqlSafe, Executor};
use tenantry_contract::{DatabaseConfiguration, TlsMode};
use tenantry_harness::postgres::{Login, PostgresOptions, PostgresServer, StopMode};
use tenantry_kit::database::{Database, DatabaseError};
use tenantry_kit::telemetry::Metrics;
use tenantry_kit::time::UtcDateTime;

use crate::fixture::{Fixture, configuration, eventually};

#[tokio::test]
async fn an_outage_is_an_error_to_repeat_and_ends_by_itself() {
    let server = PostgresServer::start().await.unwrap();
    let fixture = Fixture::on(&server).await;
    fixture.database.check().await.unwrap();
    server.stop(StopMode::Immediate).await.unwrap();
    let error = fixture.database.check().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    server.start_again().await.unwrap();
    eventually("the database answers again", async || fixture.database.check().await.is_ok()).await;
}

#[tokio::test]
async fn where_encryption_is_required_a_connection_is_encrypted_and_a_server_without_it_is_not_used() {
    let (encrypting, plain) = tokio::join!(
        PostgresServer::start_with(PostgresOptions { tls: true, ..PostgresOptions::default() }),
        PostgresServer::start_with(PostgresOptions::default())
    );
    for (server, encrypts) in [(encrypting.unwrap(), true), (plain.unwrap(), false)] {
        let test = server.create_database().await.unwrap();
        let credentials = tempfile::tempdir().unwrap();
        test.write_credentials(credentials.path()).unwrap();
        let configuration = DatabaseConfiguration { tls: TlsMode::Require, ..configuration(&test) };
        let database = Database::connect_lazily(&configuration, credentials.path(), "test", &Metrics::new()).unwrap();
        match database.acquire().await {
            Ok(mut connection) => {
                let encrypted: bool = sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                    .fetch_one(&mut *connection)
                    .await
                    .unwrap();
                assert!(encrypted && encrypts);
            }
            Err(error) => assert!(!encrypts, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_wrong_statement_is_not_an_outage() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.database.acquire().await.unwrap();
    let error = sqlx::query("SELECT 1 / 0").execute(&mut *connection).await.unwrap_err();
    assert!(!DatabaseError::from(error).is_unavailable());
}

#[tokio::test]
async fn a_rotated_login_is_taken_over_without_a_failure() {
    let fixture = Fixture::new().await;
    let server = PostgresServer::shared().await.unwrap();
    let session_user = async || -> String {
        let mut connection = fixture.database.acquire().await.unwrap();
        sqlx::query_scalar("SELECT session_user::text").fetch_one(&mut *connection).await.unwrap()
    };
    assert_eq!(session_user().await, fixture.test.owner.name);

    let next = Login { name: format!("{}_b", fixture.test.owner.name), password: "next".to_owned() };
    let mut superuser = server.connect().await.unwrap();
    let statement = format!("CREATE ROLE {} LOGIN PASSWORD '{}' IN ROLE {}", next.name, next.password, fixture.test.owner.name);
    superuser.execute(AssertSqlSafe(statement)).await.unwrap();
    std::fs::write(fixture.credentials.path().join("username"), &next.name).unwrap();
    std::fs::write(fixture.credentials.path().join("password"), &next.password).unwrap();
    eventually("sessions belong to the new login", async || session_user().await == next.name).await;
}

#[tokio::test]
async fn a_login_that_is_refused_is_read_again_at_once() {
    let fixture = Fixture::new().await;
    let mut superuser = PostgresServer::shared().await.unwrap().connect().await.unwrap();
    let statement = format!("ALTER ROLE {} PASSWORD 'changed'", fixture.test.owner.name);
    superuser.execute(AssertSqlSafe(statement)).await.unwrap();
    std::fs::write(fixture.credentials.path().join("password"), "changed").unwrap();
    // The first connection of all: its password is wrong, and the file has the right one.
    fixture.database.check().await.unwrap();
}

#[tokio::test]
async fn times_keep_every_microsecond() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.database.acquire().await.unwrap();
    for text in ["2026-11-22T12:30:00.123456Z", "1969-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
        let time: UtcDateTime = text.parse().unwrap();
        let times = vec![time, time];
        let (back, array): (UtcDateTime, Vec<UtcDateTime>) =
            sqlx::query_as("SELECT $1, $2").bind(time).bind(&times).fetch_one(&mut *connection).await.unwrap();
        assert_eq!((back, array), (time, times), "{text}");
        let iso: String = sqlx::query_scalar("SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
            .bind(time)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(iso.parse::<UtcDateTime>().unwrap(), time);
    }
}
