//! A fresh database with kit's tables, one topic `orders` of four partitions, its group `billing`, and one queue `payments`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlSafeStr};
use tempfile::TempDir;
use tenantry_contract::{DatabaseConfiguration, TlsMode};
use tenantry_harness::postgres::{PostgresServer, TestDatabase};
use tenantry_kit::database::Database;
use tenantry_kit::migration::{Schema, migrate_connection};
use tenantry_kit::queue::{self, DeadLetter, Enqueued, LockedMessage, MessageId, NewMessage, Queue, QueueMetrics};
use tenantry_kit::stream::{Consumer, Event, Handler, HandlerError, NewEvent, StreamMetrics, Topic, append};
use tenantry_kit::telemetry::Metrics;

pub const GROUP: &str = "billing";
pub const PARTITIONS: u32 = 4;
const TABLES: &str = "
    SELECT stream_create_topic('orders', 4);
    SELECT stream_create_group('orders', 'billing');
    SELECT queue_create('payments');
    CREATE TABLE effects (number bigint GENERATED ALWAYS AS IDENTITY, key text NOT NULL, payload text NOT NULL);
";

pub struct Fixture {
    pub test: TestDatabase,
    pub database: Database,
    pub topic: Arc<Topic>,
    pub metrics: Metrics,
    pub streams: StreamMetrics,
    pub queues: QueueMetrics,
    pub queue: Arc<Queue>,
    pub credentials: TempDir,
}

pub fn schema() -> Schema {
    let migration = Migration::new(1, "tables".into(), MigrationType::Simple, TABLES.into_sql_str(), false);
    Schema::new(Migrator::with_migrations(vec![migration]), 1)
}

pub fn configuration(test: &TestDatabase) -> DatabaseConfiguration {
    DatabaseConfiguration { host: test.host.clone(), port: test.port, name: test.name.clone(), tls: TlsMode::Prefer, max_connections: 20 }
}

impl Fixture {
    pub async fn new() -> Self {
        Self::on(PostgresServer::shared().await.unwrap()).await
    }

    pub async fn on(server: &PostgresServer) -> Self {
        let test = server.create_database().await.unwrap();
        migrate_connection(&mut test.connect().await.unwrap(), schema()).await.unwrap();
        let credentials = tempfile::tempdir().unwrap();
        test.write_credentials(credentials.path()).unwrap();
        let metrics = Metrics::new();
        let database = Database::connect_lazily(&configuration(&test), credentials.path(), "test", &metrics).unwrap();
        let streams = StreamMetrics::register(&metrics);
        let queues = QueueMetrics::register(&metrics);
        let (topic, queue) = (Arc::new(Topic::new("orders")), Arc::new(Queue::new("payments")));
        Self { test, database, topic, metrics, streams, queues, queue, credentials }
    }

    /// With another handle of the queue, for its limits.
    pub fn with_queue(mut self, queue: Queue) -> Self {
        self.queue = Arc::new(queue);
        self
    }

    pub fn consumer(&self) -> Consumer {
        Consumer::new(self.database.clone(), Arc::clone(&self.topic), GROUP, &self.streams)
    }

