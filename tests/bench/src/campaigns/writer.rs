//! Who reports purchases beside what is measured: a batch at a time, at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tenantry_kit::time::UtcDateTime;
use tokio::task::JoinHandle;

use super::http::{Connection, post};
use super::layout::mixed;
use super::slot::purchase;

pub const BATCH: u64 = 100;
const NDJSON: &str = "application/x-ndjson";

/// What the `number`th purchase of a run is: who buys, and for how many cents.
pub trait Purchases: Fn(u64) -> (u64, u64) + Send + 'static {}
impl<F: Fn(u64) -> (u64, u64) + Send + 'static> Purchases for F {}

/// The request that reports some purchases.
pub fn batch(key: &str, run: &str, numbers: std::ops::Range<u64>, purchases: &impl Fn(u64) -> (u64, u64)) -> String {
    let now = UtcDateTime::now();
    let mut lines = String::with_capacity(200 * (numbers.end - numbers.start) as usize);
    for number in numbers {
        let (user, cents) = purchases(number);
        // Ids of shops come in no order.
        let event = format!("{run}-{:016x}-{number}", mixed(number));
        lines.push_str(&purchase(&event, user, cents, now).to_string());
        lines.push('\n');
    }
    post("/purchases", key, NDJSON, &lines)
}

/// A writer at work.
pub struct Writer {
    over: Arc<AtomicBool>,
    running: JoinHandle<Result<u64>>,
    started: Instant,
}

impl Writer {
    /// Begins to report to the API on `port`, so many a second. `begins` is told of each batch when it is sent.
    pub fn start(
        port: u16,
        key: &str,
        run: String,
        rate: u64,
        purchases: impl Purchases,
        mut begins: impl FnMut(Instant) + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, key) = (Arc::clone(&over), key.to_owned());
        let running = tokio::spawn(async move {
            let mut connection = Connection::open(port).await?;
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(BATCH as f64 / rate as f64));
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                ticks.tick().await;
                let request = batch(&key, &run, number..number + BATCH, &purchases);
                begins(Instant::now());
                connection.json(&request, 202).await?;
                number += BATCH;
            }
            Ok(number)
        });
        Self { over, running, started: Instant::now() }
    }

    /// Ends it; how many purchases a second were accepted.
    pub async fn stop(self) -> Result<f64> {
        self.over.store(true, Ordering::Relaxed);
        let written = self.running.await??;
        Ok(written as f64 / self.started.elapsed().as_secs_f64())
    }
}
