//! A slot as the operator makes one: a database with the service's tables, credentials and configuration in files, a cache, and the service's processes.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use campaigns::domain::{CampaignCreation, CampaignId, CampaignTimes, ItemId, NewCampaign, TieRules};
use campaigns::store::{ItemUpdate, Store};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tenantry_contract::{DatabaseConfiguration, TlsMode};
use tenantry_harness::janitor::free_port;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer, PostgresVersion, TestDatabase};
use tenantry_harness::process::Process;
use tenantry_harness::valkey::ValkeyServer;
use tenantry_kit::currency::Currency;
use tenantry_kit::database::Database;
use tenantry_kit::money::Money;
use tenantry_kit::telemetry::Metrics;
use tenantry_kit::time::UtcDateTime;

use super::http::{Connection, post};
use crate::report::Report;

/// The service's binary.
const BINARY: &str = "TENANTRY_CAMPAIGNS_BINARY";
const TOKEN: &str = "the-token-of-the-slot";
/// Connections of each process to the database.
const CONNECTIONS: u32 = 10;
pub const ITEM: i64 = 10;
const READY: Duration = Duration::from_secs(120);

pub struct Slot {
    server: PostgresServer,
    pub database: TestDatabase,
    pub store: Store,
    pub cache: ValkeyServer,
    directory: TempDir,
    binary: PathBuf,
}

/// An API process and where it listens.
pub struct Api {
    pub process: Process,
    pub port: u16,
    /// From its start until it was ready.
    pub ready: Duration,
}

impl Slot {
    /// Starts the servers, and migrates.
    pub async fn start(report: &mut Report) -> Result<Self> {
        report.note("starting PostgreSQL and Valkey");
        let binary =
            PathBuf::from(std::env::var_os(BINARY).with_context(|| format!("{BINARY} is not set: run `cargo xtask bench campaigns`"))?);
        let options = PostgresOptions { version: PostgresVersion::Seventeen, durable: true, ..PostgresOptions::default() };
        let server = PostgresServer::start_with(options).await?;
        name_durability(&server, report).await?;
        let (database, cache) = (server.create_database().await?, ValkeyServer::start()?);
        let directory = tempfile::tempdir()?;
        for name in ["database", "cache", "api"] {
            fs::create_dir(directory.path().join(name))?;
        }
        database.write_credentials(&directory.path().join("database"))?;
        fs::write(directory.path().join("api/token"), TOKEN)?;
        fs::write(directory.path().join("cache/password"), cache.password())?;
        let pool =
            Database::connect_lazily(&database_configuration(&database), &directory.path().join("database"), "bench", &Metrics::new())?;
        let slot = Self { server, database, store: Store::new(pool), cache, directory, binary };
        slot.migrate()?;
        Ok(slot)
    }

    fn migrate(&self) -> Result<()> {
        let status = self.command("migrate", 0)?.status().context("cannot start the service")?;
        ensure!(status.success(), "`migrate` failed:\n{}", self.log_tail("migrate"));
        Ok(())
    }

    fn command(&self, role: &str, port: u16) -> Result<Command> {
        let listen = match role {
            "api" => json!({ "apiPort": port }),
            "worker" => json!({ "workerMetricsPort": port }),
            _ => json!({}),
        };
        let configuration = json!({
            "identity": { "group": "bench", "slot": "dev", "service": "campaigns", "release": "bench" },
            "listen": listen,
            "database": database_configuration(&self.database),
            "cache": { "host": self.cache.host(), "port": self.cache.port(), "keyPrefix": "bench:" },
            "settings": {},
        });
        let path = self.directory.path().join(format!("{role}-{port}.json"));
        fs::write(&path, serde_json::to_vec_pretty(&configuration)?)?;
        let mut command = Command::new(&self.binary);
        command.arg(role).arg("--config").arg(path).arg("--credentials").arg(self.directory.path());
        if role != "migrate" {
            command.args(["--listen-address", "127.0.0.1", "--lame-duck", "0"]);
        }
        // Logs are written as in a pod, at the level that is the default there.
        command.stderr(File::options().create(true).append(true).open(self.directory.path().join(format!("{role}.log")))?);
        Ok(command)
    }