    /// Appends and commits.
    pub async fn append(&self, events: &[NewEvent]) {
        let mut transaction = self.database.begin().await.unwrap();
        append(&mut transaction, &self.topic, events).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// A consumer of the queue.
    pub fn queue_consumer(&self) -> queue::Consumer {
        queue::Consumer::new(self.database.clone(), Arc::clone(&self.queue), &self.queues)
    }

    /// Enqueues one message and commits.
    pub async fn enqueue(&self, message: NewMessage) -> Enqueued {
        self.queue.enqueue(&mut self.database.acquire().await.unwrap(), message).await.unwrap()
    }

    /// Enqueues messages with these contents and commits.
    pub async fn enqueue_all(&self, contents: impl IntoIterator<Item = impl ToString>) -> Vec<MessageId> {
        let messages: Vec<NewMessage> = contents.into_iter().map(|content| message(&content.to_string())).collect();
        let enqueued = self.queue.enqueue_all(&mut self.database.acquire().await.unwrap(), &messages).await.unwrap();
        enqueued.into_iter().map(Enqueued::id).collect()
    }

    /// Locks messages and commits.
    pub async fn lock(&self, limit: u32) -> Vec<LockedMessage> {
        self.queue.lock(&mut self.database.acquire().await.unwrap(), limit).await.unwrap().messages
    }

    /// Locks the one message that is visible.
    pub async fn lock_one(&self) -> LockedMessage {
        let mut messages = self.lock(2).await;
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    /// All dead letters, the latest first.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.queue.dead_letters(&mut self.database.acquire().await.unwrap(), None, None, 10_000).await.unwrap()
    }

    /// How many messages are in the queue, visible or not.
    pub async fn queued(&self) -> i64 {
        let mut connection = self.database.acquire().await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM queue_messages").fetch_one(&mut *connection).await.unwrap()
    }

    /// How many messages could be locked now.
    pub async fn queued_and_visible(&self) -> i64 {
        let mut connection = self.database.acquire().await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM queue_messages WHERE visible_at <= tenantry_now()")
            .fetch_one(&mut *connection)
            .await
            .unwrap()
    }

    /// All messages and dead letters, as text.
    pub async fn state(&self) -> Vec<String> {
        let mut connection = self.database.acquire().await.unwrap();
        sqlx::query_scalar("SELECT m::text FROM queue_messages m UNION ALL SELECT d::text FROM queue_dead_letters d ORDER BY 1")
            .fetch_all(&mut *connection)
            .await
            .unwrap()
    }

    /// Partition and position of all events, in that order.
    pub async fn positions(&self) -> Vec<(i32, i64)> {
        let mut connection = self.test.connect().await.unwrap();
        sqlx::query_as("SELECT partition, position FROM stream_events ORDER BY partition, position")
            .fetch_all(&mut connection)
            .await
            .unwrap()
    }

    /// Key and payload of all effects, in the order in which they were made.
    pub async fn effects(&self) -> Vec<(String, String)> {
        let mut connection = self.test.connect().await.unwrap();
        sqlx::query_as("SELECT key, payload FROM effects ORDER BY number").fetch_all(&mut connection).await.unwrap()
    }

    /// Waits until a session of this database waits for a lock.
    pub async fn a_session_waits_for_a_lock(&self) {
        let mut connection = self.test.connect().await.unwrap();
        eventually("a session waits for a lock", async || {
            sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap()
        })
        .await;
    }
}

pub fn event(key: impl ToString, payload: &str) -> NewEvent {
    NewEvent::new(key, &payload).unwrap()
}

pub fn message(content: &str) -> NewMessage {
    NewMessage::new(&content).unwrap()
}

/// The contents of messages.
pub fn contents(messages: &[LockedMessage]) -> Vec<String> {
    messages.iter().map(|message| message.decode().unwrap()).collect()
}

/// Asserts that positions are 1, 2, 3, … in every partition.
pub fn assert_gapless(positions: &[(i32, i64)]) {
    let mut expected = std::collections::HashMap::new();
    for (partition, position) in positions {
        let next = expected.entry(partition).or_insert(1_i64);
        assert_eq!(position, next, "partition {partition}");
        *next += 1;
    }
}

/// Polls until `condition` holds, for at most 20 seconds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes each event into the table `effects`.
pub async fn record(transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
    for event in events {
        let payload: String = event.decode()?;
        sqlx::query("INSERT INTO effects (key, payload) VALUES ($1, $2)").bind(&event.key).bind(payload).execute(&mut *transaction).await?;
    }
    Ok(())
}

/// A handler that only records.
#[derive(Default)]
pub struct Recorder;

impl Handler for Recorder {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        record(transaction, events).await
    }
}
