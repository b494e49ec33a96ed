//! A slot: a database with the service's tables, files for the service's processes, and those processes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use campaigns::domain::{
    CampaignCreation, CampaignId, CampaignTimes, ItemId, NewCampaign, Purchase, Reached, TieRules, Total, UserId, ranking,
};
use campaigns::live::{LiveLimits, LiveMetrics, LiveStandings};
use campaigns::store::{ItemUpdate, Store, schema};
use reqwest::StatusCode;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenantry_contract::{DatabaseConfiguration, TlsMode};
use tenantry_harness::issuer::{Algorithm, Issuer};
use tenantry_harness::janitor::free_port;
use tenantry_harness::postgres::{PostgresServer, TestDatabase};
use tenantry_harness::process::Process;
use tenantry_kit::currency::Currency;
use tenantry_kit::database::Database;
use tenantry_kit::migration::migrate_connection;
use tenantry_kit::money::Money;
use tenantry_kit::stream::StreamMetrics;
use tenantry_kit::telemetry::Metrics;
use tenantry_kit::time::UtcDateTime;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const TOKEN: &str = "a-token-for-tests";
const MAX_CONNECTIONS: u32 = 20;
/// The items that every slot has; [`Slot::campaign`] puts others itself.
pub const ITEMS: [i64; 2] = [10, 11];

pub struct Slot {
    pub test: TestDatabase,
    pub store: Store,
    pub streams: StreamMetrics,
    /// Whose tokens the slot accepts.
    pub issuer: Issuer,
    settings: Value,
    directory: TempDir,
}

/// An API process and where it listens.
pub struct Api {
    pub process: Process,
    pub port: u16,
}

impl Slot {
    pub async fn new() -> Self {
        Self::on(PostgresServer::shared().await.unwrap()).await
    }

