//! Appending: positions without gaps, in the order of commits, without deadlocks.

use tenantry_kit::stream::{StreamError, Topic, append};

use crate::fixture::{Fixture, Recorder, assert_gapless, event};

#[tokio::test]
async fn a_consumer_never_steps_over_an_event_that_commits_later() {
    let fixture = Fixture::new().await;
    let mut consumer = fixture.consumer();
    let mut first = fixture.database.begin().await.unwrap();
    append(&mut first, &fixture.topic, &[event("key", "first")]).await.unwrap();

    let (database, topic) = (fixture.database.clone(), std::sync::Arc::clone(&fixture.topic));
    let second = tokio::spawn(async move {
        let mut second = database.begin().await.unwrap();
        append(&mut second, &topic, &[event("key", "second")]).await.unwrap();
        second.commit().await.unwrap();
    });
    fixture.a_session_waits_for_a_lock().await;
    assert!(!second.is_finished(), "the second append waits for the first transaction");
    assert_eq!(consumer.consume(&mut Recorder).await.unwrap(), 0);

    first.commit().await.unwrap();
    second.await.unwrap();
    assert_eq!(consumer.consume(&mut Recorder).await.unwrap(), 2);
    let payloads: Vec<String> = fixture.effects().await.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, ["first", "second"]);
}

#[tokio::test]
async fn an_append_that_is_rolled_back_leaves_no_gap() {
    let fixture = Fixture::new().await;
    let mut first = fixture.database.begin().await.unwrap();
    append(&mut first, &fixture.topic, &[event("key", "never"), event("key", "never")]).await.unwrap();
    first.rollback().await.unwrap();
    fixture.append(&[event("key", "there")]).await;
    let positions = fixture.positions().await;
    assert_eq!(positions.len(), 1);
    assert_gapless(&positions);
}

#[tokio::test]
async fn appends_to_different_partitions_do_not_wait_for_each_other() {
    let fixture = Fixture::new().await;
    let keys: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let partition = |key: &str| tenantry_kit::stream::partition_of(key, crate::fixture::PARTITIONS);
    let other = keys.iter().find(|key| partition(key) != partition(&keys[0])).unwrap();
    let mut open = fixture.database.begin().await.unwrap();
    append(&mut open, &fixture.topic, &[event(&keys[0], "open")]).await.unwrap();
    fixture.append(&[event(other, "done")]).await;
    open.rollback().await.unwrap();
    assert_eq!(fixture.positions().await.len(), 1);
}

#[tokio::test]
async fn many_batches_over_all_partitions_at_once_neither_deadlock_nor_leave_gaps() {
    let fixture = Fixture::new().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8_u64 {
        let (database, topic) = (fixture.database.clone(), std::sync::Arc::clone(&fixture.topic));
        writers.spawn(async move {
            for round in 0..25_u64 {
                // Each writer names the partitions in another order.
                let events: Vec<_> = (0..20).map(|number| event((number * (writer + 3) + round) % 61, "content")).collect();
                let mut transaction = database.begin().await.unwrap();
                append(&mut transaction, &topic, &events).await.unwrap();
                transaction.commit().await.unwrap();
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let positions = fixture.positions().await;
    assert_eq!(positions.len(), 8 * 25 * 20);
    assert_gapless(&positions);
}

#[tokio::test]
async fn events_of_one_batch_keep_their_order() {
    let fixture = Fixture::new().await;
    let names: Vec<String> = (0..50).map(|number| format!("event {number}")).collect();
    let events: Vec<_> = names.iter().map(|name| event("key", name)).collect();
    fixture.append(&events).await;
    fixture.consumer().consume(&mut Recorder).await.unwrap();
    let payloads: Vec<String> = fixture.effects().await.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, names);
}

#[tokio::test]
async fn a_topic_that_no_migration_creates_is_an_error_that_says_so() {
    let fixture = Fixture::new().await;
    let mut transaction = fixture.database.begin().await.unwrap();
    let error = append(&mut transaction, &Topic::new("unheard"), &[event("key", "lost")]).await.unwrap_err();
    assert!(matches!(error, StreamError::UnknownTopic(_)) && error.to_string().contains("stream_create_topic"), "{error}");
}
