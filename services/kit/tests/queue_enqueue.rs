//! Enqueuing: with the caller's transaction, once per deduplication id and day, not before its delay.

use std::time::Duration;

use tenantry_kit::queue::{Enqueued, Queue, QueueError};

use crate::fixture::{Fixture, contents, message};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_message_is_there_if_and_only_if_its_transaction_commits() {
    let fixture = Fixture::new().await;
    let mut transaction = fixture.database.begin().await.unwrap();
    fixture.queue.enqueue(&mut transaction, message("never").with_deduplication_id("id").unwrap()).await.unwrap();
    assert!(fixture.lock(10).await.is_empty(), "nothing is committed yet");
    transaction.rollback().await.unwrap();
    assert!(fixture.lock(10).await.is_empty());

    let mut transaction = fixture.database.begin().await.unwrap();
    let enqueued = fixture.queue.enqueue(&mut transaction, message("there").with_deduplication_id("id").unwrap()).await.unwrap();
    assert!(matches!(enqueued, Enqueued::New(_)), "what was rolled back counts for nothing");
    transaction.commit().await.unwrap();
    assert_eq!(contents(&fixture.lock(10).await), ["there"]);
}

#[tokio::test]
async fn a_batch_is_delivered_in_its_order() {
    let fixture = Fixture::new().await;
    let names: Vec<String> = (0..50).map(|number| format!("message {number}")).collect();
    let ids = fixture.enqueue_all(&names).await;
    let messages = fixture.lock(100).await;
    assert_eq!(contents(&messages), names);
    assert_eq!(messages.iter().map(|message| message.id()).collect::<Vec<_>>(), ids);
    assert!(fixture.enqueue_all(Vec::<String>::new()).await.is_empty());
}

#[tokio::test]
async fn a_deduplication_id_admits_one_message_a_day_also_when_that_is_done_with() {
    let fixture = Fixture::new().await;
    let payment = || message("payment").with_deduplication_id("winner 1").unwrap();
    let first = fixture.enqueue(payment()).await;
    assert_eq!(fixture.enqueue(payment()).await, Enqueued::Duplicate(first.id()));
    let locked = fixture.lock_one().await;
    fixture.queue.complete(&mut fixture.database.acquire().await.unwrap(), locked.token).await.unwrap();
    assert_eq!(fixture.enqueue(payment()).await, Enqueued::Duplicate(first.id()));
    assert!(fixture.lock(10).await.is_empty());

    fixture.test.shift_time(DAY - Duration::from_secs(60)).await.unwrap();
    assert_eq!(fixture.enqueue(payment()).await, Enqueued::Duplicate(first.id()));
    fixture.test.shift_time(DAY).await.unwrap();
    let second = fixture.enqueue(payment()).await;
    assert!(matches!(second, Enqueued::New(_)));
    assert_eq!(fixture.lock_one().await.id(), second.id());
    fixture.test.shift_time(DAY + DAY - Duration::from_secs(60)).await.unwrap();
    assert_eq!(fixture.enqueue(payment()).await, Enqueued::Duplicate(second.id()), "the window begins anew");
}

#[tokio::test]
async fn of_one_batch_the_first_with_a_deduplication_id_counts() {
    let fixture = Fixture::new().await;
    let known = fixture.enqueue(message("known").with_deduplication_id("a").unwrap()).await;
    let batch = [
        message("again").with_deduplication_id("a").unwrap(),
        message("first").with_deduplication_id("b").unwrap(),
        message("free"),
        message("second").with_deduplication_id("b").unwrap(),
    ];
    let enqueued = fixture.queue.enqueue_all(&mut fixture.database.acquire().await.unwrap(), &batch).await.unwrap();
    assert_eq!(enqueued[0], Enqueued::Duplicate(known.id()));
    assert!(matches!(enqueued[1], Enqueued::New(_)) && matches!(enqueued[2], Enqueued::New(_)));
    assert_eq!(enqueued[3], Enqueued::Duplicate(enqueued[1].id()));
    assert_eq!(contents(&fixture.lock(10).await), ["known", "first", "free"]);
}

#[tokio::test]
async fn a_delayed_message_is_not_delivered_before_its_time() {
    let fixture = Fixture::new().await;
    fixture.enqueue(message("later").with_delay(Duration::from_secs(3600))).await;
    fixture.enqueue(message("now")).await;
    assert_eq!(contents(&fixture.lock(10).await), ["now"]);
    fixture.test.shift_time(Duration::from_secs(3540)).await.unwrap();
    assert_eq!(contents(&fixture.lock(10).await), ["now"], "only the lock that has run out");
    fixture.test.shift_time(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(contents(&fixture.lock(10).await), ["later"]);
}

#[tokio::test]
async fn durations_without_end_are_long_ones() {
    let fixture = Fixture::new().await;
    fixture.enqueue(message("kept").with_time_to_live(Duration::MAX)).await;
    fixture.enqueue(message("never").with_delay(Duration::MAX).with_time_to_live(Duration::MAX)).await;
    let locked = fixture.queue.lock_for(&mut fixture.database.acquire().await.unwrap(), 2, Duration::MAX).await.unwrap();
    assert_eq!(contents(&locked.messages), ["kept"]);
}

#[tokio::test]
async fn a_queue_that_no_migration_creates_is_an_error_that_says_so() {
    let fixture = Fixture::new().await.with_queue(Queue::new("unheard"));
    let mut connection = fixture.database.acquire().await.unwrap();
    let error = fixture.queue.enqueue(&mut connection, message("lost")).await.unwrap_err();
    assert!(matches!(error, QueueError::UnknownQueue(_)) && error.to_string().contains("queue_create"), "{error}");
    fixture.queue_consumer().check().await.unwrap_err();
}

#[tokio::test]
async fn queues_of_one_schema_do_not_share_messages_or_deduplication_ids() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.database.acquire().await.unwrap();
    sqlx::query("SELECT queue_create('mails')").execute(&mut *connection).await.unwrap();
    let mails = Queue::new("mails");
    for queue in [&mails, &*fixture.queue] {
        let enqueued = queue.enqueue(&mut connection, message(queue.name()).with_deduplication_id("same").unwrap()).await.unwrap();
        assert!(matches!(enqueued, Enqueued::New(_)));
    }
    let mail = mails.lock(&mut connection, 10).await.unwrap().messages;
    assert_eq!(contents(&mail), ["mails"]);
    mails.dead_letter(&mut connection, mail[0].token, &tenantry_kit::queue::DeadLetterReason::UNREADABLE, "no").await.unwrap();
    assert!(fixture.dead_letters().await.is_empty());
    fixture.queue.redrive(&mut connection, &[mail[0].id()]).await.unwrap_err();
    mails.redrive(&mut connection, &[mail[0].id()]).await.unwrap();
}
