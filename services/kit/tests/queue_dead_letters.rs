//! Dead letters: found, redriven, and deleted after a time; and what else is swept.

use std::time::Duration;

use tenantry_kit::queue::{DEAD_LETTERS_KEPT, DeadLetterReason, MessageId, Queue, QueueError, Swept};

use crate::fixture::{Fixture, contents, message};

const DAY: Duration = Duration::from_secs(24 * 3600);
const WRONG: DeadLetterReason = DeadLetterReason::new("wrong");

/// Enqueues messages and dead-letters them, as wrong or unreadable by turns.
async fn dead_letters(fixture: &Fixture, count: usize) -> Vec<MessageId> {
    let ids = fixture.enqueue_all(0..count).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    for (number, message) in fixture.lock(100).await.into_iter().enumerate() {
        let reason = [WRONG, DeadLetterReason::UNREADABLE][number % 2].clone();
        fixture.queue.dead_letter(&mut connection, message.token, &reason, "as it is").await.unwrap();
    }
    ids
}

#[tokio::test]
async fn dead_letters_are_listed_latest_first_and_by_reason() {
    let fixture = Fixture::new().await;
    let ids = dead_letters(&fixture, 4).await;
    let listed: Vec<MessageId> = fixture.dead_letters().await.iter().map(|letter| letter.id).collect();
    assert_eq!(listed, ids.iter().rev().copied().collect::<Vec<_>>());
    let mut connection = fixture.database.acquire().await.unwrap();
    let wrong = fixture.queue.dead_letters(&mut connection, Some(&WRONG), None, 1).await.unwrap();
    assert_eq!(wrong.iter().map(|letter| letter.id).collect::<Vec<_>>(), [ids[2]]);
}

