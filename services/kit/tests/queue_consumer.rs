//! The consumer: each effect once whatever fails, bounded deliveries, an orderly end.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::PgConnection;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer, StopMode};
use tenantry_kit::queue::{Backoff, Consumer, DeadLetterReason, Handler, HandlerError, LockedMessage, MessageId, Queue};
use tenantry_kit::stream::Wake;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, eventually, message};

const SHORT: Duration = Duration::from_millis(20);
const WRONG: DeadLetterReason = DeadLetterReason::new("wrong");

/// Does with a message what its content says, and counts the deliveries.
#[derive(Clone, Default)]
struct Obedient {
    deliveries: Arc<Mutex<HashMap<MessageId, u32>>>,
    at_once: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
    begun: Arc<Notify>,
    dropped: Arc<Notify>,
}

impl Obedient {
    fn deliveries(&self) -> HashMap<MessageId, u32> {
        self.deliveries.lock().unwrap().clone()
    }
}

/// Counts down and notifies when it is dropped.
struct AtWork(Obedient);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
        self.0.dropped.notify_one();
    }
}

impl Handler for Obedient {
    type Effect = String;

    async fn handle(&self, message: &LockedMessage) -> Result<String, HandlerError> {
        *self.deliveries.lock().unwrap().entry(message.id()).or_default() += 1;
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let _at_work = AtWork(self.clone());
        self.begun.notify_one();
        let content: String = message.decode()?;
        match content.split(' ').next().unwrap_or_default() {
            "fail" => Err(HandlerError::again("it is down")),
            "fail-once" if message.deliveries == 1 => Err(HandlerError::again_after("it is busy", SHORT)),
            "panic" => panic!("out of order"),
            "panic-once" if message.deliveries == 1 => panic!("out of order, once"),
            "refuse" => Err(HandlerError::permanent(WRONG, "it is wrong")),
            "hang" => std::future::pending().await,
            "linger" => {
                tokio::time::sleep(2 * SHORT).await;
                Ok(content)
            }
            _ => Ok(content),
        }
    }

    async fn record(&self, transaction: &mut PgConnection, message: &LockedMessage, effect: &String) -> Result<(), HandlerError> {
        sqlx::query("INSERT INTO effects (key, payload) VALUES ($1, $2)")
            .bind(message.id().to_string())
            .bind(effect)
            .execute(&mut *transaction)
            .await?;
        match effect.split(' ').next().unwrap_or_default() {
            "record-panics-once" if message.deliveries == 1 => panic!("while recording"),
            "record-fails-once" if message.deliveries == 1 => Err(HandlerError::again("while recording")),
            "record-refuses" => Err(HandlerError::permanent(WRONG, "while recording")),
            _ => Ok(()),
        }
    }
}

struct Running {
    shutdown: CancellationToken,
    consumer: JoinHandle<()>,
}

impl Running {
    fn new(consumer: Consumer, handler: impl Handler) -> Self {
        let shutdown = CancellationToken::new();
        Self { consumer: tokio::spawn(consumer.run(handler, shutdown.clone())), shutdown }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.consumer.await.unwrap();
    }
}

fn hasty(fixture: &Fixture) -> Consumer {
    fixture.queue_consumer().with_backoff(Backoff::new(SHORT, SHORT))
}

fn metric(fixture: &Fixture, line: &str) -> bool {
    fixture.metrics.encode().lines().any(|candidate| candidate == line)
}

#[tokio::test]
async fn errors_and_panics_are_delivered_again_and_the_effect_happens_once() {
    let fixture = Fixture::new().await;
    let contents = ["good", "fail-once", "panic-once", "record-panics-once", "record-fails-once"];
    let ids = fixture.enqueue_all(contents).await;
    let handler = Obedient::default();
    let running = Running::new(hasty(&fixture), handler.clone());
    eventually("the queue is empty", async || fixture.queued().await == 0).await;
    running.stop().await;
    let mut effects: Vec<String> = fixture.effects().await.into_iter().map(|(_, payload)| payload).collect();
    effects.sort();
    assert_eq!(effects, ["fail-once", "good", "panic-once", "record-fails-once", "record-panics-once"]);
    let deliveries = handler.deliveries();
    assert_eq!(ids.iter().map(|id| deliveries[id]).collect::<Vec<_>>(), [1, 2, 2, 2, 2]);
    assert!(fixture.dead_letters().await.is_empty());
    assert!(metric(&fixture, "queue_messages_delivered_total{queue=\"payments\"} 9"));
    assert!(metric(&fixture, "queue_messages_completed_total{queue=\"payments\"} 5"));
    assert!(metric(&fixture, "queue_messages_abandoned_total{queue=\"payments\"} 4"));
    assert!(metric(&fixture, "queue_handler_duration_seconds_count{queue=\"payments\"} 9"));
}

