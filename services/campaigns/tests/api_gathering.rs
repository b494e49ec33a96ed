//! Group commit: purchases that are reported alone, at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::api_client::{Client, purchase, purchase_with};
use crate::fixture::{Slot, eventually};

/// How many wait to be committed at most.
const CAPACITY: usize = 256;

/// In how many transactions purchases were accepted.
async fn transactions(slot: &Slot) -> i64 {
    sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM purchases").fetch_one(&mut slot.test.connect().await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_stalls_what_waits_is_bounded_and_everything_taken_is_committed_together() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let mut blocker = slot.test.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE purchases IN EXCLUSIVE MODE").execute(&mut blocker).await.unwrap();
    let client = Arc::new(Client::of(&api));
    let (answered, mut posts) = (Arc::new(AtomicUsize::new(0)), tokio::task::JoinSet::new());
    for number in 0..CAPACITY + 40 {
        let (client, answered) = (Arc::clone(&client), Arc::clone(&answered));
        posts.spawn(async move {
            let answer = client.post("/purchases", &purchase(&number.to_string())).await;
            answered.fetch_add(1, Ordering::Relaxed);
            answer
        });
    }
    eventually("those beyond the capacity are refused", async || answered.load(Ordering::Relaxed) == 40).await;
    assert_eq!(client.get("/campaigns/active").await.status.as_u16(), 200, "others are answered");
    sqlx::raw_sql("ROLLBACK").execute(&mut blocker).await.unwrap();
    let mut accepted = 0;
    while let Some(answer) = posts.join_next().await {
        let answer = answer.unwrap();
        if answer.status.as_u16() == 202 {
            accepted += 1;
        } else {
            answer.assert_refused(503, "overloaded", "");
            assert_eq!(answer.headers["retry-after"], "1");
        }
    }
    assert_eq!((accepted, slot.events("purchase_events").await.len()), (CAPACITY, CAPACITY));
    let transactions = transactions(&slot).await;
    assert!(transactions <= 20, "{CAPACITY} purchases in {transactions} transactions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchases_that_are_committed_together_are_answered_by_their_own_outcomes() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Arc::new(Client::of(&api));
    let known = purchase("known");
    assert_eq!(client.post("/purchases", &known).await.status.as_u16(), 202);
    let mut conflicting = known.clone();
    conflicting["itemId"] = json!("11");

    let mut blocker = slot.test.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE purchases IN EXCLUSIVE MODE").execute(&mut blocker).await.unwrap();
    let twice = purchase("twice");
    let bodies = [
        (purchase("new"), 202),
        (known, 202),
        (conflicting, 409),
        (twice.clone(), 202),
        (twice, 202),
        (purchase_with("/amount/value", json!("0.00")), 422),
    ];
    let mut posts = tokio::task::JoinSet::new();
    for (body, status) in bodies {
        let client = Arc::clone(&client);
        posts.spawn(async move { (client.post("/purchases", &body).await, status) });
    }
    eventually("they wait for the database", async || {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
            .fetch_one(&mut slot.test.connect().await.unwrap())
            .await
            .unwrap()
    })
    .await;
    sqlx::raw_sql("ROLLBACK").execute(&mut blocker).await.unwrap();
    while let Some(post) = posts.join_next().await {
        let (answer, status) = post.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
    assert_eq!(slot.events("purchase_events").await.len(), 3);
}
