//! Consuming: each effect once, whatever dies; partitions are shared; a poisoned event holds up only its own partition.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::PgConnection;
use tenantry_kit::stream::{Consumer, Event, Handler, HandlerError, observe_lag};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, GROUP, PARTITIONS, Recorder, event, eventually, record};

/// Acts, then loses its connection before the commit.
struct DiesOnce(bool);

impl Handler for DiesOnce {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        record(transaction, events).await?;
        if std::mem::take(&mut self.0) {
            sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(transaction).await?;
        }
        Ok(())
    }
}

/// Says that it has begun, and waits to be let go.
struct Waits {
    begun: Arc<Notify>,
    go: Arc<Notify>,
}

impl Handler for Waits {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        self.begun.notify_one();
        self.go.notified().await;
        record(transaction, events).await
    }
}

/// Cannot process the payload "poison".
struct Refuses;

impl Handler for Refuses {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        if let Some(poisoned) = events.iter().find(|event| event.payload.contains("poison")) {
            return Err(poisoned.refuse("it is poisoned"));
        }
        record(transaction, events).await
    }
}

/// As [`Refuses`], but by an error that does not say which event it was.
struct Breaks;

impl Handler for Breaks {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        record(transaction, events).await?;
        if events.iter().any(|event| event.payload.contains("poison")) {
            sqlx::query("SELECT 1 / 0").execute(transaction).await?;
        }
        Ok(())
    }
}

/// One key for each partition.
fn keys() -> Vec<String> {
    let mut keys = HashMap::new();
    for number in 0..1000 {
        let key = number.to_string();
        keys.entry(tenantry_kit::stream::partition_of(&key, PARTITIONS)).or_insert(key);
    }
    keys.into_values().collect()
}

#[tokio::test]
async fn the_effect_of_a_batch_whose_connection_dies_happens_once() {
    let fixture = Fixture::new().await;
    fixture.append(&[event("key", "a"), event("key", "b")]).await;
    let mut consumer = fixture.consumer();
    let mut handler = DiesOnce(true);
    consumer.consume(&mut handler).await.unwrap_err();
    assert!(fixture.effects().await.is_empty());
    assert_eq!(consumer.consume(&mut handler).await.unwrap(), 2);
    assert_eq!(consumer.consume(&mut handler).await.unwrap(), 0);
    assert_eq!(fixture.effects().await.len(), 2);
}

#[tokio::test]
async fn two_consumers_share_the_partitions_and_a_lost_one_is_taken_over() {
    let fixture = Fixture::new().await;
    let keys = keys();
    fixture.append(&[event(&keys[0], "x"), event(&keys[1], "y")]).await;
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut slow = Waits { begun: Arc::clone(&begun), go };
    let mut first = fixture.consumer();
    let held = tokio::spawn(async move { first.consume(&mut slow).await });
    begun.notified().await;

    let mut second = fixture.consumer();
    assert_eq!(second.consume(&mut Recorder).await.unwrap(), 1, "the partition that nobody holds");
    assert_eq!(second.consume(&mut Recorder).await.unwrap(), 0, "the other one is held");

    held.abort();
    eventually("the lost consumer's partition is free", async || second.consume(&mut Recorder).await.unwrap() == 1).await;
    assert_eq!(fixture.effects().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effects_happen_once_and_in_order_while_connections_are_killed() {
    const EVENTS: usize = 3000;
    let fixture = Arc::new(Fixture::new().await);
    let shutdown = CancellationToken::new();
    let consumers: Vec<_> = (0..3).map(|_| tokio::spawn(fixture.consumer().with_batch(50).run(Recorder, shutdown.clone()))).collect();
    let appending = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move {
            let numbers: Vec<usize> = (0..EVENTS).collect();
            for chunk in numbers.chunks(20) {
                let events: Vec<_> = chunk.iter().map(|number| event(number % 17, &number.to_string())).collect();
                // The connection may be killed under this transaction too: then it is not committed, and begun again.
                loop {
                    let Ok(mut transaction) = fixture.database.begin().await else { continue };
                    let appended = tenantry_kit::stream::append(&mut transaction, &fixture.topic, &events).await;
                    if appended.is_ok() && transaction.commit().await.is_ok() {
                        break;
                    }
                }
            }
        }
    });
    let mut killer = fixture.test.connect().await.unwrap();
    let mut kills = 0;
    eventually("all events have their effect", async || {
        if kills < 40 {
            // Sessions that wait for their client or run a statement inside of a transaction, but none that commits: whether a
            // commit took place that was not answered, the appender could not know.
            let killed: Vec<bool> = sqlx::query_scalar(
                "SELECT pg_terminate_backend(pid) FROM (
                    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND query LIKE 'INSERT INTO effects%' ORDER BY random() LIMIT 1) AS victim",
            )
            .fetch_all(&mut killer)
            .await
            .unwrap();
            kills += killed.len();
        }
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM effects").fetch_one(&mut killer).await.unwrap();
        count >= EVENTS as i64
    })
    .await;
    appending.await.unwrap();
    shutdown.cancel();
    for consumer in consumers {
        consumer.await.unwrap();
    }
    assert!(kills > 0, "nothing was killed");
    let effects = fixture.effects().await;
    assert_eq!(effects.len(), EVENTS);
    let mut last: HashMap<String, usize> = HashMap::new();
    for (key, payload) in effects {
        let number: usize = payload.parse().unwrap();
        assert!(last.insert(key.clone(), number).is_none_or(|before| before < number), "key {key}: {number}");
    }
}