    fn log_tail(&self, role: &str) -> String {
        let log = fs::read_to_string(self.directory.path().join(format!("{role}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Starts `campaigns worker`.
    pub fn worker(&self) -> Result<Process> {
        Ok(Process::spawn(&mut self.command("worker", free_port()?)?)?)
    }

    /// Starts `campaigns api`, and waits until it is ready.
    pub async fn api(&self) -> Result<Api> {
        let port = free_port()?;
        let started = Instant::now();
        let mut process = Process::spawn(&mut self.command("api", port)?)?;
        loop {
            if let Ok(mut connection) = Connection::open(port).await
                && let Ok((200, _)) = connection.exchange(&super::http::get("/readyz", None)).await
            {
                return Ok(Api { process, port, ready: started.elapsed() });
            }
            if let Some(status) = process.try_wait()? {
                bail!("the API ended ({status}):\n{}", self.log_tail("api"));
            }
            ensure!(started.elapsed() < READY, "the API is not ready after {READY:?}:\n{}", self.log_tail("api"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// An API key with these scopes, which the API makes.
    pub async fn key(&self, api: &Api, scopes: &[&str]) -> Result<String> {
        let body = json!({ "name": "bench", "scopes": scopes }).to_string();
        let answer = Connection::open(api.port).await?.json(&post("/api-keys", TOKEN, "application/json", &body), 201).await?;
        answer["key"].as_str().map(str::to_owned).context("no key in the answer")
    }

    /// A campaign that runs, in which nobody has bought anything.
    pub async fn campaign(&self) -> Result<CampaignId> {
        let item = ItemId::new(ITEM)?;
        let name = "Bench".parse()?;
        let update = self.store.put_item(item, &name, |_| None::<()>).await?;
        ensure!(!matches!(update, ItemUpdate::Refused(())), "the item was refused");
        let now = self.store.now().await?.unix_micros();
        let at = |seconds: i64| UtcDateTime::from_unix_micros(now + seconds * 1_000_000);
        let new = NewCampaign {
            id: None,
            item_id: item,
            prize: Money::new(100.into(), Currency::EUR)?,
            currency: Currency::EUR,
            times: CampaignTimes::new(at(-600)?, at(86_400)?)?,
            ties: TieRules::default(),
        };
        match self.store.create_campaign(&new).await? {
            CampaignCreation::Created(entry) => Ok(entry.campaign.id),
            other => bail!("the campaign was not created: {other:?}"),
        }
    }

    /// A session as the database's owner.
    pub async fn session(&self) -> Result<PgConnection> {
        self.database.connect().await
    }

    /// Writes to the disk what is due, so that no later figure pays for it.
    pub async fn settle(&self) -> Result<()> {
        let mut session = self.session().await?;
        sqlx::raw_sql("VACUUM ANALYZE").execute(&mut session).await?;
        let mut superuser = self.server.connect().await?;
        sqlx::raw_sql("CHECKPOINT").execute(&mut superuser).await?;
        Ok(superuser.close().await?)
    }

    /// Events that the groups have not processed yet.
    pub async fn backlog(&self, session: &mut PgConnection) -> Result<f64> {
        let events: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(head.head - own.position), 0)::bigint
             FROM stream_positions own JOIN stream_partitions head USING (topic_id, partition)",
        )
        .fetch_one(session)
        .await?;
        Ok(events as f64)
    }

    /// Waits until everything that was accepted is counted.
    pub async fn counted(&self) -> Result<()> {
        let mut session = self.session().await?;
        let started = Instant::now();
        while self.backlog(&mut session).await? > 0.0 {
            ensure!(started.elapsed() < READY, "purchases are not counted after {READY:?}:\n{}", self.log_tail("worker"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// What is committed must be on the disk; says by which settings.
async fn name_durability(server: &PostgresServer, report: &mut Report) -> Result<()> {
    let mut superuser = server.connect().await?;
    let mut settings = Vec::new();
    for name in ["server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method"] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut superuser).await?;
        ensure!(name != "fsync" || value == "on", "PostgreSQL does not write to the disk");
        settings.push(format!("{name} {value}"));
    }
    report.circumstance("PostgreSQL", &settings.join(", "));
    Ok(superuser.close().await?)
}

fn database_configuration(database: &TestDatabase) -> DatabaseConfiguration {
    DatabaseConfiguration {
        host: database.host.clone(),
        port: database.port,
        name: database.name.clone(),
        tls: TlsMode::Prefer,
        max_connections: CONNECTIONS,
    }
}

/// A purchase as a shop reports it, of so many cents.
pub fn purchase(event: &str, user: u64, cents: u64, at: UtcDateTime) -> Value {
    json!({
        "eventId": event,
        "userId": user.to_string(),
        "itemId": ITEM.to_string(),
        "amount": { "value": format!("{}.{:02}", cents / 100, cents % 100), "currency": "EUR" },
        "timestamp": at,
    })
}
