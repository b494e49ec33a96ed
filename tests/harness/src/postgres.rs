//! A throwaway PostgreSQL server on loopback: the real one, of the version that the machine has installed or of the image's.

mod cluster;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::sync::OnceCell;
use uuid::Uuid;

use cluster::Cluster;

/// The login that the operator is given on a server: it may create roles and databases, and is not a superuser.
pub const ADMIN: &str = "tenantry_admin";

/// Which PostgreSQL is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresVersion {
    /// The newest that the machine has installed: on Debian 12, which CI has, 15.
    Installed,
    /// 17, from the packages that the trial's image is made of, which `cargo xtask test` unpacks.
    Seventeen,
}

impl PostgresVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Installed, Self::Seventeen];
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Which PostgreSQL.
    pub version: PostgresVersion,
    /// Whether it can encrypt connections, with a certificate that nobody has signed but itself.
    pub tls: bool,
    /// Whether a commit that was answered survives a crash. Otherwise [`StopMode::Immediate`] can lose the last moments'.
    pub durable: bool,
    /// `listen_addresses`.
    pub listen_addresses: String,
    /// `max_connections`.
    pub max_connections: u32,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            version: PostgresVersion::Installed,
            tls: false,
            durable: false,
            listen_addresses: "127.0.0.1".to_owned(),
            max_connections: 200,
        }
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended, everything is written: an orderly restart.
    Fast,
    /// As by a crash: the next start recovers from the log.
    Immediate,
}

/// A login of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Role name.
    pub name: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Login").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Login {
    fn generate(name: impl Into<String>) -> Self {
        Self { name: name.into(), password: Uuid::new_v4().simple().to_string() }
    }
}

/// A running server. It ends when this is dropped or the process ends.
#[derive(Debug)]
pub struct PostgresServer {
    cluster: Arc<Cluster>,
    superuser: Login,
    admin: Login,
}

/// An empty database of its own, and the login that owns it (and nothing else).
#[derive(Debug, Clone)]
pub struct TestDatabase {
    /// Address of the server.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Database name.
    pub name: String,
    /// The owner.
    pub owner: Login,
}

impl PostgresServer {
    /// Starts a server with the default options.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start; its log's last lines are in the message.
    pub async fn start() -> Result<Self> {
        Self::start_with(PostgresOptions::default()).await
    }

    /// Starts a server.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(options: PostgresOptions) -> Result<Self> {
        let superuser = Login::generate("postgres");
        let password = superuser.password.clone();
        let cluster = tokio::task::spawn_blocking(move || Cluster::create(options, &password)).await??;
        let server = Self { cluster: Arc::new(cluster), superuser, admin: Login::generate(ADMIN) };
        let mut connection = server.connect().await?;
        connection
            .execute(AssertSqlSafe(format!(
                "CREATE ROLE {ADMIN} LOGIN CREATEROLE CREATEDB PASSWORD '{}' IN ROLE pg_signal_backend",
                server.admin.password
            )))
            .await?;
        connection.close().await?;
        Ok(server)
    }

    /// The one server that the tests of this process share; started by the first caller.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<PostgresServer> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// Address that the server listens on.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// Port that the server listens on; the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// The superuser.
    #[must_use]
    pub fn superuser(&self) -> &Login {
        &self.superuser
    }

    /// The login [`ADMIN`].
    #[must_use]
    pub fn admin(&self) -> &Login {
        &self.admin
    }

    /// URL of database `postgres` as superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(&self.superuser, "postgres")
    }

    /// URL of `database` as `login`.
    #[must_use]
    pub fn url_of(&self, login: &Login, database: &str) -> String {
        url(self.host(), self.port(), login, database)
    }

    /// What a platform team does once with a server: the admin login becomes the owner of the databases that PUBLIC is to be
    /// shut out of.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn hand_over(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        for database in ["postgres", "template1"] {
            connection.execute(AssertSqlSafe(format!("ALTER DATABASE {database} OWNER TO {ADMIN}"))).await?;
        }
        Ok(connection.close().await?)
    }

    /// A session in database `postgres` as superuser.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connect(&self) -> Result<PgConnection> {
        let options: PgConnectOptions = self.url().parse()?;
        Ok(options.connect().await?)
    }

    /// Makes an empty database with an owner of its own.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_database(&self) -> Result<TestDatabase> {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let owner = Login::generate(&name);
        let mut connection = self.connect().await?;
        connection.execute(AssertSqlSafe(format!("CREATE ROLE {name} LOGIN PASSWORD '{}'", owner.password))).await?;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name} OWNER {name} TEMPLATE template0"))).await?;
        connection.close().await?;
        Ok(TestDatabase { host: self.host().to_owned(), port: self.port(), name, owner })
    }

    /// Stops the server; its data stay until it is dropped.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        self.blocking(move |cluster| cluster.stop(mode)).await
    }

    /// Starts a stopped server, on the same port.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_again(&self) -> Result<()> {
        self.blocking(|cluster| cluster.start()).await
    }

    /// Stops and starts.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::start`].
    pub async fn restart(&self, mode: StopMode) -> Result<()> {
        self.stop(mode).await?;
        self.start_again().await
    }

    async fn blocking(&self, work: impl FnOnce(&Cluster) -> Result<()> + Send + 'static) -> Result<()> {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || work(&cluster)).await?
    }
}

