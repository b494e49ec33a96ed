//! Locking: each message to one consumer, in the order in which they became visible, for a time.

use std::collections::HashSet;
use std::time::Duration;

use tenantry_kit::queue::{DeadLetterReason, QueueError};

use crate::fixture::{Fixture, contents, message};

const MINUTE: Duration = Duration::from_secs(60);
const FOURTEEN_DAYS: Duration = Duration::from_secs(14 * 24 * 3600);

#[tokio::test]
async fn a_locked_message_is_nobody_elses_until_its_lock_runs_out() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["only"]).await;
    let first = fixture.lock_one().await;
    assert_eq!(first.locked_until.unix_micros() - first.delivered_at.unix_micros(), 5 * 60 * 1_000_000);
    assert!(fixture.lock(10).await.is_empty());
    fixture.test.shift_time(4 * MINUTE).await.unwrap();
    assert!(fixture.lock(10).await.is_empty());
    fixture.test.shift_time(5 * MINUTE).await.unwrap();
    let second = fixture.lock_one().await;
    assert_eq!((second.id(), second.deliveries), (first.id(), 2));
    assert!(second.last_error.unwrap().contains("not answered"));
    assert_ne!(second.token, first.token);
}

#[tokio::test]
async fn a_lock_lasts_as_long_as_is_asked_for_and_can_be_extended() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["one", "two"]).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    let messages = fixture.queue.lock_for(&mut connection, 10, MINUTE).await.unwrap().messages;
    fixture.queue.extend(&mut connection, &[messages[0].token], 10 * MINUTE).await.unwrap();
    fixture.test.shift_time(2 * MINUTE).await.unwrap();
    assert_eq!(contents(&fixture.lock(10).await), ["two"]);
    let tokens: Vec<_> = messages.iter().map(|message| message.token).collect();
    let error = fixture.queue.extend(&mut connection, &tokens, 20 * MINUTE).await.unwrap_err();
    assert!(matches!(error, QueueError::StaleLock { messages: stale } if stale == [messages[1].id()]));
    fixture.test.shift_time(15 * MINUTE).await.unwrap();
    assert_eq!(contents(&fixture.lock(10).await), ["two"], "the other one's was extended nonetheless");
}

#[tokio::test]
async fn messages_are_locked_in_the_order_in_which_they_became_visible() {
    let fixture = Fixture::new().await;
    fixture.enqueue(message("third").with_delay(2 * MINUTE)).await;
    fixture.enqueue(message("second").with_delay(MINUTE)).await;
    fixture.enqueue_all(["first"]).await;
    fixture.test.shift_time(3 * MINUTE).await.unwrap();
    fixture.enqueue_all(["fourth"]).await;
    let mut order = Vec::new();
    for _ in 0..2 {
        order.extend(contents(&fixture.lock(2).await));
    }
    assert_eq!(order, ["first", "second", "third", "fourth"]);
}

#[tokio::test]
async fn a_full_batch_says_so() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(0..3).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    let batch = fixture.queue.lock(&mut connection, 2).await.unwrap();
    assert!(batch.is_full && batch.messages.len() == 2);
    let batch = fixture.queue.lock(&mut connection, 2).await.unwrap();
    assert!(!batch.is_full && batch.messages.len() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_at_once_get_different_messages_and_all_of_them() {
    let fixture = std::sync::Arc::new(Fixture::new().await);
    let ids = fixture.enqueue_all(0..500).await;
    let mut consumers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let fixture = std::sync::Arc::clone(&fixture);
        consumers.spawn(async move {
            let mut locked = Vec::new();
            // An empty batch may be that of somebody who looked at messages that others were just locking.
            while fixture.queued_and_visible().await > 0 {
                locked.extend(fixture.lock(7).await.into_iter().map(|message| message.id()));
            }
            locked
        });
    }
    let locked = consumers.join_all().await.concat();
    assert_eq!(locked.len(), ids.len(), "none twice");
    assert_eq!(locked.into_iter().collect::<HashSet<_>>(), ids.into_iter().collect());
}