#[tokio::test]
async fn what_cannot_succeed_is_a_dead_letter_at_once_and_what_always_fails_at_the_limit() {
    let fixture = Fixture::new().await.with_queue(Queue::new("payments").with_delivery_limit(3));
    let ids = fixture.enqueue_all(["refuse", "record-refuses", "fail", "panic"]).await;
    let unreadable = fixture.enqueue(tenantry_kit::queue::NewMessage::new(&[1, 2]).unwrap()).await.id();
    let handler = Obedient::default();
    let running = Running::new(hasty(&fixture), handler.clone());
    eventually("all are dead letters", async || fixture.dead_letters().await.len() == 5).await;
    running.stop().await;
    assert_eq!((fixture.queued().await, fixture.effects().await.len()), (0, 0));
    let letters: HashMap<MessageId, _> = fixture.dead_letters().await.into_iter().map(|letter| (letter.id, letter)).collect();
    let expected = [
        (ids[0], WRONG, 1, "it is wrong"),
        (ids[1], WRONG, 1, "while recording"),
        (ids[2], DeadLetterReason::DELIVERY_LIMIT, 3, "it is down"),
        (ids[3], DeadLetterReason::DELIVERY_LIMIT, 3, "the handler panicked: out of order"),
        (unreadable, DeadLetterReason::UNREADABLE, 1, "invalid type: sequence, expected a string at line 1 column 0"),
    ];
    for (id, reason, deliveries, error) in expected {
        let letter = &letters[&id];
        assert_eq!((&letter.reason, letter.deliveries, letter.last_error.as_deref()), (&reason, deliveries, Some(error)));
        assert_eq!(handler.deliveries()[&id], deliveries);
    }
    assert!(metric(&fixture, "queue_messages_dead_lettered_total{queue=\"payments\",reason=\"wrong\"} 2"));
    assert!(metric(&fixture, "queue_messages_dead_lettered_total{queue=\"payments\",reason=\"delivery_limit\"} 2"));
    assert!(metric(&fixture, "queue_messages_dead_lettered_total{queue=\"payments\",reason=\"unreadable\"} 1"));
}

#[tokio::test]
async fn a_handler_that_takes_too_long_has_failed() {
    let fixture = Fixture::new().await.with_queue(Queue::new("payments").with_delivery_limit(2));
    fixture.enqueue_all(["hang"]).await;
    let running = Running::new(hasty(&fixture).with_time_limit(SHORT), Obedient::default());
    eventually("it is a dead letter", async || fixture.dead_letters().await.len() == 1).await;
    running.stop().await;
    assert!(fixture.dead_letters().await[0].last_error.as_deref().unwrap().contains("took longer than 0.02 s"));
}

#[tokio::test]
async fn no_more_messages_are_handled_or_locked_at_a_time_than_the_limit() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all((0..40).map(|number| format!("linger {number}"))).await;
    let handler = Obedient::default();
    let running = Running::new(fixture.queue_consumer().with_concurrency(3), handler.clone());
    let mut most_locked = 0_i64;
    eventually("the queue is empty", async || {
        let mut connection = fixture.database.acquire().await.unwrap();
        let locked = sqlx::query_scalar("SELECT count(*) FROM queue_messages WHERE lock_token IS NOT NULL");
        most_locked = most_locked.max(locked.fetch_one(&mut *connection).await.unwrap());
        fixture.queued().await == 0
    })
    .await;
    running.stop().await;
    assert_eq!(handler.most_at_once.load(Ordering::SeqCst), 3);
    assert!((1..=3).contains(&most_locked), "{most_locked}");
    assert_eq!(fixture.effects().await.len(), 40);
}

/// Handles a message when it is let go.
struct Gated {
    go: Arc<Semaphore>,
    inner: Obedient,
}

impl Handler for Gated {
    type Effect = String;

    async fn handle(&self, message: &LockedMessage) -> Result<String, HandlerError> {
        let effect = self.inner.handle(message).await?;
        self.go.acquire().await.unwrap().forget();
        Ok(effect)
    }

    async fn record(&self, transaction: &mut PgConnection, message: &LockedMessage, effect: &String) -> Result<(), HandlerError> {
        self.inner.record(transaction, message, effect).await
    }
}

