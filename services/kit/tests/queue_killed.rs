//! A worker process that is killed (SIGKILL) in the middle of its handler: its message comes again, and its deliveries are bounded.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tenantry_contract::{DatabaseConfiguration, TlsMode};
use tenantry_harness::process::Process;
use tenantry_kit::database::Database;
use tenantry_kit::queue::{Consumer, DeadLetterReason, Handler, HandlerError, LockedMessage, Queue, QueueMetrics};
use tenantry_kit::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, eventually};

const CHILD: &str = "queue_killed::works_until_it_is_killed";
const DIRECTORY: &str = "QUEUE_WORKER_DIRECTORY";

fn queue() -> Queue {
    Queue::new("payments").with_delivery_limit(3)
}

/// Says that it has begun, and hangs: with the message, or in the transaction that completes it.
struct Hangs {
    database: Database,
}

async fn say(connection: &mut PgConnection, message: &LockedMessage) -> Result<(), HandlerError> {
    let said = sqlx::query("INSERT INTO effects (key, payload) VALUES ('begun', $1)").bind(i64::from(message.deliveries).to_string());
    Ok(said.execute(connection).await.map(drop)?)
}

impl Handler for Hangs {
    type Effect = ();

    async fn handle(&self, message: &LockedMessage) -> Result<(), HandlerError> {
        if message.payload.contains("handle") {
            say(&mut *self.database.acquire().await?, message).await?;
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn record(&self, transaction: &mut PgConnection, message: &LockedMessage, _: &()) -> Result<(), HandlerError> {
        let paid = sqlx::query("INSERT INTO effects (key, payload) VALUES ('paid', 'once')");
        paid.execute(&mut *transaction).await?;
        say(&mut *self.database.acquire().await?, message).await?;
        std::future::pending::<()>().await;
        Ok(())
    }
}

#[tokio::test]
#[ignore = "run by the tests below, in a process of its own"]
async fn works_until_it_is_killed() {
    let directory = std::env::var(DIRECTORY).unwrap();
    let metrics = Metrics::new();
    let port = std::fs::read_to_string(Path::new(&directory).join("port")).unwrap().parse().unwrap();
    let name = std::fs::read_to_string(Path::new(&directory).join("name")).unwrap();
    let configuration = DatabaseConfiguration { host: "127.0.0.1".to_owned(), port, name, tls: TlsMode::Disable, max_connections: 5 };
    let database = Database::connect_lazily(&configuration, Path::new(&directory), "worker", &metrics).unwrap();
    let consumer = Consumer::new(database.clone(), Arc::new(queue()), &QueueMetrics::register(&metrics));
    consumer.run(Hangs { database }, CancellationToken::new()).await;
}

fn worker(fixture: &Fixture) -> Process {
    let directory = fixture.credentials.path();
    std::fs::write(directory.join("port"), fixture.test.port.to_string()).unwrap();
    std::fs::write(directory.join("name"), &fixture.test.name).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--ignored", "--nocapture"]).env(DIRECTORY, directory);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    Process::spawn(&mut command).unwrap()
}

/// Kills a worker each time it has begun, and lets the lock run out, as often as the message may be delivered.
async fn kill_until_the_limit(fixture: &Fixture) {
    for delivery in 1..=3 {
        let worker = worker(fixture);
        let begun = ("begun".to_owned(), delivery.to_string());
        eventually("the worker is in the middle of it", async || fixture.effects().await.contains(&begun)).await;
        worker.kill().unwrap();
        assert!(fixture.lock(1).await.is_empty(), "its lock outlives it");
        fixture.test.shift_time(Duration::from_secs(301 * delivery)).await.unwrap();
        eventually("the message is visible again", async || fixture.queued_and_visible().await == 1).await;
    }
    assert!(fixture.lock(1).await.is_empty());
    let letter = fixture.dead_letters().await.remove(0);
    assert_eq!((letter.deliveries, letter.reason), (3, DeadLetterReason::DELIVERY_LIMIT));
    assert!(letter.last_error.unwrap().contains("not answered"));
    assert_eq!(fixture.queued().await, 0);
}

#[tokio::test]
async fn a_message_whose_worker_is_killed_is_delivered_again_but_not_for_ever() {
    let fixture = Fixture::new().await.with_queue(queue());
    fixture.enqueue_all(["handle"]).await;
    kill_until_the_limit(&fixture).await;
}

#[tokio::test]
async fn a_worker_killed_before_its_commit_leaves_no_effect() {
    let fixture = Fixture::new().await.with_queue(queue());
    fixture.enqueue_all(["record"]).await;
    kill_until_the_limit(&fixture).await;
    assert!(fixture.effects().await.iter().all(|(key, _)| key == "begun"));
}
