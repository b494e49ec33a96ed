//! Brings the service's schema to the version that this binary was built for: kit's own tables first, then the service's.
//!
//! SQL is unqualified; the migration login's `search_path` decides where it acts, its `role` setting whose the tables are.
//! The previous release runs on the new schema (expand, then contract), and an older binary accepts a newer one.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};
use tenantry_contract::{DatabaseConfiguration, SchemaVersions};
use tokio::time::{Instant, sleep};

use crate::database::{DatabaseError, DatabaseLogin};

/// The last number in `services/kit/migrations`.
pub const KIT_VERSION: u32 = 4;

const KIT_MIGRATION_TABLE: &str = "tenantry_kit_migrations";
const SERVICE_MIGRATION_TABLE: &str = "tenantry_service_migrations";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for another migration of the same schema.
const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(60);
const MIGRATION_LOCK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a statement waits for a table that a transaction of the running release uses. While it waits, others queue behind it.
const TABLE_LOCK_TIMEOUT: &str = "5s";

/// A service's migrations, and which code runs on them.
#[derive(Debug)]
pub struct Schema {
    migrator: Migrator,
    runs_on_from: u32,
}

impl Schema {
    /// `migrator` is `sqlx::migrate!("./migrations")` of the service; `runs_on_from` the schema version ([`Self::versions`])
    /// that the oldest code was built for that still runs on this schema.
    #[must_use]
    pub fn new(migrator: Migrator, runs_on_from: u32) -> Self {
        Self { migrator, runs_on_from }
    }

    /// The versions for the descriptor. The schema's version is the sum of kit's and the service's last migration numbers, so
    /// that it grows with either.
    #[must_use]
    pub fn versions(&self) -> SchemaVersions {
        SchemaVersions { version: KIT_VERSION + last_number(&self.migrator), runs_on_from: self.runs_on_from }
    }
}

/// Why a migration did not come to its end. Run again, it continues where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The database is not available or refuses the migration's login.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The login's `search_path` names no schema that exists.
    #[error("the migration's login has no schema to act in: its search_path must name the service's schema")]
    NoSchema,
    /// Another migration holds the schema.
    #[error("another migration of schema {schema} has not ended within {} s", MIGRATION_LOCK_TIMEOUT.as_secs())]
    Locked {
        /// The schema's name.
        schema: String,
    },
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Failed(#[from] MigrateError),
}

impl From<sqlx::Error> for MigrationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Migrates the schema of the login in `credential_directory`, and records the version that it came to.
///
/// # Errors
/// See [`MigrationError`]. What is finished stays finished.
pub async fn migrate(configuration: &DatabaseConfiguration, credential_directory: &Path, schema: Schema) -> Result<(), MigrationError> {
    let login = DatabaseLogin::read(configuration, credential_directory, "tenantry-migrate")?;
    let options = login.options().options([("lock_timeout", TABLE_LOCK_TIMEOUT)]);
    let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .map_err(|_| DatabaseError::timed_out("connecting took too long"))??;
    migrate_connection(&mut connection, schema).await?;
    Ok(connection.close().await?)
}

/// As [`migrate`], in a session that is there already.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_connection(connection: &mut PgConnection, schema: Schema) -> Result<(), MigrationError> {
    let version = schema.versions().version;
    let name = lock_schema(connection).await?;
    run(sqlx::migrate!("./migrations"), KIT_MIGRATION_TABLE, connection).await?;
    run(schema.migrator, SERVICE_MIGRATION_TABLE, connection).await?;
    record(connection, version).await?;
    tracing::info!(schema = name, version, "the schema is current");
    unlock_schema(connection).await
}

fn last_number(migrator: &Migrator) -> u32 {
    migrator.iter().map(|migration| u32::try_from(migration.version).unwrap_or(u32::MAX)).max().unwrap_or(0)
}

async fn run(mut migrator: Migrator, table: &'static str, connection: &mut PgConnection) -> Result<(), MigrateError> {
    migrator.dangerous_set_table_name(table);
    // A release that is rolled back finds migrations that it does not know.
    migrator.set_ignore_missing(true);
    // sqlx's own lock has no time limit and is one for the whole database, other services included.
    migrator.set_locking(false);
    migrator.run_direct(None, connection, false).await
}

const LOCK_KEY: &str = "hashtextextended('tenantry migration of ' || current_schema(), 0)";

async fn lock_schema(connection: &mut PgConnection) -> Result<String, MigrationError> {
    let name: Option<String> = sqlx::query_scalar("SELECT current_schema()").fetch_one(&mut *connection).await?;
    let schema = name.ok_or(MigrationError::NoSchema)?;
    let statement = format!("SELECT pg_try_advisory_lock({LOCK_KEY})");
    let deadline = Instant::now() + MIGRATION_LOCK_TIMEOUT;
    loop {
        let statement = sqlx::AssertSqlSafe(statement.clone());
        if sqlx::query_scalar::<_, bool>(statement).fetch_one(&mut *connection).await? {
            return Ok(schema);
        }
        if Instant::now() > deadline {
            return Err(MigrationError::Locked { schema });
        }
        sleep(MIGRATION_LOCK_INTERVAL).await;
    }
}

async fn unlock_schema(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let statement = sqlx::AssertSqlSafe(format!("SELECT pg_advisory_unlock({LOCK_KEY})"));
    sqlx::query(statement).execute(connection).await?;
    Ok(())
}

/// The recorded version never falls: an older binary that migrates a newer schema changes nothing.
async fn record(connection: &mut PgConnection, version: u32) -> Result<(), MigrationError> {
    sqlx::query(
        "INSERT INTO tenantry_schema_version AS recorded (version) VALUES ($1)
         ON CONFLICT (only_row) DO UPDATE SET version = excluded.version, completed_at = now()
         WHERE recorded.version < excluded.version",
    )
    .bind(i32::try_from(version).unwrap_or(i32::MAX))
    .execute(connection)
    .await?;
    Ok(())
}
