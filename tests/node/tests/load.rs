//! Requests at a steady rate, and an exact account of what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tenantry_harness::node::eventually;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::api::{Api, purchase};

/// What became of the requests.
#[derive(Default)]
pub struct Account {
    pub requests: AtomicU64,
    pub acknowledged_cents: AtomicI64,
    pub failures: Mutex<Vec<String>>,
}

/// What a client does when a request fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Notes it.
    Note,
    /// Sends the same purchase again until it is acknowledged.
    Repeat,
}

/// A load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    account: Arc<Account>,
    clients: JoinSet<()>,
    begun: Instant,
}

/// The user for whom all purchases of a load are.
pub const USER: i64 = 7;

impl Load {
    /// Starts `clients` clients, each with a GET and a POST every `interval`; every other client opens a new connection for
    /// each request. Purchases of one cent, for [`USER`].
    pub fn start(api: &Api, campaign: i64, item: i64, clients: u32, interval: Duration, on_failure: OnFailure) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let account = Arc::new(Account::default());
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let api = api.with_connections(client % 2 == 0)?;
            let (stop, account) = (Arc::clone(&stop), Arc::clone(&account));
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(interval);
                let mut sequence = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    sequence += 1;
                    let event = format!("load-{campaign}-{client}-{sequence}");
                    read(&api, campaign, &account, on_failure).await;
                    write(&api, &event, item, &account, on_failure).await;
                }
            });
        }
        Ok(Self { stop, account, clients: tasks, begun: Instant::now() })
    }

    /// Requests answered so far.
    pub fn requests(&self) -> u64 {
        self.account.requests.load(Ordering::Relaxed)
    }

    /// Sees that the load goes on and stops it. Fails if a request failed, if there were fewer than 50 a second, or if not every
    /// purchase that was acknowledged counts in the campaign.
    pub async fn end_without_failure(self, api: &Api, campaign: i64, what_happened: &str) -> Result<()> {
        let after = self.requests();
        eventually("the load goes on", Duration::from_secs(30), || async { Ok((self.requests() > after + 100).then_some(())) }).await?;
        let (rate, account) = self.stop().await?;
        ensure_no_failure(&account).await?;
        println!("{} requests at {rate:.0} a second while {what_happened}, none failed", account.requests.load(Ordering::Relaxed));
        ensure!(rate >= 50.0, "the load was only {rate:.1} requests a second");
        api.wait_for_total(campaign, USER, account.acknowledged_cents.load(Ordering::Relaxed)).await
    }

    /// Stops the clients after their present request. Gives the requests per second and the account.
    pub async fn stop(mut self) -> Result<(f64, Arc<Account>)> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.account.requests.load(Ordering::Relaxed) as f64 / self.begun.elapsed().as_secs_f64();
        Ok((rate, self.account))
    }
}

async fn read(api: &Api, campaign: i64, account: &Account, on_failure: OnFailure) {
    let result = match api.get(&format!("/records/top/10/{campaign}")).await {
        Ok(answer) if answer.status().is_success() => answer.bytes().await.map(|_| ()).map_err(|error| format!("{error:?}")),
        Ok(answer) => Err(format!("GET answered {}", answer.status())),
        Err(error) => Err(format!("GET: {error:?}")),
    };
    account.requests.fetch_add(1, Ordering::Relaxed);
    if let (Err(failure), OnFailure::Note) = (result, on_failure) {
        account.failures.lock().await.push(failure);
    }
}

async fn write(api: &Api, event: &str, item: i64, account: &Account, on_failure: OnFailure) {
    let body = purchase(event, USER, item, 1);
    loop {
        let failure = match api.post("/purchases", &body).await {
            Ok(answer) if answer.status().is_success() => {
                account.requests.fetch_add(1, Ordering::Relaxed);
                account.acknowledged_cents.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(answer) => format!("POST answered {}", answer.status()),
            Err(error) => format!("POST: {error:?}"),
        };
        account.requests.fetch_add(1, Ordering::Relaxed);
        account.failures.lock().await.push(failure);
        if on_failure == OnFailure::Note {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await; // the pace of a client that repeats, not a wait of the test
    }
}

/// Fails with the first of the failures.
pub async fn ensure_no_failure(account: &Account) -> Result<()> {
    let failures = account.failures.lock().await;
    ensure!(
        failures.is_empty(),
        "{} of {} requests failed, the first: {}",
        failures.len(),
        account.requests.load(Ordering::Relaxed),
        failures[0]
    );
    Ok(())
}