    pub async fn on(server: &PostgresServer) -> Self {
        let test = server.create_database().await.unwrap();
        migrate_connection(&mut test.connect().await.unwrap(), schema()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        for name in ["database", "api"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        test.write_credentials(&directory.path().join("database")).unwrap();
        fs::write(directory.path().join("api/token"), TOKEN).unwrap();
        let metrics = Metrics::new();
        let database =
            Database::connect_lazily(&database_configuration(&test), &directory.path().join("database"), "test", &metrics).unwrap();
        let streams = StreamMetrics::register(&metrics);
        let issuer = Issuer::new("https://login.example", Algorithm::EdDSA).unwrap();
        let slot = Self { test, store: Store::new(database), streams, issuer, settings: json!({}), directory };
        for item in ITEMS {
            slot.item(item).await;
        }
        slot
    }

    /// With another static token.
    pub fn with_token(self, token: &str) -> Self {
        fs::write(self.directory.path().join("api/token"), token).unwrap();
        self
    }

    /// With settings for the processes that are started from now on.
    pub fn with_settings(self, settings: Value) -> Self {
        Self { settings, ..self }
    }

    /// Writes a credential of the tenant's own, `<name>/<file>`.
    pub fn write_credential(&self, file: &str, value: &str) {
        let path = self.directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // In place of the former one at once, as in a pod.
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, value).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    /// Takes it away.
    pub fn remove_credential(&self, file: &str) {
        fs::remove_file(self.directory.path().join(file)).unwrap();
    }

    /// Starts `campaigns worker`.
    pub fn worker(&self) -> Process {
        self.spawn("worker", free_port().unwrap(), "0")
    }

    /// Starts `campaigns worker`, with its metrics on `port`.
    pub fn worker_on(&self, port: u16) -> Process {
        self.spawn("worker", port, "0")
    }

    /// Starts `campaigns worker`, with what it says in that file.
    pub fn worker_logging_to(&self, log: &Path) -> Process {
        let log = fs::File::create(log).unwrap();
        let mut command = self.command("worker", free_port().unwrap(), "0", "error");
        Process::spawn(command.stdout(log.try_clone().unwrap()).stderr(log)).unwrap()
    }

    /// Starts `campaigns api` on `port`.
    pub fn api_on(&self, port: u16) -> Process {
        self.spawn("api", port, "0")
    }

    /// Starts `campaigns api` on a free port, with a time in which it goes on serving after SIGTERM; waits until it is ready.
    pub async fn api_with_lame_duck(&self, seconds: &str) -> Api {
        let port = free_port().unwrap();
        let process = self.spawn("api", port, seconds);
        eventually("the API is ready", async || is_ready(port).await).await;
        Api { process, port }
    }

    /// Starts `campaigns api` on a free port, and waits until it is ready.
    pub async fn api(&self) -> Api {
        let port = free_port().unwrap();
        let process = self.api_on(port);
        eventually("the API is ready", async || is_ready(port).await).await;
        Api { process, port }
    }

    /// As [`Self::api`], with its access log in a file.
    pub async fn api_with_log(&self) -> (Api, PathBuf) {
        let port = free_port().unwrap();
        let log = self.directory.path().join(format!("api-{port}.log"));
        let process = Process::spawn(self.command("api", port, "0", "info").stderr(fs::File::create(&log).unwrap())).unwrap();
        eventually("the API is ready", async || is_ready(port).await).await;
        (Api { process, port }, log)
    }

    fn spawn(&self, role: &str, port: u16, lame_duck: &str) -> Process {
        Process::spawn(&mut self.command(role, port, lame_duck, "error")).unwrap()
    }

    fn command(&self, role: &str, port: u16, lame_duck: &str, log: &str) -> Command {
        let configuration = self.configuration(role, port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_campaigns"));
        command.arg(role).arg("--config").arg(configuration).arg("--credentials").arg(self.directory.path());
        command.args(["--listen-address", "127.0.0.1", "--lame-duck", lame_duck, "--log", log]);
        command
    }

    fn configuration(&self, role: &str, port: u16) -> PathBuf {
        let listen = if role == "api" { json!({ "apiPort": port }) } else { json!({ "workerMetricsPort": port }) };
        let configuration = json!({
            "identity": { "group": "test", "slot": "dev", "service": "campaigns", "release": "test" },
            "listen": listen,
            "database": database_configuration(&self.test),
            "auth": self.issuer.auth().unwrap(),
            "settings": self.settings,
        });
        let path = self.directory.path().join(format!("{role}-{port}.json"));
        write_json(&path, &configuration);
        path
    }

    /// Puts an item.
    pub async fn item(&self, id: i64) {
        let (id, name) = (ItemId::new(id).unwrap(), format!("Item {id}").parse().unwrap());
        let update = self.store.put_item(id, &name, |_| None::<()>).await.unwrap();
        assert!(!matches!(update, ItemUpdate::Refused(())));
    }

    /// Creates a campaign for `item` in euros, from `start` seconds from now to `end` seconds from now.
    pub async fn campaign(&self, item: i64, start: f64, end: f64) -> CampaignId {
        self.campaign_with(TieRules::default(), item, start, end).await
    }

    /// As [`Self::campaign`], with its choices about ties.
    pub async fn campaign_with(&self, ties: TieRules, item: i64, start: f64, end: f64) -> CampaignId {
        self.item(item).await;
        let now = self.store.now().await.unwrap().unix_micros();
        let at = |seconds: f64| UtcDateTime::from_unix_micros(now + (seconds * 1e6) as i64).unwrap();
        let new = NewCampaign {
            id: None,
            item_id: ItemId::new(item).unwrap(),
            prize: euros(10_000),
            currency: Currency::EUR,
            times: CampaignTimes::new(at(start), at(end)).unwrap(),
            ties,
        };
        match self.store.create_campaign(&new).await.unwrap() {
            CampaignCreation::Created(entry) => entry.campaign.id,
            other => panic!("{other:?}"),
        }
    }

    /// The contents of a topic in the order of their partitions and positions.
    pub async fn events(&self, topic: &str) -> Vec<Value> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT payload::text FROM stream_events JOIN stream_topics ON id = topic_id WHERE name = $1
             ORDER BY partition, position",
        )
        .bind(topic)
        .fetch_all(&mut self.test.connect().await.unwrap())
        .await
        .unwrap();
        rows.into_iter().map(|(payload,)| serde_json::from_str(&payload).unwrap()).collect()
    }

    /// How many events no group has processed yet.
    pub async fn lag(&self) -> i64 {
        sqlx::query_scalar(
            "SELECT coalesce(sum(head.head - own.position), 0)::bigint
             FROM stream_positions own JOIN stream_partitions head USING (topic_id, partition)",
        )
        .fetch_one(&mut self.test.connect().await.unwrap())
        .await
        .unwrap()
    }

    /// The standings as a process holds them that has just begun to; they are current as long as the guard lives.
    pub fn standings(&self) -> (LiveStandings, DropGuard) {
        self.standings_within(LiveLimits::of_users(1_000_000))
    }

    /// As [`Self::standings`], with limits.
    pub fn standings_within(&self, limits: LiveLimits) -> (LiveStandings, DropGuard) {
        let standings = LiveStandings::new(self.store.clone(), limits, LiveMetrics::register(&Metrics::new()));
        let shutdown = CancellationToken::new();
        tokio::spawn(standings.run(None, shutdown.clone()));
        (standings, shutdown.drop_guard())
    }

    /// User, total, time and arrival as they are stored.
    pub async fn totals(&self, campaign: CampaignId) -> Vec<Total> {
        let rows: Vec<(i64, Decimal, UtcDateTime, i64)> =
            sqlx::query_as("SELECT user_id, total, reached_at, arrival FROM campaign_totals WHERE campaign_id = $1 ORDER BY user_id")
                .bind(campaign.get())
                .fetch_all(&mut self.test.connect().await.unwrap())
                .await
                .unwrap();
        rows.into_iter()
            .map(|(user, total, at, arrival)| Total { user_id: UserId::new(user).unwrap(), total, reached: Reached { at, arrival } })
            .collect()
    }

    /// What the totals of a campaign must be for these purchases, by the slow and obvious way. Arrival is the database's.
    pub async fn expected_totals(&self, purchases: &[Purchase]) -> Vec<Total> {
        let arrivals: Vec<(String, i64)> =
            sqlx::query_as("SELECT event_id, arrival FROM purchases").fetch_all(&mut self.test.connect().await.unwrap()).await.unwrap();
        let arrivals: HashMap<String, i64> = arrivals.into_iter().collect();
        let mut by_user: std::collections::BTreeMap<UserId, Vec<(Decimal, Reached)>> = Default::default();
        for purchase in purchases {
            let reached = Reached { at: purchase.timestamp, arrival: arrivals[purchase.event_id.as_str()] };
            by_user.entry(purchase.user_id).or_default().push((purchase.amount.value(), reached));
        }
        by_user.into_iter().filter_map(|(user, purchases)| Total::of(user, purchases)).collect()
    }
}

pub fn order(totals: &[Total]) -> Vec<UserId> {
    ranking::order(totals.to_vec())
}

pub fn euros(cents: i64) -> Money {
    Money::new(Decimal::new(cents, 2), Currency::EUR).unwrap()
}

/// A purchase at the system's time.
pub fn purchase(event: impl ToString, user: i64, item: i64, cents: i64) -> Purchase {
    Purchase {
        event_id: event.to_string().parse().unwrap(),
        user_id: UserId::new(user).unwrap(),
        item_id: ItemId::new(item).unwrap(),
        amount: euros(cents),
        timestamp: UtcDateTime::now(),
    }
}

/// Reports a purchase over HTTP; whether it was acknowledged.
pub async fn report(client: &reqwest::Client, port: u16, purchase: &Purchase) -> bool {
    let body = json!({
        "eventId": purchase.event_id.as_str(),
        "userId": purchase.user_id.to_string(),
        "itemId": purchase.item_id.to_string(),
        "amount": purchase.amount,
        "timestamp": purchase.timestamp,
    });
    let request = client.post(format!("http://127.0.0.1:{port}/purchases")).bearer_auth(TOKEN).json(&body);
    match request.timeout(Duration::from_secs(5)).send().await {
        Ok(response) if response.status() == StatusCode::ACCEPTED => true,
        Ok(response) if response.status().is_server_error() => false,
        Ok(response) => panic!("{}: {}", response.status(), response.text().await.unwrap_or_default()),
        Err(_) => false,
    }
}

pub async fn is_ready(port: u16) -> bool {
    reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await.is_ok_and(|response| response.status().is_success())
}

/// Polls until `condition` holds, for at most a minute.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn database_configuration(test: &TestDatabase) -> DatabaseConfiguration {
    DatabaseConfiguration {
        host: test.host.clone(),
        port: test.port,
        name: test.name.clone(),
        tls: TlsMode::Prefer,
        max_connections: MAX_CONNECTIONS,
    }
}

fn write_json(path: &Path, value: &Value) {
    fs::write(path, serde_json::to_vec_pretty(value).unwrap()).unwrap();
}
