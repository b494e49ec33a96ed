//! Tailing: every reader gets every event from its beginning on, and is told when it missed some.

use std::sync::Arc;
use std::time::Duration;

use tenantry_kit::stream::{Retention, Tail, TailError, append, delete_expired};

use crate::fixture::{Fixture, Recorder, event};

const ALL: Retention = Retention { age: Duration::ZERO, batch: 1000 };

async fn tail(fixture: &Fixture) -> Tail {
    Tail::begin(fixture.database.clone(), Arc::clone(&fixture.topic)).await.unwrap()
}

async fn contents(tail: &mut Tail) -> Vec<String> {
    tail.next().await.unwrap().iter().map(|event| event.decode().unwrap()).collect()
}

#[tokio::test]
async fn every_reader_gets_all_events_since_it_began_in_order() {
    let fixture = Fixture::new().await;
    fixture.append(&[event("key", "before")]).await;
    let (mut first, mut second) = (tail(&fixture).await, tail(&fixture).await);
    assert!(contents(&mut first).await.is_empty());
    fixture.append(&[event("key", "1"), event("key", "2")]).await;
    assert_eq!(contents(&mut first).await, ["1", "2"]);
    fixture.append(&[event("key", "3")]).await;
    assert_eq!(contents(&mut first).await, ["3"]);
    assert_eq!(contents(&mut second).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_tail_never_steps_over_an_event_that_commits_later() {
    let fixture = Fixture::new().await;
    let mut tail = tail(&fixture).await;
    let mut open = fixture.database.begin().await.unwrap();
    append(&mut open, &fixture.topic, &[event("key", "slow")]).await.unwrap();
    assert!(contents(&mut tail).await.is_empty());
    open.commit().await.unwrap();
    fixture.append(&[event("key", "fast")]).await;
    assert_eq!(contents(&mut tail).await, ["slow", "fast"]);
}

#[tokio::test]
async fn a_long_backlog_is_read_in_bounded_parts_and_its_rest_is_the_lag() {
    let fixture = Fixture::new().await;
    let mut tail = tail(&fixture).await.with_batch(4);
    let events: Vec<_> = (0..10).map(|number| event("key", &number.to_string())).collect();
    fixture.append(&events).await;
    let mut read = Vec::new();
    for rest in [6, 2, 0, 0] {
        read.extend(contents(&mut tail).await);
        assert_eq!(tail.lag(), rest);
    }
    assert_eq!(read, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_tail_that_retention_has_passed_is_told_so_and_can_go_on_from_the_end() {
    let fixture = Fixture::new().await;
    let mut all_gone = tail(&fixture).await;
    let mut some_gone = tail(&fixture).await;
    fixture.append(&[event("key", "1"), event("key", "2")]).await;
    fixture.consumer().consume(&mut Recorder).await.unwrap();
    assert_eq!(delete_expired(&fixture.database, ALL).await.unwrap(), 2);
    assert!(matches!(all_gone.next().await, Err(TailError::Passed { position: 0, .. })));
    fixture.append(&[event("key", "3")]).await;
    assert!(matches!(some_gone.next().await, Err(TailError::Passed { position: 0, .. })));
    some_gone.skip_to_end().await.unwrap();
    assert!(contents(&mut some_gone).await.is_empty());
    fixture.append(&[event("key", "4")]).await;
    assert_eq!(contents(&mut some_gone).await, ["4"]);
}
