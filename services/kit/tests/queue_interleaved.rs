//! Transactions at once: who waits for whom, and who does not.

use std::time::Duration;

use tenantry_kit::queue::Enqueued;

use crate::fixture::{Fixture, contents, message};

#[tokio::test]
async fn of_two_transactions_with_one_deduplication_id_the_second_waits_and_yields_to_what_the_first_became() {
    let fixture = Fixture::new().await;
    for commits in [false, true] {
        let id = format!("id {commits}");
        let mut first = fixture.database.begin().await.unwrap();
        let original = fixture.queue.enqueue(&mut first, message("first").with_deduplication_id(&id).unwrap()).await.unwrap();
        let second = tokio::spawn({
            let (database, queue) = (fixture.database.clone(), std::sync::Arc::clone(&fixture.queue));
            let message = message("second").with_deduplication_id(&id).unwrap();
            async move { queue.enqueue(&mut database.acquire().await.unwrap(), message).await.unwrap() }
        });
        fixture.a_session_waits_for_a_lock().await;
        if commits {
            first.commit().await.unwrap();
            assert_eq!(second.await.unwrap(), Enqueued::Duplicate(original.id()));
        } else {
            first.rollback().await.unwrap();
            assert!(matches!(second.await.unwrap(), Enqueued::New(_)));
        }
    }
    assert_eq!(contents(&fixture.lock(10).await), ["second", "first"]);
}

#[tokio::test]
async fn batches_that_name_deduplication_ids_in_any_order_do_not_deadlock() {
    let fixture = Fixture::new().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..6_u64 {
        let (database, queue) = (fixture.database.clone(), std::sync::Arc::clone(&fixture.queue));
        writers.spawn(async move {
            let mut new = 0;
            for round in 0..20_u64 {
                let numbers = (0..20).map(|number| (number * (2 * writer + 1) + round) % 64);
                let messages: Vec<_> = numbers.map(|number| message("content").with_deduplication_id(number).unwrap()).collect();
                let mut transaction = database.begin().await.unwrap();
                let enqueued = queue.enqueue_all(&mut transaction, &messages).await.unwrap();
                transaction.commit().await.unwrap();
                new += enqueued.iter().filter(|enqueued| matches!(enqueued, Enqueued::New(_))).count();
            }
            new
        });
    }
    let new: usize = writers.join_all().await.into_iter().sum();
    assert_eq!(new as i64, fixture.queued().await);
    assert!(new <= 64, "{new}");
}

#[tokio::test]
async fn locking_waits_for_nobody() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(0..4).await;
    // One who locks and does not commit, one who enqueues and does not commit.
    let mut locking = fixture.database.begin().await.unwrap();
    let held = fixture.queue.lock(&mut locking, 2).await.unwrap().messages;
    let mut enqueuing = fixture.database.begin().await.unwrap();
    fixture.queue.enqueue(&mut enqueuing, message("4")).await.unwrap();
    assert_eq!((contents(&held), contents(&fixture.lock(10).await)), (vec!["0".into(), "1".into()], vec!["2".into(), "3".into()]));
    locking.rollback().await.unwrap();
    let again = fixture.lock(10).await;
    assert_eq!((contents(&again), again[0].deliveries), (vec!["0".into(), "1".into()], 1), "a lock rolled back was no delivery");
}

#[tokio::test]
async fn a_completion_that_is_not_committed_holds_its_message_past_the_lock() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["slow"]).await;
    let token = fixture.lock_one().await.token;
    let mut completing = fixture.database.begin().await.unwrap();
    fixture.queue.complete(&mut completing, token).await.unwrap();
    fixture.test.shift_time(Duration::from_secs(600)).await.unwrap();
    assert!(fixture.lock(1).await.is_empty(), "it is passed over");
    assert_eq!(fixture.queue.sweep(&fixture.database, Duration::MAX, &fixture.queues).await.unwrap().expired, 0);
    completing.rollback().await.unwrap();
    assert_eq!(fixture.lock_one().await.deliveries, 2);
}

#[tokio::test]
async fn of_two_answers_at_once_one_is_refused() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["both"]).await;
    let token = fixture.lock_one().await.token;
    let mut completing = fixture.database.begin().await.unwrap();
    fixture.queue.complete(&mut completing, token).await.unwrap();
    let abandoning = tokio::spawn({
        let (database, queue) = (fixture.database.clone(), std::sync::Arc::clone(&fixture.queue));
        async move { queue.abandon(&mut database.acquire().await.unwrap(), token, Duration::ZERO, None).await }
    });
    fixture.a_session_waits_for_a_lock().await;
    completing.commit().await.unwrap();
    abandoning.await.unwrap().unwrap_err();
    assert_eq!((fixture.queued().await, fixture.dead_letters().await.len()), (0, 0));
}
