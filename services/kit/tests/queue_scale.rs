//! With many messages: what is read does not grow with the table. And a measurement.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer};
use tenantry_kit::queue::{DeadLetterReason, Handler, HandlerError, LockToken, LockedMessage, NewMessage};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, eventually};

/// Fills the tables as nobody would through the queue: most of the messages are visible, some expired, as many dead.
async fn fill(fixture: &Fixture, messages: i64) {
    let mut connection = fixture.test.connect().await.unwrap();
    for statement in [
        "INSERT INTO queue_messages (id, queue_id, visible_at, expires_at, payload)
         SELECT gen_random_uuid(), 1, now() - n * interval '1 second', now() + n * interval '1 minute', '\"content\"'
         FROM generate_series(1, $1::bigint) n",
        "INSERT INTO queue_messages (id, queue_id, visible_at, expires_at, payload)
         SELECT gen_random_uuid(), 1, now() + n * interval '1 hour', now() + n * interval '2 hours', '\"content\"'
         FROM generate_series(1, $1::bigint) n",
        "INSERT INTO queue_dead_letters (id, queue_id, deliveries, reason, enqueued_at, expires_at, payload)
         SELECT gen_random_uuid(), 1, 1, 'wrong', now(), now(), '\"content\"' FROM generate_series(1, $1::bigint) n",
        "INSERT INTO queue_deduplications (queue_id, deduplication_id, message_id, ends_at)
         SELECT 1, n::text, gen_random_uuid(), now() + interval '1 day' FROM generate_series(1, $1::bigint) n",
    ] {
        sqlx::query(statement).bind(messages).execute(&mut connection).await.unwrap();
    }
    // What a session has read is counted when it ends at the latest, which would be at any time from now on.
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&mut connection).await.unwrap();
}

/// Rows that scans of whole tables have read, rows that indexes have fetched, and pages of indexes.
async fn reads(connection: &mut PgConnection) -> (i64, i64, i64) {
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&mut *connection).await.unwrap();
    sqlx::query_as(
        "SELECT sum(seq_tup_read)::bigint, sum(coalesce(idx_tup_fetch, 0))::bigint,
             (SELECT sum(idx_blks_hit + idx_blks_read)::bigint FROM pg_statio_user_indexes WHERE relname LIKE 'queue_%')
         FROM pg_stat_user_tables WHERE relname LIKE 'queue_%' AND relname <> 'queue_names'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// Every operation, a few times.
async fn use_all(fixture: &Fixture, connection: &mut PgConnection) {
    let queue = &fixture.queue;
    for round in 0..8 {
        let new: Vec<NewMessage> =
            (0..8).map(|number| NewMessage::new(&"new").unwrap().with_deduplication_id(format!("{round} {number}")).unwrap()).collect();
        queue.enqueue_all(connection, &new).await.unwrap();
        let messages = queue.lock(connection, 8).await.unwrap().messages;
        assert_eq!(messages.len(), 8);
        let tokens: Vec<LockToken> = messages.iter().map(|message| message.token).collect();
        queue.extend(connection, &tokens, Duration::from_secs(600)).await.unwrap();
        queue.complete(connection, tokens[0]).await.unwrap();
        queue.complete_all(connection, &tokens[1..5]).await.unwrap();
        queue.abandon(connection, tokens[5], Duration::from_secs(60), Some("down")).await.unwrap();
        let reason = DeadLetterReason::UNREADABLE;
        queue.dead_letter(connection, tokens[6], &reason, "wrong").await.unwrap();
        queue.dead_letter(connection, tokens[7], &reason, "wrong").await.unwrap();
        queue.redrive(connection, &[tokens[6].message()]).await.unwrap();
        assert_eq!(queue.redrive_by_reason(connection, &reason, 8).await.unwrap().len(), 1);
        assert!(queue.dead_letters(connection, None, None, 8).await.unwrap().len() <= 8);
    }
}

#[tokio::test]
async fn no_operation_reads_more_of_a_table_that_has_grown_since_it_was_planned() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.test.connect().await.unwrap();
    sqlx::raw_sql(
        "ALTER TABLE queue_messages SET (autovacuum_enabled = false);
         ALTER TABLE queue_dead_letters SET (autovacuum_enabled = false);
         ALTER TABLE queue_deduplications SET (autovacuum_enabled = false)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    // Plans are kept by the connection, and made while the tables are nearly empty, and known to be.
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await.unwrap();
    use_all(&fixture, &mut connection).await;
    fill(&fixture, 20_000).await;
    let before = reads(&mut connection).await;
    use_all(&fixture, &mut connection).await;
    let after = reads(&mut connection).await;
    assert_eq!(after.0 - before.0, 0, "a table was read from end to end");
    assert!(after.1 - before.1 < 3000, "{} rows were fetched", after.1 - before.1);
    assert!(after.2 - before.2 < 6000, "{} pages of indexes were read", after.2 - before.2);
}

/// Messages that became visible long ago and were completed, in a table that nobody vacuums.
async fn complete_unvacuumed(fixture: &Fixture, messages: i64) {
    let mut connection = fixture.test.connect().await.unwrap();
    sqlx::raw_sql("ALTER TABLE queue_messages SET (autovacuum_enabled = false)").execute(&mut connection).await.unwrap();
    sqlx::query(
        "INSERT INTO queue_messages (id, queue_id, visible_at, expires_at, payload)
         SELECT gen_random_uuid(), 1, now() - n * interval '1 second', now() + interval '1 day', '\"content\"'
         FROM generate_series(60, 59 + $1::bigint) n",
    )
    .bind(messages)
    .execute(&mut connection)
    .await
    .unwrap();
    sqlx::raw_sql("DELETE FROM queue_messages").execute(&mut connection).await.unwrap();
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&mut connection).await.unwrap();
}

