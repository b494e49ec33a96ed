//! PostgreSQL restarted, orderly and as by a crash, while purchases are reported, converted, parked and released, and gone for a minute: nothing
//! acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use campaigns::domain::Purchase;
use serde_json::json;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer, StopMode};
use tenantry_harness::process::Process;

use crate::api_client::Client;
use crate::fixture::{Slot, TOKEN, eventually, is_ready, report};
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

/// How long PostgreSQL is gone.
const GONE: Duration = Duration::from_secs(60);
/// The longest that a post may take meanwhile: a caller waits two seconds for a connection, and gathered posts for those before them.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How much a process may grow meanwhile.
const GROWTH_KIB: u64 = 64 * 1024;
const REPORTERS: i64 = 16;

/// What came of the posts.
#[derive(Default)]
struct Posts {
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
    slowest_ms: AtomicUsize,
    stop: AtomicBool,
}

impl Posts {
    /// Reports purchases, by ones and by tens in turn, each until it is acknowledged; those that were.
    async fn report(self: Arc<Self>, reporter: i64, port: u16) -> Vec<Purchase> {
        let client = reqwest::Client::new();
        let mut all = Vec::new();
        for round in 0_i64.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let count = if round % 2 == 0 { 1 } else { 10 };
            let purchases: Vec<Purchase> = (0..count)
                .map(|number| {
                    purchase_of(
                        format!("{reporter}-{round}-{number}"),
                        1 + (round + number) % 30,
                        &format!("{}.{:02}", 1 + round % 97, number),
                        "EUR",
                        None,
                    )
                })
                .collect();
            let bodies: Vec<_> = purchases.iter().map(body).collect();
            let body = if count == 1 { bodies[0].clone() } else { json!(bodies) };
            while !self.post(&client, port, &body).await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            all.extend(purchases);
        }
        all
    }

    /// Whether it was acknowledged; anything else must be a refusal for now, in time.
    async fn post(&self, client: &reqwest::Client, port: u16, body: &serde_json::Value) -> bool {
        let begun = Instant::now();
        let request = client.post(format!("http://127.0.0.1:{port}/purchases")).bearer_auth(TOKEN).json(body);
        let response = request.timeout(Duration::from_secs(60)).send().await.expect("the process answers, whatever its database does");
        let took = begun.elapsed();
        self.slowest_ms.fetch_max(took.as_millis() as usize, Ordering::Relaxed);
        match response.status().as_u16() {
            202 => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                true
            }
            503 => {
                assert!(response.headers().contains_key("retry-after"), "{:?}", response.headers());
                self.refused.fetch_add(1, Ordering::Relaxed);
                false
            }
            other => panic!("{other}: {}", response.text().await.unwrap_or_default()),
        }
    }
}

fn body(purchase: &Purchase) -> serde_json::Value {
    json!({
        "eventId": purchase.event_id.as_str(),
        "userId": purchase.user_id.to_string(),
        "itemId": purchase.item_id.to_string(),
        "amount": purchase.amount,
        "timestamp": purchase.timestamp,
    })
}

/// The memory of a process, in KiB.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_is_gone_for_a_minute_posts_are_refused_in_time_and_all_comes_back_by_itself() {
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..Default::default() }).await.unwrap();
    let slot = Slot::on(&server).await;
    let campaign = slot.campaign(10, -60.0, 3600.0).await;
    let (api, worker) = (slot.api().await, slot.worker());
    let client = Client::of(&api);
    let posts = Arc::new(Posts::default());
    let mut reporters = tokio::task::JoinSet::new();
    for reporter in 0..REPORTERS {
        reporters.spawn(Arc::clone(&posts).report(reporter, api.port));
    }
    let acknowledged = || posts.acknowledged.load(Ordering::Relaxed);
    eventually("purchases are acknowledged", async || acknowledged() > 300).await;
    let top = format!("/records/top/10/{campaign}");
    eventually("positions are served", async || client.get(&top).await.status == 200).await;

    let before = [resident(&api.process), resident(&worker)];
    server.stop(StopMode::Immediate).await.unwrap();
    let (gone, mut most) = (Instant::now(), before);
    // what was under way is answered first
    posts.slowest_ms.store(0, Ordering::Relaxed);
    while gone.elapsed() < GONE {
        for (most, process) in most.iter_mut().zip([&api.process, &worker]) {
            *most = (*most).max(resident(process));
        }
        assert_eq!(client.get(&top).await.status, 200, "positions are in memory");
        assert!(is_ready(api.port).await, "a database that is gone takes no process out of service");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let refused = posts.refused.load(Ordering::Relaxed);
    let slowest = Duration::from_millis(posts.slowest_ms.load(Ordering::Relaxed) as u64);
    eprintln!("{refused} posts refused, the slowest after {slowest:?}; KiB before {before:?}, at most {most:?}");
    assert!(refused > 100 && slowest < ANSWERED_WITHIN, "{refused} refused, the slowest after {slowest:?}");
    for (before, most) in before.into_iter().zip(most) {
        assert!(most < before + GROWTH_KIB, "a process grew from {before} KiB to {most} KiB");
    }

    server.start_again().await.unwrap();
    let (back, known) = (Instant::now(), acknowledged());
    eventually("purchases are acknowledged again", async || acknowledged() > known + 300).await;
    assert!(back.elapsed() < Duration::from_secs(20), "after {:?}", back.elapsed());
    posts.stop.store(true, Ordering::Relaxed);
    let purchases: Vec<Purchase> = reporters.join_all().await.into_iter().flatten().collect();
    eventually("everything is processed", async || slot.lag().await == 0).await;
    let totals = slot.totals(campaign).await;
    assert_eq!(totals, slot.expected_totals(&purchases).await);
    eventually("positions follow again", async || {
        let version = slot.store.results_version(campaign).await.unwrap().unwrap().to_string();
        client.get(&top).await.body["headers"]["version"] == *version
    })
    .await;
}