#[tokio::test]
async fn what_outlived_its_time_is_not_delivered_but_a_dead_letter() {
    let fixture = Fixture::new().await;
    let long = fixture.enqueue(message("long").with_time_to_live(2 * FOURTEEN_DAYS)).await;
    let usual = fixture.enqueue(message("usual")).await;
    let short = fixture.enqueue(message("short").with_time_to_live(MINUTE)).await;
    fixture.test.shift_time(2 * MINUTE).await.unwrap();
    let mut connection = fixture.database.acquire().await.unwrap();
    let batch = fixture.queue.lock(&mut connection, 3).await.unwrap();
    assert_eq!(contents(&batch.messages), ["long", "usual"]);
    assert_eq!(batch.dead_lettered, [(short.id(), DeadLetterReason::EXPIRED)]);
    assert!(batch.is_full, "it took one of the three places");
    fixture.test.shift_time(FOURTEEN_DAYS + MINUTE).await.unwrap();
    let batch = fixture.queue.lock(&mut connection, 3).await.unwrap();
    assert_eq!((contents(&batch.messages), batch.messages[0].id()), (vec!["long".to_owned()], long.id()));
    assert_eq!(batch.dead_lettered, [(usual.id(), DeadLetterReason::EXPIRED)]);
    let letters = fixture.dead_letters().await;
    assert_eq!(letters.iter().map(|letter| letter.deliveries).collect::<Vec<_>>(), [1, 0]);
    assert!(letters.iter().all(|letter| letter.reason == DeadLetterReason::EXPIRED && letter.dead_lettered_at >= letter.expires_at));
}

#[tokio::test]
async fn time_to_live_counts_from_when_a_message_is_visible_for_the_first_time() {
    let fixture = Fixture::new().await;
    fixture.enqueue(message("later").with_delay(10 * MINUTE).with_time_to_live(MINUTE)).await;
    fixture.test.shift_time(10 * MINUTE + Duration::from_secs(30)).await.unwrap();
    assert_eq!(contents(&fixture.lock(1).await), ["later"]);
}

#[tokio::test]
async fn who_holds_an_expired_message_can_still_complete_it() {
    let fixture = Fixture::new().await;
    fixture.enqueue(message("short").with_time_to_live(MINUTE)).await;
    let locked = fixture.lock_one().await;
    fixture.test.shift_time(2 * MINUTE).await.unwrap();
    let mut connection = fixture.database.acquire().await.unwrap();
    let swept = fixture.queue.sweep(&fixture.database, Duration::MAX, &fixture.queues).await.unwrap();
    assert_eq!(swept.expired, 0);
    fixture.queue.complete(&mut connection, locked.token).await.unwrap();
    assert!(fixture.dead_letters().await.is_empty());
}

#[tokio::test]
async fn deliveries_that_nobody_answers_count_and_end_at_the_limit() {
    let fixture = Fixture::new().await.with_queue(tenantry_kit::queue::Queue::new("payments").with_delivery_limit(3));
    let ids = fixture.enqueue_all(["poison"]).await;
    for delivery in 0..3 {
        fixture.test.shift_time(delivery * 6 * MINUTE).await.unwrap();
        assert_eq!(fixture.lock_one().await.deliveries, delivery + 1);
    }
    fixture.test.shift_time(18 * MINUTE).await.unwrap();
    let batch = fixture.queue.lock(&mut fixture.database.acquire().await.unwrap(), 10).await.unwrap();
    assert_eq!((batch.messages.len(), batch.dead_lettered), (0, vec![(ids[0], DeadLetterReason::DELIVERY_LIMIT)]));
    let letter = fixture.dead_letters().await.remove(0);
    assert_eq!((letter.id, letter.deliveries, letter.payload.as_str()), (ids[0], 3, "\"poison\""));
    assert!(letter.last_error.unwrap().contains("not answered"));
    assert!(letter.delivered_at.unwrap() > letter.enqueued_at && letter.dead_lettered_at > letter.delivered_at.unwrap());
    assert_eq!(fixture.queued().await, 0);
}
