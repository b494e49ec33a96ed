//! What a queue shows of itself.

use std::time::Duration;

use tenantry_kit::queue::{DeadLetterReason, observe};

use crate::fixture::{Fixture, message};

#[tokio::test]
async fn a_queues_depth_age_locks_delays_and_dead_letters_are_metrics() {
    let fixture = Fixture::new().await;
    let value = |name: &str| -> f64 {
        let text = fixture.metrics.encode();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{queue=\"payments\"")));
        line.unwrap_or_else(|| panic!("{name} is missing: {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    observe(&fixture.database, &fixture.queue, &fixture.queues).await.unwrap();
    assert_eq!((value("queue_visible_messages"), value("queue_oldest_visible_age_seconds")), (0.0, 0.0));

    fixture.enqueue_all(0..6).await;
    fixture.enqueue(message("later").with_delay(Duration::from_secs(3600))).await;
    let locked = fixture.lock(3).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    fixture.queue.dead_letter(&mut connection, locked[0].token, &DeadLetterReason::UNREADABLE, "").await.unwrap();
    fixture.test.shift_time(Duration::from_secs(100)).await.unwrap();
    observe(&fixture.database, &fixture.queue, &fixture.queues).await.unwrap();
    let names = ["queue_visible_messages", "queue_locked_messages", "queue_delayed_messages", "queue_dead_letters"];
    assert_eq!(names.map(value), [3.0, 2.0, 1.0, 1.0]);
    let age = value("queue_oldest_visible_age_seconds");
    assert!((100.0..160.0).contains(&age), "{age}");

    fixture.test.shift_time(fixture.queue.time_to_live() * 2).await.unwrap();
    fixture.queue.sweep(&fixture.database, Duration::MAX, &fixture.queues).await.unwrap();
    let text = fixture.metrics.encode();
    assert!(text.contains("queue_messages_dead_lettered_total{queue=\"payments\",reason=\"expired\"} 6"), "{text}");
}