#[tokio::test]
async fn a_poisoned_event_holds_up_its_own_partition_only_and_not_what_is_before_it() {
    let fixture = Fixture::new().await;
    let keys = keys();
    let poisoned = [event(&keys[0], "1"), event(&keys[0], "2"), event(&keys[0], "poison"), event(&keys[0], "4")];
    fixture.append(&poisoned).await;
    fixture.append(&[event(&keys[1], "5"), event(&keys[2], "6")]).await;
    let mut consumer = fixture.consumer();
    let mut failures = 0;
    eventually("everything else has its effect", async || {
        failures += usize::from(consumer.consume(&mut Refuses).await.is_err());
        fixture.effects().await.len() == 4
    })
    .await;
    let done: HashSet<String> = fixture.effects().await.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(done, ["1", "2", "5", "6"].map(str::to_owned).into());
    // It is left alone for a while: no hot loop.
    while consumer.consume(&mut Refuses).await.is_err() {
        failures += 1;
    }
    assert!(failures <= 6, "{failures} failures");
    assert!(fixture.metrics.encode().contains("stream_batches_failed_total"));
}

#[tokio::test]
async fn an_error_that_does_not_say_whose_it_is_holds_up_its_own_partition_only() {
    let fixture = Fixture::new().await;
    let keys = keys();
    let mut consumer = fixture.consumer();
    widen(&fixture, &mut consumer, &keys).await;
    let before = fixture.effects().await.len();
    let events: Vec<_> = keys.iter().enumerate().map(|(index, key)| event(key, if index == 1 { "poison" } else { "fine" })).collect();
    fixture.append(&events).await;
    let mut failures = 0;
    eventually("everything else has its effect", async || {
        failures += usize::from(consumer.consume(&mut Breaks).await.is_err());
        fixture.effects().await.len() == before + keys.len() - 1
    })
    .await;
    while consumer.consume(&mut Breaks).await.is_err() {
        failures += 1;
    }
    assert!((2..=4).contains(&failures), "{failures} failures");
    assert!(fixture.effects().await.iter().all(|(_, payload)| payload != "poison"));
}

/// Has the consumer find little in all partitions, until it takes them all at once.
async fn widen(fixture: &Fixture, consumer: &mut Consumer, keys: &[String]) {
    let events: Vec<_> = keys.iter().map(|key| event(key, "little")).collect();
    eventually("one batch is of all partitions", async || {
        fixture.append(&events).await;
        let first = consumer.consume(&mut Recorder).await.unwrap();
        while consumer.consume(&mut Recorder).await.unwrap() > 0 {}
        first as usize == events.len()
    })
    .await;
}

#[tokio::test]
async fn many_partitions_with_little_are_one_batch_and_full_ones_leave_the_others_to_others() {
    let fixture = Fixture::new().await;
    let keys = keys();
    let mut consumer = fixture.consumer().with_batch(100);
    widen(&fixture, &mut consumer, &keys).await;
    // Much in all of them: it holds fewer with each full batch, until others find theirs.
    let much: Vec<_> = keys.iter().flat_map(|key| (0..300).map(move |number| event(key, &number.to_string()))).collect();
    fixture.append(&much).await;
    for _ in 0..7 {
        assert_eq!(consumer.consume(&mut Recorder).await.unwrap(), 100);
    }
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut holds = Waits { begun: Arc::clone(&begun), go: Arc::clone(&go) };
    let held = tokio::spawn(async move { consumer.consume(&mut holds).await });
    begun.notified().await;
    let mut other = fixture.consumer();
    assert_eq!(other.consume(&mut Recorder).await.unwrap(), 100, "what is left of a partition that nobody holds");
    go.notify_one();
    assert_eq!(held.await.unwrap().unwrap(), 100);
    while other.consume(&mut Recorder).await.unwrap() > 0 {}
    let mut last: HashMap<String, i32> = HashMap::new();
    for (key, payload) in fixture.effects().await.into_iter().filter(|(_, payload)| payload != "little") {
        let number: i32 = payload.parse().unwrap();
        assert_eq!(last.insert(key, number).map_or(0, |before| before + 1), number);
    }
    assert!(last.len() == keys.len() && last.values().all(|number| *number == 299), "{last:?}");
}

#[tokio::test]
async fn the_lag_of_each_partition_and_the_age_of_its_oldest_event_are_metrics() {
    let fixture = Fixture::new().await;
    fixture.append(&[event("key", "a"), event("key", "b"), event("key", "c")]).await;
    fixture.consumer().with_batch(1).consume(&mut Recorder).await.unwrap();
    fixture.test.shift_time(std::time::Duration::from_secs(100)).await.unwrap();
    observe_lag(&fixture.database, &fixture.streams).await.unwrap();
    let text = fixture.metrics.encode();
    let lags: Vec<&str> = text.lines().filter(|line| line.starts_with("stream_lag_events{")).collect();
    assert_eq!(lags.len(), PARTITIONS as usize, "{text}");
    assert_eq!(lags.iter().filter(|line| line.ends_with(" 2")).count(), 1, "{text}");
    let ages = text.lines().filter_map(|line| line.strip_prefix("stream_oldest_unprocessed_seconds{")?.rsplit_once(' ')?.1.parse().ok());
    let mut ages: Vec<f64> = ages.collect();
    ages.sort_by(f64::total_cmp);
    let oldest = ages.pop().unwrap();
    assert!((100.0..160.0).contains(&oldest) && ages.iter().all(|age| *age == 0.0), "{text}");
}

#[tokio::test]
async fn a_group_that_no_migration_creates_is_an_error_that_says_so() {
    let fixture = Fixture::new().await;
    fixture.consumer().check().await.unwrap();
    let (database, topic) = (fixture.database.clone(), Arc::clone(&fixture.topic));
    let error = Consumer::new(database, topic, "nobody", &fixture.streams).check().await.unwrap_err();
    assert!(error.to_string().contains("stream_create_group"), "{error}");
    assert_ne!(GROUP, "nobody");
}