#[tokio::test]
async fn a_list_of_dead_letters_goes_on_after_a_place_whether_its_message_is_still_there_or_not() {
    let fixture = Fixture::new().await;
    let ids = dead_letters(&fixture, 5).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    // Of one moment: their ids decide.
    sqlx::query("UPDATE queue_dead_letters SET dead_lettered_at = '2030-01-01Z'").execute(&mut *connection).await.unwrap();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = fixture.queue.dead_letters(&mut connection, None, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        (after, listed) = (Some(last.key()), [listed, page.iter().map(|letter| letter.id).collect()].concat());
        fixture.queue.redrive(&mut connection, &[last.id]).await.unwrap();
    }
    assert_eq!(listed, ids.into_iter().rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_redriven_message_keeps_its_id_and_has_all_its_deliveries_and_time_again() {
    let fixture = Fixture::new().await.with_queue(Queue::new("payments").with_delivery_limit(1));
    fixture.enqueue(message("short").with_time_to_live(Duration::from_secs(60))).await;
    let first = fixture.lock_one().await;
    let mut connection = fixture.database.acquire().await.unwrap();
    fixture.queue.abandon(&mut connection, first.token, Duration::ZERO, Some("down")).await.unwrap();
    fixture.test.shift_time(DAY).await.unwrap();
    fixture.queue.redrive(&mut connection, &[first.id()]).await.unwrap();
    assert!(fixture.dead_letters().await.is_empty());
    let second = fixture.lock_one().await;
    assert_eq!((second.id(), second.deliveries, second.payload), (first.id(), 1, first.payload));
    assert_eq!(second.last_error.as_deref(), Some("down"));
}

#[tokio::test]
async fn redriving_what_is_not_there_is_refused_and_names_it() {
    let fixture = Fixture::new().await;
    let ids = dead_letters(&fixture, 3).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    fixture.queue.redrive(&mut connection, &ids[..1]).await.unwrap();

    let mut transaction = fixture.database.begin().await.unwrap();
    fixture.queue.redrive(&mut transaction, &ids).await.unwrap_err();
    transaction.rollback().await.unwrap();
    assert_eq!(fixture.dead_letters().await.len(), 2, "all or none, in a transaction");

    let error = fixture.queue.redrive(&mut connection, &ids).await.unwrap_err();
    let QueueError::NoSuchDeadLetter { messages, .. } = &error else { panic!("{error}") };
    assert_eq!(messages, &ids[..1]);
    assert!(error.to_string().contains("payments"), "{error}");
    assert_eq!(fixture.lock(10).await.len(), 3);
}

#[tokio::test]
async fn dead_letters_of_a_reason_are_redriven_oldest_first() {
    let fixture = Fixture::new().await;
    let ids = dead_letters(&fixture, 6).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    assert_eq!(fixture.queue.redrive_by_reason(&mut connection, &WRONG, 2).await.unwrap(), [ids[0], ids[2]]);
    assert_eq!(contents(&fixture.lock(10).await), ["0", "2"]);
    assert_eq!(fixture.queue.redrive_by_reason(&mut connection, &WRONG, 2).await.unwrap(), [ids[4]]);
    assert!(fixture.queue.redrive_by_reason(&mut connection, &WRONG, 2).await.unwrap().is_empty());
    assert_eq!(fixture.dead_letters().await.len(), 3);
}

#[tokio::test]
async fn two_who_redrive_the_same_do_it_once() {
    let fixture = Fixture::new().await;
    let ids = dead_letters(&fixture, 2).await;
    let (mut one, mut two) = (fixture.database.begin().await.unwrap(), fixture.database.begin().await.unwrap());
    fixture.queue.redrive(&mut one, &ids).await.unwrap();
    assert!(fixture.queue.redrive_by_reason(&mut two, &WRONG, 10).await.unwrap().is_empty(), "it passes over what another is at");
    one.commit().await.unwrap();
    assert!(matches!(fixture.queue.redrive(&mut two, &ids).await, Err(QueueError::NoSuchDeadLetter { .. })));
    two.rollback().await.unwrap();
    assert_eq!(fixture.lock(10).await.len(), 2);
}

#[tokio::test]
async fn sweeping_dead_letters_what_expired_behind_others_without_any_consumer() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(0..5).await;
    fixture.enqueue(message("short").with_time_to_live(Duration::from_secs(60))).await;
    fixture.test.shift_time(Duration::from_secs(120)).await.unwrap();
    let swept = fixture.queue.sweep(&fixture.database, DEAD_LETTERS_KEPT, &fixture.queues).await.unwrap();
    assert_eq!(swept, Swept { expired: 1, ..Swept::default() });
    assert!(fixture.queue.sweep(&fixture.database, DEAD_LETTERS_KEPT, &fixture.queues).await.unwrap().is_empty());
    assert_eq!(fixture.dead_letters().await[0].payload, "\"short\"");
    assert_eq!(fixture.queued().await, 5);
}

#[tokio::test]
async fn deduplication_records_go_with_their_window_and_dead_letters_after_their_time() {
    let fixture = Fixture::new().await;
    for id in ["a", "b"] {
        fixture.enqueue(message(id).with_deduplication_id(id).unwrap().with_time_to_live(3 * DEAD_LETTERS_KEPT)).await;
    }
    dead_letters(&fixture, 0).await;
    assert_eq!(fixture.dead_letters().await.len(), 2);
    let sweep = async || fixture.queue.sweep(&fixture.database, DEAD_LETTERS_KEPT, &fixture.queues).await.unwrap();
    assert!(sweep().await.is_empty());
    fixture.test.shift_time(DAY).await.unwrap();
    fixture.enqueue(message("a").with_deduplication_id("a").unwrap()).await;
    assert_eq!(sweep().await, Swept { deduplications: 1, ..Swept::default() }, "the other's window has begun anew");
    fixture.test.shift_time(DEAD_LETTERS_KEPT - DAY).await.unwrap();
    assert_eq!(sweep().await.dead_letters, 0);
    fixture.test.shift_time(DEAD_LETTERS_KEPT).await.unwrap();
    assert_eq!(sweep().await.dead_letters, 2);
}

#[tokio::test]
async fn sweeping_goes_in_bounded_batches() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(0..1500).await;
    fixture.test.shift_time(fixture.queue.time_to_live()).await.unwrap();
    let mut expired = Vec::new();
    for _ in 0..3 {
        expired.push(fixture.queue.sweep(&fixture.database, DEAD_LETTERS_KEPT, &fixture.queues).await.unwrap().expired);
    }
    assert_eq!(expired, [1000, 500, 0]);
}