/// Counts, and does nothing else.
struct Counts(Arc<AtomicUsize>);

impl Handler for Counts {
    type Effect = ();

    async fn handle(&self, _: &LockedMessage) -> Result<(), HandlerError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Has one consumer handle that many messages.
async fn handle(fixture: &Fixture, concurrency: usize, messages: usize) {
    let (handled, shutdown) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let consumer = fixture.queue_consumer().with_concurrency(concurrency);
    let running = tokio::spawn(consumer.run(Counts(Arc::clone(&handled)), shutdown.clone()));
    eventually("all are handled", async || handled.load(Ordering::Relaxed) == messages).await;
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_consumer_does_not_step_over_what_was_completed_long_ago_again_and_again() {
    let fixture = Fixture::new().await;
    complete_unvacuumed(&fixture, 100_000).await;
    let mut connection = fixture.test.connect().await.unwrap();
    let pages = async |connection: &mut PgConnection| -> i64 {
        sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&mut *connection).await.unwrap();
        let statement =
            "SELECT idx_blks_hit + idx_blks_read FROM pg_statio_user_indexes WHERE indexrelname = 'queue_messages_by_visibility'";
        sqlx::query_scalar(statement).fetch_one(connection).await.unwrap()
    };
    fixture.enqueue_all(0..400).await;
    let before = pages(&mut connection).await;
    handle(&fixture, 8, 400).await;
    // A session's counts are complete when it has ended.
    fixture.database.close().await;
    eventually("all sessions have ended", async || {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        sqlx::query_scalar::<_, i64>(others).fetch_one(&mut connection).await.unwrap() == 0
    })
    .await;
    // Once over all of it is 600 pages, and there are at least 50 locks. Changing the messages takes the rest.
    let read = pages(&mut connection).await - before;
    assert!((600..15_000).contains(&read), "{read} pages were read");
}

/// `cargo test --workspace --test main -- --ignored --nocapture queue_throughput`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn queue_throughput() {
    const MILLION: i64 = 1_000_000;
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..Default::default() }).await.unwrap();
    println!("nothing else in the table:");
    measure(&Fixture::on(&server).await).await;
    println!("a million messages wait for later:");
    let fixture = Fixture::on(&server).await;
    fill(&fixture, MILLION).await;
    sqlx::query("DELETE FROM queue_messages WHERE visible_at <= now()").execute(&mut fixture.test.connect().await.unwrap()).await.unwrap();
    sqlx::query("VACUUM queue_messages").execute(&mut fixture.test.connect().await.unwrap()).await.unwrap();
    measure(&fixture).await;
    println!("a million messages were completed, and the table not vacuumed:");
    let fixture = Fixture::on(&server).await;
    complete_unvacuumed(&fixture, MILLION).await;
    measure(&fixture).await;
}

async fn measure(fixture: &Fixture) {
    const MESSAGES: usize = 10_000;
    let rate = |what: &str, start: Instant| println!("  {what}: {:.0}/s", MESSAGES as f64 / start.elapsed().as_secs_f64());
    let mut connection = fixture.database.acquire().await.unwrap();
    fixture.lock(1).await;
    let start = Instant::now();
    for _ in 0..100 {
        assert!(fixture.lock(1).await.is_empty());
    }
    println!("  an empty lock: {:.2} ms", start.elapsed().as_secs_f64() * 1000.0 / 100.0);
    let start = Instant::now();
    for number in 0..MESSAGES {
        fixture.queue.enqueue(&mut connection, NewMessage::new(&number).unwrap()).await.unwrap();
    }
    rate("enqueued one by one, one session", start);
    let start = Instant::now();
    for _ in 0..MESSAGES / 100 {
        let messages = fixture.queue.lock(&mut connection, 100).await.unwrap().messages;
        let tokens: Vec<LockToken> = messages.iter().map(|message| message.token).collect();
        fixture.queue.complete_all(&mut connection, &tokens).await.unwrap();
    }
    rate("locked and completed in batches of 100, one session", start);
    let start = Instant::now();
    for _ in 0..MESSAGES / 1000 {
        fixture.enqueue_all(0..1000).await;
    }
    rate("enqueued in batches of 1000, one session", start);
    let start = Instant::now();
    handle(fixture, 16, MESSAGES).await;
    rate("handled by one consumer, 16 at a time, each with its own commit", start);
}
