//! A measurement, not a test: how many purchases one API process makes durable, alone and in batches, with PostgreSQL and the generator beside.
//! `cargo test -p campaigns --test main -- --ignored --nocapture intake`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer};

use crate::api_client::purchase;
use crate::fixture::{Slot, TOKEN};

const DURATION: Duration = Duration::from_secs(10);

/// A purchase of one of many users.
fn numbered(number: u64) -> Value {
    let mut purchase = purchase(&format!("order-{number}"));
    purchase["userId"] = (1 + number * 7919 % 100_000).to_string().into();
    purchase
}

/// The processor time that a process has used, in seconds; the kernel counts in hundredths.
fn processor_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// Sends bodies over so many connections; purchases per second, and the median and 99th percentile of an answer's time.
async fn load(port: u16, clients: usize, batch: u64, next: Arc<AtomicU64>) -> (f64, Duration, Duration) {
    let (start, mut tasks) = (Instant::now(), tokio::task::JoinSet::new());
    for _ in 0..clients {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            let client = reqwest::Client::new();
            let mut times = Vec::new();
            while start.elapsed() < DURATION {
                let first = next.fetch_add(batch, Ordering::Relaxed);
                let request = client.post(format!("http://127.0.0.1:{port}/purchases")).bearer_auth(TOKEN);
                let request = if batch == 1 {
                    request.json(&numbered(first))
                } else {
                    let lines: String = (first..first + batch).map(|number| format!("{}\n", numbered(number))).collect();
                    request.header("content-type", "application/x-ndjson").body(lines)
                };
                let sent = Instant::now();
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                assert_eq!(status, 202, "{}", answer.text().await.unwrap());
                answer.bytes().await.unwrap();
                times.push(sent.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let rate = times.len() as f64 * batch as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    (rate, times[times.len() / 2], times[times.len() * 99 / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_the_intake() {
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..Default::default() }).await.unwrap();
    let slot = Slot::on(&server).await;
    let api = slot.api().await;
    let next = Arc::new(AtomicU64::new(0));
    for (clients, batch) in [(1, 1), (16, 1), (64, 1), (128, 1), (4, 100), (8, 100), (4, 1000), (2, 10_000)] {
        let used = || (processor_seconds(api.process.id()), processor_seconds(std::process::id()));
        let (api_before, generator_before) = used();
        let (rate, median, slow) = load(api.port, clients, batch, Arc::clone(&next)).await;
        let (api_after, generator_after) = used();
        let share = |seconds: f64| 100.0 * seconds / DURATION.as_secs_f64();
        let (purchases, transactions): (i64, i64) = sqlx::query_as("SELECT count(*), count(DISTINCT xmin::text) FROM purchases")
            .fetch_one(&mut slot.test.connect().await.unwrap())
            .await
            .unwrap();
        assert_eq!(purchases as u64, next.load(Ordering::Relaxed), "each is durable");
        println!(
            "{clients:>3} clients, {batch:>5} at once: {rate:>7.0} purchases/s, p50 {:.1} ms, p99 {:.1} ms; of a core: API {:.0} %, \
             generator {:.0} %; {transactions} transactions so far",
            median.as_secs_f64() * 1e3,
            slow.as_secs_f64() * 1e3,
            share(api_after - api_before),
            share(generator_after - generator_before)
        );
    }
}