#[tokio::test]
async fn a_lock_is_kept_while_the_handler_works_for_longer_than_it_lasts() {
    let fixture = Fixture::new().await.with_queue(Queue::new("payments").with_lock_duration(Duration::from_millis(600)));
    fixture.enqueue_all(["slow"]).await;
    let (go, inner) = (Arc::new(Semaphore::new(0)), Obedient::default());
    let running = Running::new(fixture.queue_consumer(), Gated { go: Arc::clone(&go), inner: inner.clone() });
    inner.begun.notified().await;
    let locked_until = async || -> i64 {
        let mut connection = fixture.database.acquire().await.unwrap();
        let micros = sqlx::query_scalar("SELECT (extract(epoch FROM visible_at) * 1000)::bigint FROM queue_messages");
        micros.fetch_one(&mut *connection).await.unwrap()
    };
    let first = locked_until().await;
    eventually("the lock lasts longer than twice its duration", async || {
        assert!(fixture.lock(1).await.is_empty(), "nobody else gets it");
        locked_until().await > first + 1200
    })
    .await;
    go.add_permits(1);
    eventually("it is completed", async || fixture.queued().await == 0).await;
    running.stop().await;
    assert_eq!((fixture.effects().await.len(), inner.deliveries().into_values().collect::<Vec<_>>()), (1, vec![1]));
}

#[tokio::test]
async fn a_handler_whose_lock_is_lost_gives_up_and_its_effect_is_not_recorded() {
    let fixture = Fixture::new().await.with_queue(Queue::new("payments").with_lock_duration(Duration::from_millis(600)));
    fixture.enqueue_all(["slow"]).await;
    let (go, inner) = (Arc::new(Semaphore::new(0)), Obedient::default());
    let running = Running::new(fixture.queue_consumer(), Gated { go, inner: inner.clone() });
    inner.begun.notified().await;
    // As after a pause of the whole process: another consumer has the message.
    let mut connection = fixture.test.connect().await.unwrap();
    sqlx::raw_sql("UPDATE queue_messages SET lock_token = gen_random_uuid(), visible_at = tenantry_now() + interval '1 hour'")
        .execute(&mut connection)
        .await
        .unwrap();
    eventually("the handler gives up", async || inner.at_once.load(Ordering::SeqCst) == 0).await;
    running.stop().await;
    assert_eq!((fixture.effects().await.len(), fixture.queued().await), (0, 1), "it is the other's to answer");
}

#[tokio::test]
async fn after_shutdown_what_is_in_work_is_finished_and_nothing_new_begun() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["one", "two", "three"]).await;
    let (go, inner) = (Arc::new(Semaphore::new(0)), Obedient::default());
    let consumer = fixture.queue_consumer().with_concurrency(2);
    let running = Running::new(consumer, Gated { go: Arc::clone(&go), inner: inner.clone() });
    eventually("two are in work", async || inner.deliveries().len() == 2).await;
    running.shutdown.cancel();
    go.add_permits(3);
    running.consumer.await.unwrap();
    assert_eq!((fixture.effects().await.len(), fixture.queued().await, fixture.queued_and_visible().await), (2, 1, 1));
}

#[tokio::test]
async fn what_is_not_finished_within_the_grace_is_given_back_at_once() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["hang", "hang"]).await;
    let handler = Obedient::default();
    let running = Running::new(fixture.queue_consumer().with_grace(SHORT), handler.clone());
    eventually("both are in work", async || handler.at_once.load(Ordering::SeqCst) == 2).await;
    running.stop().await;
    assert_eq!((handler.at_once.load(Ordering::SeqCst), fixture.queued_and_visible().await), (0, 2));
    assert_eq!(fixture.lock(2).await[0].last_error.as_deref(), Some("the consumer was stopped"));
}

#[tokio::test]
async fn a_message_whose_transaction_commits_late_is_delivered_soon() {
    let fixture = Fixture::new().await;
    let handler = Obedient::default();
    let running = Running::new(fixture.queue_consumer(), handler.clone());
    let mut late = fixture.database.begin().await.unwrap();
    fixture.queue.enqueue(&mut late, message("good")).await.unwrap();
    // The consumer has looked past the time at which the late one became visible.
    fixture.enqueue_all(["good"]).await;
    eventually("the other one is handled", async || handler.deliveries().len() == 1).await;
    late.commit().await.unwrap();
    eventually("the late one is handled", async || handler.deliveries().len() == 2).await;
    running.stop().await;
}