impl TestDatabase {
    /// URL as the owner.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.host, self.port, &self.owner, &self.name)
    }

    /// A session as the owner.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connect(&self) -> Result<PgConnection> {
        let options: PgConnectOptions = self.url().parse()?;
        Ok(options.connect().await?)
    }

    /// Sets the services' clock, the function `tenantry_now()` of the owner's schema, to `by` later than it truly is, for all
    /// sessions at once.
    ///
    /// # Errors
    /// When the schema is not migrated.
    pub async fn shift_time(&self, by: Duration) -> Result<()> {
        self.set_time(&format!("statement_timestamp() + interval '{} seconds'", by.as_secs_f64())).await
    }

    /// Sets the services' clock to a stable expression in SQL.
    ///
    /// # Errors
    /// As [`Self::shift_time`].
    pub async fn set_time(&self, expression: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        let statement = format!(
            "CREATE OR REPLACE FUNCTION tenantry_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT {expression} $$"
        );
        connection.execute(AssertSqlSafe(statement)).await?;
        Ok(connection.close().await?)
    }

    /// Writes the owner's login as the files `username` and `password`, as a pod of a slot finds them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_credentials(&self, directory: &Path) -> Result<()> {
        if !directory.is_dir() {
            bail!("{} is not a directory", directory.display());
        }
        std::fs::write(directory.join("username"), &self.owner.name).context("writing the login's name")?;
        std::fs::write(directory.join("password"), &self.owner.password).context("writing the login's password")
    }
}

fn url(host: &str, port: u16, login: &Login, database: &str) -> String {
    format!("postgres://{}:{}@{host}:{port}/{database}", login.name, login.password)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    const CHILD: &str = "postgres::tests::starts_a_server_and_waits_to_be_killed";

    #[tokio::test]
    #[ignore = "run by the test below, in a process of its own"]
    async fn starts_a_server_and_waits_to_be_killed() {
        let server = PostgresServer::start().await.unwrap();
        println!("directory={}", server.cluster.directory().display());
        std::future::pending::<()>().await;
    }

    #[test]
    fn a_server_ends_and_leaves_nothing_when_its_process_is_killed() {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let directory: PathBuf = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("directory=")?.1.into()))
            .expect("the child starts a server");
        assert!(directory.join("data/postmaster.pid").exists());
        process.kill().unwrap();
        process.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while directory.exists() {
            assert!(Instant::now() < deadline, "{} is still there", directory.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[tokio::test]
    async fn the_admin_may_create_databases_and_roles_and_is_no_superuser() {
        let server = PostgresServer::shared().await.unwrap();
        let options: PgConnectOptions = server.url_of(server.admin(), "postgres").parse().unwrap();
        let mut admin = options.connect().await.unwrap();
        let rights: (bool, bool, bool, bool) = sqlx::query_as(
            "SELECT rolcreatedb, rolcreaterole, rolsuper, pg_has_role(rolname, 'pg_signal_backend', 'MEMBER')
             FROM pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        assert_eq!(rights, (true, true, false, true));
    }

    #[tokio::test]
    async fn data_outlive_a_restart_on_the_same_port() {
        let server = PostgresServer::start().await.unwrap();
        let database = server.create_database().await.unwrap();
        sqlx::raw_sql("CREATE TABLE kept ()").execute(&mut database.connect().await.unwrap()).await.unwrap();
        for mode in [StopMode::Fast, StopMode::Immediate] {
            server.restart(mode).await.unwrap();
            let mut connection = database.connect().await.unwrap();
            sqlx::query("SELECT FROM kept").execute(&mut connection).await.unwrap();
        }
    }
}
