//! Real processes, killed (SIGKILL) again and again while every purchase is reported twice, in several currencies, of which one has a rate only
//! half way through: the totals are exact, to the cent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use campaigns::domain::Purchase;
use tenantry_harness::janitor::free_port;

use crate::fixture::{Slot, eventually, order, report};
use crate::rates_model::{Model, days_before, parked, purchase_of, today};

const PURCHASES: i64 = 1500;
const REPORTERS: usize = 4;
const KILLS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_are_exact_when_every_purchase_is_sent_twice_and_processes_are_killed() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 600.0).await;
    let (mut model, yesterday) = (Model::default(), days_before(today(&slot).await, 1));
    slot.store.put_rates(&[model.put("USD", yesterday, 11_532), model.put("JPY", yesterday, 1_678_612)]).await.unwrap();
    let port = free_port().unwrap();
    let mut api = slot.api_on(port);
    let mut workers = [slot.worker(), slot.worker()];
    let purchases: Arc<Vec<Purchase>> =
        Arc::new((0..PURCHASES).map(|number| purchase_of(number, 1 + number % 40, &amount(number), currency(number), None)).collect());
    let all_killed = Arc::new(AtomicBool::new(false));

    let mut reporters = tokio::task::JoinSet::new();
    for reporter in 0..REPORTERS {
        let (purchases, all_killed) = (Arc::clone(&purchases), Arc::clone(&all_killed));
        reporters.spawn(async move {
            let client = reqwest::Client::new();
            let own: Vec<&Purchase> = purchases.iter().skip(reporter).step_by(REPORTERS).collect();
            // The first time while processes are killed, as slowly as that takes; the second time as fast as it goes.
            for chunk in [own.clone(), own.clone()] {
                for (index, purchase) in chunk.iter().enumerate() {
                    while !report(&client, port, purchase).await {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    while index == own.len() - 10 && !all_killed.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        });
    }
    for kill in 0..KILLS {
        let before = progress(&slot).await;
        let deadline = Instant::now() + Duration::from_secs(2);
        // Something is in work: kill in the middle of it. (When the reporters have run ahead, nothing more comes.)
        eventually("there is progress", async || progress(&slot).await > before || Instant::now() > deadline).await;
        if kill == KILLS / 2 {
            slot.store.put_rates(&[model.put("KRW", yesterday, 14_871_234)]).await.unwrap();
        }
        if kill % 3 == 0 {
            std::mem::replace(&mut api, slot.api_on(free_port().unwrap())).kill().unwrap();
            std::mem::replace(&mut api, slot.api_on(port)).kill().unwrap();
        } else {
            let worker = &mut workers[kill % 2];
            std::mem::replace(worker, slot.worker()).kill().unwrap();
        }
    }
    all_killed.store(true, Ordering::Relaxed);
    while let Some(reporter) = reporters.join_next().await {
        reporter.unwrap();
    }
    eventually("everything is processed", async || slot.lag().await == 0 && parked(&slot).await == 0).await;

    let totals = slot.totals(campaign).await;
    let expected = model.totals(&slot, &purchases, "EUR").await;
    assert_eq!(totals, expected);
    assert_eq!(order(&totals), order(&expected));
    assert_eq!(slot.events("purchase_events").await.len() as i64, PURCHASES);
    assert_eq!(slot.events("qualified_purchase_events").await.len() as i64, PURCHASES);
}

fn currency(number: i64) -> &'static str {
    ["EUR", "USD", "JPY", "KRW"][number as usize % 4]
}

fn amount(number: i64) -> String {
    match currency(number) {
        "JPY" | "KRW" => format!("{}", 1_000 + number * 13 % 999),
        _ => format!("{}.{:02}", 1 + number * 13 % 99, number % 100),
    }
}

/// A number that grows as purchases are processed.
async fn progress(slot: &Slot) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(position), 0)::bigint FROM stream_positions")
        .fetch_one(&mut slot.test.connect().await.unwrap())
        .await
        .unwrap()
}
