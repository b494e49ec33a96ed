//! Retention: what is old goes, unless a group has not passed it.

use std::time::Duration;

use tenantry_kit::stream::{Retention, delete_expired};

use crate::fixture::{Fixture, Recorder, event};

const ALL: Retention = Retention { age: Duration::ZERO, batch: 1000 };

#[tokio::test]
async fn only_events_that_every_group_has_passed_are_deleted() {
    let fixture = Fixture::new().await;
    let events: Vec<_> = (0..10).map(|number| event("key", &number.to_string())).collect();
    fixture.append(&events).await;
    assert_eq!(delete_expired(&fixture.database, ALL).await.unwrap(), 0);
    fixture.consumer().with_batch(6).consume(&mut Recorder).await.unwrap();
    assert_eq!(delete_expired(&fixture.database, ALL).await.unwrap(), 6);
    let left: Vec<i64> = fixture.positions().await.into_iter().map(|(_, position)| position).collect();
    assert_eq!(left, [7, 8, 9, 10]);
    assert_eq!(fixture.consumer().consume(&mut Recorder).await.unwrap(), 4, "the rest is still delivered");
}

#[tokio::test]
async fn young_events_stay() {
    let fixture = Fixture::new().await;
    fixture.append(&[event("key", "young")]).await;
    fixture.consumer().consume(&mut Recorder).await.unwrap();
    let hour = Retention { age: Duration::from_secs(3600), batch: 1000 };
    assert_eq!(delete_expired(&fixture.database, hour).await.unwrap(), 0);
    assert_eq!(fixture.positions().await.len(), 1);
}

#[tokio::test]
async fn deletion_goes_in_bounded_batches() {
    let fixture = Fixture::new().await;
    let events: Vec<_> = (0..10).map(|number| event("key", &number.to_string())).collect();
    fixture.append(&events).await;
    fixture.consumer().consume(&mut Recorder).await.unwrap();
    let small = Retention { age: Duration::ZERO, batch: 4 };
    let mut deleted = Vec::new();
    for _ in 0..4 {
        deleted.push(delete_expired(&fixture.database, small).await.unwrap());
    }
    assert_eq!(deleted, [4, 4, 2, 0]);
}
