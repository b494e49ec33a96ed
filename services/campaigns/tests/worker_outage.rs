//! PostgreSQL restarted, orderly and as by a crash, while purchases are reported, converted, parked and released: nothing acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use campaigns::domain::Purchase;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer, StopMode};

use crate::fixture::{Slot, eventually, report};
use crate::rates_model::{Model, days_before, parked, purchase_of, today};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_postgresql_restarts_under_load() {
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..Default::default() }).await.unwrap();
    let slot = Slot::on(&server).await;
    let campaign = slot.campaign(10, -60.0, 600.0).await;
    let (mut model, yesterday) = (Model::default(), days_before(today(&slot).await, 1));
    slot.store.put_rates(&[model.put("USD", yesterday, 11_532)]).await.unwrap();
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
                let (code, amount) = match number % 3 {
                    0 => ("EUR", format!("{}.{:02}", number % 97, 1 + number % 99)),
                    1 => ("USD", format!("{}.{:02}", number % 89, 1 + number % 99)),
                    _ => ("KRW", format!("{}", 1_000 + number % 997)),
                };
                let purchase = purchase_of(format!("{reporter}-{number}"), 1 + number % 30, &amount, code, None);
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
    for (restart, mode) in [StopMode::Fast, StopMode::Immediate, StopMode::Fast].into_iter().enumerate() {
        if restart == 1 {
            // what waits is released while the server crashes
            slot.store.put_rates(&[model.put("KRW", yesterday, 14_871_234)]).await.unwrap();
        }
        let before = acknowledged.load(Ordering::Relaxed);
        eventually("purchases are acknowledged", async || acknowledged.load(Ordering::Relaxed) > before + 100).await;
        server.restart(mode).await.unwrap();
    }
    let before = acknowledged.load(Ordering::Relaxed);
    eventually("purchases are acknowledged again", async || acknowledged.load(Ordering::Relaxed) > before + 100).await;
    stop.store(true, Ordering::Relaxed);
    let purchases: Vec<Purchase> = reporters.join_all().await.into_iter().flatten().collect();
    eventually("everything is processed", async || slot.lag().await == 0 && parked(&slot).await == 0).await;
    assert_eq!(slot.totals(campaign).await, model.totals(&slot, &purchases, "EUR").await);
}
