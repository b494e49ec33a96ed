//! Workers share the partitions; what a lost one held is taken over in seconds, whether it is dead or hangs.

use std::time::{Duration, Instant};

use campaigns::domain::{Purchase, PurchaseAcceptance};
use sqlx::PgConnection;
use tenantry_harness::janitor::free_port;
use tenantry_harness::process::Process;

use crate::fixture::{Slot, eventually, purchase};

/// A stage's transaction waits for its client at most 15 s, after which the database ends it.
const TAKEN_OVER_FROM_A_HANGING_ONE: Duration = Duration::from_secs(25);
const TAKEN_OVER_FROM_A_DEAD_ONE: Duration = Duration::from_secs(5);

async fn accept(slot: &Slot, prefix: &str, count: i64) -> Vec<Purchase> {
    let purchases: Vec<Purchase> =
        (0..count).map(|number| purchase(format!("{prefix}-{number}"), 1 + number % 200, 10, 100 + number)).collect();
    for chunk in purchases.chunks(1000) {
        let accepted = slot.store.accept_purchases(chunk).await.unwrap();
        assert!(accepted.iter().all(|acceptance| *acceptance == PurchaseAcceptance::Accepted));
    }
    purchases
}

/// How many events of a stage a worker's process has processed.
async fn consumed(port: u16, group: &str) -> u64 {
    let Ok(response) = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await else { return 0 };
    let metrics = response.text().await.unwrap_or_default();
    let lines = metrics.lines().filter(|line| line.starts_with("stream_events_consumed_total{") && line.contains(group));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn two_workers_share_the_partitions_of_each_stage_and_count_everything_once() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -600.0, 600.0).await;
    let ports = [free_port().unwrap(), free_port().unwrap()];
    let _workers = ports.map(|port| slot.worker_on(port));
    let mut purchases = Vec::new();
    for round in 0.. {
        purchases.extend(accept(&slot, &format!("round {round}"), 1000).await);
        let mut by_worker = Vec::new();
        for port in ports {
            by_worker.push((consumed(port, "qualification").await, consumed(port, "results").await));
        }
        if by_worker.iter().all(|(qualified, counted)| *qualified > 500 && *counted > 500) {
            break;
        }
        assert!(round < 60, "one of them does all the work: {by_worker:?}");
    }
    eventually("everything is processed", async || slot.lag().await == 0).await;
    assert_eq!(slot.totals(campaign).await, slot.expected_totals(&purchases).await);
    eventually("each event was processed by one of them", async || {
        let mut counts = [0, 0];
        for port in ports {
            counts[0] += consumed(port, "qualification").await;
            counts[1] += consumed(port, "results").await;
        }
        counts == [purchases.len() as u64; 2]
    })
    .await;
}

/// Holds the results stage of the next worker in the middle of a batch: it waits for the totals' lock.
async fn hold_results(slot: &Slot, connection: &mut PgConnection) {
    sqlx::raw_sql("BEGIN; LOCK TABLE campaign_totals IN SHARE MODE").execute(&mut *connection).await.unwrap();
    eventually("a worker waits in the middle of a batch", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
             WHERE NOT granted AND relation = 'campaign_totals'::regclass AND datname = current_database()",
        )
        .fetch_one(&mut slot.test.connect().await.unwrap())
        .await
        .unwrap();
        waiting > 0
    })
    .await;
}

/// `lost` gives back what is left of the process.
async fn is_taken_over(lost: impl FnOnce(Process) -> Option<Process>, within: Duration) {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -600.0, 600.0).await;
    let purchases = accept(&slot, "one", 200).await;
    let mut connection = slot.test.connect().await.unwrap();
    let first = slot.worker();
    hold_results(&slot, &mut connection).await;
    let _left = lost(first);
    let since = Instant::now();
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    let _second = slot.worker();
    eventually("everything is processed", async || slot.lag().await == 0).await;
    assert!(since.elapsed() < within, "after {:?}", since.elapsed());
    assert_eq!(slot.totals(campaign).await, slot.expected_totals(&purchases).await);
}

#[tokio::test]
async fn what_a_killed_worker_held_is_taken_over_within_five_seconds() {
    let killed = |worker: Process| {
        worker.kill().unwrap();
        None
    };
    is_taken_over(killed, TAKEN_OVER_FROM_A_DEAD_ONE).await;
}

#[tokio::test]
async fn what_a_worker_that_hangs_held_is_taken_over_in_seconds() {
    let stopped = |worker: Process| {
        worker.signal("STOP").unwrap();
        Some(worker)
    };
    is_taken_over(stopped, TAKEN_OVER_FROM_A_HANGING_ONE).await;
}
