//! The service's PostgreSQL: a bounded pool that follows the rotation of its login, and errors that tell "not available, ask
//! again" from "wrong".
//!
//! A rotation writes another login into the credential files. New connections use it within two seconds, or at once when
//! the old one is refused; connections made before are closed when they are used next, so that the operator can end
//! the old login's sessions without failing a request.

mod date;
mod error;
mod timestamp;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode, PgTransaction};
use sqlx::{Connection, PgConnection, Postgres};
use tenantry_contract::{DatabaseConfiguration, TlsMode, paths};

pub use error::DatabaseError;

use crate::credentials::CredentialFile;
use crate::telemetry::Metrics;
use crate::time::UtcDateTime;

/// How long a caller waits for a connection before it is told that the database is not available.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that one statement may run, and that a transaction may wait for its client. The latter frees the locks of a
/// process that hangs or whose machine is gone.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the credential files are looked at.
const CREDENTIAL_INTERVAL: Duration = Duration::from_secs(2);

/// A pool of connections to the service's schema. Clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    login: Arc<DatabaseLogin>,
    watch: tokio::task::JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Connection options whose login is in files.
#[derive(Debug)]
pub(crate) struct DatabaseLogin {
    options: PgConnectOptions,
    username: CredentialFile,
    password: CredentialFile,
    /// Connections made before this moment have an old login.
    current_since: ArcSwap<Instant>,
}

impl DatabaseLogin {
    /// Reads the login for the first time.
    pub(crate) fn read(configuration: &DatabaseConfiguration, directory: &Path, application_name: &str) -> Result<Self, DatabaseError> {
        let tls = match configuration.tls {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host(&configuration.host)
            .port(configuration.port)
            .database(&configuration.name)
            .ssl_mode(tls)
            .application_name(application_name)
            // A connection over which nothing comes is noticed on the server's side too: its locks must not outlive it.
            .options([("tcp_keepalives_idle", "10"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3")]);
        Ok(Self {
            options,
            username: CredentialFile::open(directory.join(paths::USERNAME))?,
            password: CredentialFile::open(directory.join(paths::PASSWORD))?,
            current_since: ArcSwap::from_pointee(Instant::now()),
        })
    }

    /// The options with the login as last read.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.options.clone().username(self.username.current().expose()).password(self.password.current().expose())
    }

    /// Looks at the files again; whether they changed.
    fn reload(&self) -> Result<bool, DatabaseError> {
        let username = self.username.reload()?;
        let password = self.password.reload()?;
        Ok(username || password)
    }
}

impl Database {
    /// Prepares the pool and reads the login; connects only when asked for a connection. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// When the login's files cannot be read.
    pub fn connect_lazily(
        configuration: &DatabaseConfiguration,
        credential_directory: &Path,
        application_name: &str,
        metrics: &Metrics,
    ) -> Result<Self, DatabaseError> {
        let login = Arc::new(DatabaseLogin::read(configuration, credential_directory, application_name)?);
        let pool = pool_options(configuration.max_connections, Arc::clone(&login)).connect_lazy_with(session_options(login.options()));
        let gauges = PoolGauges::register(metrics);
        let watch = tokio::spawn(watch(pool.clone(), Arc::clone(&login), gauges));
        Ok(Self { inner: Arc::new(Inner { pool, login, watch }) })
    }

    /// A connection, outside of a transaction.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when none is to be had within two seconds.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, DatabaseError> {
        match self.inner.pool.acquire().await {
            Err(error) if error::is_refused_login(&error) && renew(&self.inner.pool, &self.inner.login)? => {
                Ok(self.inner.pool.acquire().await?)
            }
            outcome => Ok(outcome?),
        }
    }

    /// A transaction (READ COMMITTED), rolled back when it is dropped.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn begin(&self) -> Result<PgTransaction<'static>, DatabaseError> {
        match self.inner.pool.begin().await {
            Err(error) if error::is_refused_login(&error) && renew(&self.inner.pool, &self.inner.login)? => {
                Ok(self.inner.pool.begin().await?)
            }
            outcome => Ok(outcome?),
        }
    }

    /// One round trip: whether the database answers.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn check(&self) -> Result<(), DatabaseError> {
        Ok(self.acquire().await?.ping().await?)
    }

    /// The database's clock, which decides wherever several processes must agree on a time.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn now(&self) -> Result<UtcDateTime, DatabaseError> {
        let mut connection = self.acquire().await?;
        Ok(clock(&mut connection).await?)
    }

    /// Closes all connections, waiting for those in use.
    pub async fn close(&self) {
        self.inner.pool.close().await;
    }
}

/// The database's clock, which is the function `tenantry_now()` of the schema; it moves on during a transaction, not during a statement.
///
/// # Errors
/// When the statement fails.
pub async fn clock(connection: &mut PgConnection) -> Result<UtcDateTime, sqlx::Error> {
    sqlx::query_scalar("SELECT tenantry_now()").fetch_one(connection).await
}

fn session_options(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("statement_timeout", milliseconds(STATEMENT_TIMEOUT)),
        ("idle_in_transaction_session_timeout", milliseconds(IDLE_IN_TRANSACTION_TIMEOUT)),
    ])
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn pool_options(max_connections: u32, login: Arc<DatabaseLogin>) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(Duration::from_secs(1800))
        .before_acquire(move |_, connection| {
            let is_current = connection.age <= login.current_since.load().elapsed();
            Box::pin(async move { Ok(is_current) })
        })
}

/// Reads the files again and, if they changed, turns the pool to the new login. Whether they changed.
fn renew(pool: &PgPool, login: &DatabaseLogin) -> Result<bool, DatabaseError> {
    let changed = login.reload()?;
    if changed {
        pool.set_connect_options(session_options(login.options()));
        login.current_since.store(Arc::new(Instant::now()));
        tracing::info!("the database login has changed");
    }
    Ok(changed)
}

async fn watch(pool: PgPool, login: Arc<DatabaseLogin>, gauges: PoolGauges) {
    let mut interval = tokio::time::interval(CREDENTIAL_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        gauges.observe(&pool);
        if let Err(error) = renew(&pool, &login) {
            tracing::warn!(%error, "the database login cannot be read; the one known stays in use");
        }
    }
}

/// What the pool holds, as metrics.
#[derive(Debug, Clone, Default)]
struct PoolGauges {
    open: prometheus_client::metrics::gauge::Gauge,
    idle: prometheus_client::metrics::gauge::Gauge,
}

impl PoolGauges {
    fn register(metrics: &Metrics) -> Self {
        let gauges = Self::default();
        metrics.register(|registry| {
            registry.register("database_connections", "Open connections to the database", gauges.open.clone());
            registry.register("database_connections_idle", "Open connections that nobody uses", gauges.idle.clone());
        });
        gauges
    }

    fn observe(&self, pool: &PgPool) {
        self.open.set(i64::from(pool.size()));
        self.idle.set(i64::try_from(pool.num_idle()).unwrap_or(i64::MAX));
    }
}
