//! A measurement, not a test: how many purchases a second one worker brings from the stream into the totals.
//! `cargo test -p campaigns --test main -- --ignored --nocapture throughput`

use std::time::Instant;

use tenantry_harness::postgres::{PostgresOptions, PostgresServer};

use crate::fixture::{Slot, eventually};

const PURCHASES: i64 = 100_000;
const USERS: i64 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_one_worker() {
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..Default::default() }).await.unwrap();
    let slot = Slot::on(&server).await;
    let campaign = slot.campaign(10, -600.0, 600.0).await;
    // Straight into the stream: what is measured is the worker, not the API.
    let events: Vec<_> = (0..PURCHASES)
        .map(|number| {
            let user = 1 + (number * 7919) % USERS;
            let payload = serde_json::json!({
                "eventId": number.to_string(),
                "userId": user.to_string(),
                "itemId": "10",
                "amount": { "value": "12.30", "currency": "EUR" },
                "timestamp": tenantry_kit::time::UtcDateTime::now(),
                "arrival": number,
            });
            tenantry_kit::stream::NewEvent::new(user, &payload).unwrap()
        })
        .collect();
    let start = Instant::now();
    for batch in events.chunks(1000) {
        let mut transaction = slot.store.database().begin().await.unwrap();
        tenantry_kit::stream::append(&mut transaction, &slot.store.topics().purchase_events, batch).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let appended = start.elapsed();
    let start = Instant::now();
    let _worker = slot.worker();
    eventually("everything is processed", async || slot.lag().await == 0).await;
    let processed = start.elapsed();
    let total: rust_decimal::Decimal = slot.totals(campaign).await.iter().map(|total| total.total).sum();
    assert_eq!(total, rust_decimal::Decimal::new(1230 * PURCHASES, 2));
    let rate = |elapsed: std::time::Duration| PURCHASES as f64 / elapsed.as_secs_f64();
    println!("appended {:.0}/s in batches of 1000; one worker {:.0} purchases/s", rate(appended), rate(processed));
}
