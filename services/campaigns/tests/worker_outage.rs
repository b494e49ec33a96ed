//! PostgreSQL restarted, orderly and as by a crash, while purchases are reported: nothing acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use campaigns::domain::Purchase;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer, StopMode};
use tenantry_kit::time::UtcDateTime;

use crate::fixture::{Slot, eventually, purchase, report};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_postgresql_restarts_under_load() {
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..Default::default() }).await.unwrap();
    let slot = Slot::on(&server).await;
    let campaign = slot.campaign(10, -60.0, 600.0).await;
    let api = slot.api().await;
    let _worker = slot.worker();
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut reporters = tokio::task::JoinSet::new();
    for reporter in 0..4_i64 {
        let (stop, acknowledged, port) = (Arc::clone(&stop), Arc::clone(&acknowledged), api.port);
        reporters.spawn(async move {
            let client = reqwest::Client::new();
            let mut purchases: Vec<Purchase> = Vec::new();
            for number in 0_i64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let mut purchase = purchase(format!("{reporter}-{number}"), 1 + number % 30, 10, 1 + number % 997);
                purchase.timestamp = UtcDateTime::now();
                // What is not acknowledged may or may not have been accepted: it is reported until it is.
                while !report(&client, port, &purchase).await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                purchases.push(purchase);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            purchases
        });
    }
    for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Fast] {
        let before = acknowledged.load(Ordering::Relaxed);
        eventually("purchases are acknowledged", async || acknowledged.load(Ordering::Relaxed) > before + 100).await;
        server.restart(mode).await.unwrap();
    }
    let before = acknowledged.load(Ordering::Relaxed);
    eventually("purchases are acknowledged again", async || acknowledged.load(Ordering::Relaxed) > before + 100).await;
    stop.store(true, Ordering::Relaxed);
    let purchases: Vec<Purchase> = reporters.join_all().await.into_iter().flatten().collect();
    eventually("everything is processed", async || slot.lag().await == 0).await;
    assert_eq!(slot.totals(campaign).await, slot.expected_totals(&purchases).await);
}