#[tokio::test]
async fn a_consumer_that_is_woken_does_not_wait_for_its_interval() {
    let fixture = Fixture::new().await;
    let (wake, handler) = (Wake::default(), Obedient::default());
    let running = Running::new(fixture.queue_consumer().woken_by(wake.clone()), handler.clone());
    for number in 1..=50 {
        fixture.enqueue_all(["good"]).await;
        wake.wake();
        eventually("it is handled", async || handler.deliveries().len() == number).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_completed_or_dead_lettered_once_while_connections_are_killed_at_random() {
    const LIMIT: u32 = 6;
    const MESSAGES: usize = 600;
    let lock = Duration::from_secs(1);
    let fixture = Arc::new(Fixture::new().await.with_queue(Queue::new("payments").with_delivery_limit(LIMIT).with_lock_duration(lock)));
    let kinds = ["good", "good", "linger", "fail-once", "panic-once", "record-fails-once", "refuse", "fail"];
    let ids = fixture.enqueue_all((0..MESSAGES).map(|number| format!("{} {number}", kinds[number % kinds.len()]))).await;
    let handler = Obedient::default();
    let consumers: Vec<Running> = (0..4).map(|_| Running::new(hasty(&fixture).with_concurrency(4), handler.clone())).collect();
    let mut killer = fixture.test.connect().await.unwrap();
    let mut kills = 0;
    eventually("every message has come to its end", async || {
        if kills < 60 {
            // Any session but this, also one that is just committing.
            let killed: Vec<bool> = sqlx::query_scalar(
                "SELECT pg_terminate_backend(pid) FROM (
                    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND state <> 'idle' ORDER BY random() LIMIT 1) AS victim",
            )
            .fetch_all(&mut killer)
            .await
            .unwrap();
            kills += killed.len();
        }
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM queue_messages").fetch_one(&mut killer).await.unwrap();
        left == 0
    })
    .await;
    for consumer in consumers {
        consumer.stop().await;
    }
    assert!(kills > 10, "{kills} kills");
    let letters = fixture.dead_letters().await;
    let effects: Vec<String> = fixture.effects().await.into_iter().map(|(id, _)| id).collect();
    let done: HashSet<String> = effects.iter().cloned().collect();
    assert_eq!(done.len(), effects.len(), "an effect happened twice");
    let dead: HashSet<String> = letters.iter().map(|letter| letter.id.to_string()).collect();
    assert!(done.is_disjoint(&dead));
    assert_eq!(done.len() + dead.len(), ids.len());
    let refused = letters.iter().filter(|letter| letter.reason == WRONG).count();
    assert!(refused >= MESSAGES / 8 - 3, "{refused} were refused");
    assert!(letters.iter().all(|letter| letter.deliveries <= LIMIT));
    assert!(handler.deliveries().values().all(|deliveries| *deliveries <= LIMIT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_postgresql_restarts_under_load() {
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..Default::default() }).await.unwrap();
    let queue = Queue::new("payments").with_delivery_limit(1000).with_lock_duration(Duration::from_secs(2));
    let fixture = Arc::new(Fixture::on(&server).await.with_queue(queue));
    let running: Vec<Running> = (0..2).map(|_| Running::new(hasty(&fixture), Obedient::default())).collect();
    let (enqueued, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let enqueuing = tokio::spawn({
        let (fixture, enqueued, stop) = (Arc::clone(&fixture), Arc::clone(&enqueued), stop.clone());
        async move {
            while !stop.is_cancelled() {
                let number = enqueued.load(Ordering::SeqCst);
                // Whether what was not answered was enqueued is not known: its deduplication id makes it safe to repeat.
                let message = message(&format!("good {number}")).with_deduplication_id(number).unwrap();
                let outcome = async {
                    let mut connection = fixture.database.acquire().await?;
                    fixture.queue.enqueue(&mut connection, message).await
                };
                match outcome.await {
                    Ok(_) => drop(enqueued.fetch_add(1, Ordering::SeqCst)),
                    Err(error) => assert!(error.is_unavailable(), "{error}"),
                }
            }
        }
    });
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let before = enqueued.load(Ordering::SeqCst);
        eventually("messages are enqueued", async || enqueued.load(Ordering::SeqCst) > before + 100).await;
        server.restart(mode).await.unwrap();
    }
    let before = enqueued.load(Ordering::SeqCst);
    eventually("messages are enqueued again", async || enqueued.load(Ordering::SeqCst) > before + 100).await;
    stop.cancel();
    enqueuing.await.unwrap();
    eventually("all are handled", async || fixture.queued().await == 0).await;
    for consumer in running {
        consumer.stop().await;
    }
    let effects: Vec<String> = fixture.effects().await.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(effects.len(), enqueued.load(Ordering::SeqCst));
    assert_eq!(effects.iter().collect::<HashSet<_>>().len(), effects.len());
    assert!(fixture.dead_letters().await.is_empty());
}
