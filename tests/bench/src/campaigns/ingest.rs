//! `ingest` and `single`, and the shop of `scaling`: purchases from a shop's request until the API answers with them in the ranking. PostgreSQL, API,
//! workers and shop share the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use campaigns::domain::CampaignId;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tenantry_harness::process::Process;
use tokio::task::JoinSet;

use super::http::{self, Connection, post};
use super::ingest_probes::Probes;
use super::layout::mixed;
use super::load::{self, Questions};
use super::options::{Options, Part};
use super::slot::{Api, Slot, purchase};
use super::writer::batch;
use super::{at_least, below, judge, scaling};
use crate::cpu_share::CpuShare;
use crate::process::cpu_seconds;
use crate::report::Report;

/// How many purchases may be sent and not visible: the shop waits beyond. So what is measured is what becomes visible, and the backlog cannot grow.
const WINDOW: u64 = 20_000;
/// Connections of the shop, each with one batch under way.
const SENDING: usize = 4;
/// Not measured: until caches and plans are there.
const WARMUP: Duration = Duration::from_secs(3);
const DRAINED: Duration = Duration::from_secs(60);
const RATE: f64 = 10_000.0;
const VISIBLE_SECONDS: f64 = 0.5;
const SINGLES: f64 = 3000.0;
/// Of every purchase but the probes'.
const CENTS: u64 = 1234;

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let slot = Slot::start(report).await?;
    if options.wants(&[Part::Ingest]) {
        let (mut slowest, mut latest) = (f64::INFINITY, 0.0_f64);
        for workers in &options.workers {
            for size in &options.batch {
                let shop = Shop::open(&slot, *workers, *size, options.buyers).await?;
                let name = format!("ingest, {workers} worker{}, batches of {size}", if *workers == 1 { "" } else { "s" });
                report.note(&format!("{name}: as fast as purchases become visible"));
                let rate = shop.sustain(Duration::from_secs(options.ingest_seconds), &name, report).await?;
                report.note(&format!("{name}: at {} a second", options.half_rate));
                let p99 = shop.at_rate(options.half_rate, Duration::from_secs(options.half_rate_seconds), &name, report).await?;
                shop.close().await?;
                // A figure that is missing must not hide behind the others.
                slowest = if rate.is_nan() { f64::NAN } else { slowest.min(rate) };
                latest = if p99.is_nan() { f64::NAN } else { latest.max(p99) };
            }
        }
        judge(report, "ingest", options.is_goals_ingest(), &[at_least(slowest, RATE)]);
        judge(report, "ingest-visible", options.is_goals_ingest(), &[below(latest, VISIBLE_SECONDS)]);
    }
    if options.wants(&[Part::Scaling]) {
        scaling::run(&slot, options, report).await?;
    }
    if options.wants(&[Part::Single]) {
        single(&slot, options, report).await?;
    }
    Ok(())
}

/// A campaign of its own, with what takes purchases in and counts them.
pub(super) struct Shop<'a> {
    slot: &'a Slot,
    campaign: CampaignId,
    api: Api,
    workers: Vec<Process>,
    /// What they are held to.
    shares: Vec<CpuShare>,
    key: String,
    size: u64,
    buyers: u64,
    probes: Probes,
    /// Batches that were sent.
    batches: AtomicU64,
}

impl<'a> Shop<'a> {
    pub(super) async fn open(slot: &'a Slot, workers: usize, size: u64, buyers: u64) -> Result<Self> {
        // Those of before are over.
        sqlx::query("UPDATE campaigns SET ends_at = greatest(starts_at + interval '1 second', now() - interval '1 day'), starts_at = starts_at - interval '2 days'")
            .execute(&mut slot.session().await?)
            .await?;
        let campaign = slot.campaign().await?;
        slot.settle().await?;
        let api = slot.api().await?;
        let key = slot.key(&api, &["purchases:write", "records:read:all"]).await?;
        let workers = (0..workers).map(|_| slot.worker()).collect::<Result<_>>()?;
        let partitions: i32 = sqlx::query_scalar("SELECT partitions FROM stream_topics WHERE name = 'purchase_events'")
            .fetch_one(&mut slot.session().await?)
            .await?;
        let probes = Probes::new(buyers + 1, u32::try_from(partitions)?);
        Ok(Self { slot, campaign, api, workers, shares: Vec::new(), key, size, buyers, probes, batches: AtomicU64::new(0) })
    }

    /// Lets each worker have so many hundredths of a core.
    pub(super) fn hold_workers(&mut self, percent: u32) -> Result<()> {
        self.shares = self.workers.iter().map(|worker| CpuShare::hold(worker.id(), percent)).collect::<Result<_>>()?;
        Ok(())
    }

    /// The request with the `number`th batch: the first purchase in it is the probe's.
    fn request(&self, number: u64) -> String {
        let (probe, size, buyers) = (self.probes.user(number), self.size, self.buyers);
        let run = format!("shop-{}", self.campaign);
        batch(&self.key, &run, number * size..(number + 1) * size, &|number| match number % size {
            0 => (probe, 1),
            _ => (1 + mixed(number) % buyers, CENTS),
        })
    }

    /// Sends as fast as purchases become visible; how many a second did.
    pub(super) async fn sustain(&self, duration: Duration, name: &str, report: &mut Report) -> Result<f64> {
        let mut watch = self.probes.watch(self.api.port, &self.key, self.campaign);
        let window = (WINDOW / self.size).max(2);
        let end = Instant::now() + WARMUP + duration;
        let sending = async {
            let senders = (0..SENDING).map(|_| async {
                let mut connection = Connection::open(self.api.port).await?;
                while Instant::now() < end {
                    if self.batches.load(Ordering::Relaxed) >= self.probes.visible() + window {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let number = self.batches.fetch_add(1, Ordering::Relaxed);
                    let request = self.request(number);
                    self.probes.sent(number, Instant::now());
                    connection.json(&request, 202).await?;
                }
                Ok::<_, anyhow::Error>(())
            });
            futures::future::try_join_all(senders).await
        };
        let measuring = async {
            tokio::time::sleep(WARMUP).await;
            watch.check().await?;
            let used = self.used()?;
            let (before, started) = (self.probes.visible(), Instant::now());
            tokio::time::sleep(duration).await;
            let rate = (self.probes.visible() - before) as f64 * self.size as f64 / started.elapsed().as_secs_f64();
            self.show_shares(&used, started.elapsed(), report)?;
            watch.check().await?;
            Ok::<_, anyhow::Error>(rate)
        };
        let (sent, rate) = tokio::join!(sending, measuring);
        sent?;
        let rate = rate?;
        self.drain().await?;
        self.probes.take_times();
        report.figure(&format!("{name}: visible"), rate, "/s");
        Ok(rate)
    }

    /// Sends at a steady rate, whatever comes of it; the 99th percentile of the time from when a batch was due until it was visible.
    async fn at_rate(&self, rate: u64, duration: Duration, name: &str, report: &mut Report) -> Result<f64> {
        let mut watch = self.probes.watch(self.api.port, &self.key, self.campaign);
        let interval = Duration::from_secs_f64(self.size as f64 / rate as f64);
        let (due, mut posts) = async_channel(SENDING * 16);
        let ticking = async {
            let started = Instant::now();
            let mut ticks = 0_u32;
            while started.elapsed() < duration {
                let at = started + interval * ticks;
                tokio::time::sleep_until(at.into()).await;
                let number = self.batches.fetch_add(1, Ordering::Relaxed);
                self.probes.sent(number, at);
                ensure!(due.try_send(number).is_ok(), "the API does not take {rate} purchases a second");
                ticks += 1;
            }
            drop(due);
            Ok::<_, anyhow::Error>(f64::from(ticks) * self.size as f64 / started.elapsed().as_secs_f64())
        };
        let sending = async {
            let mut connections = Vec::new();
            for _ in 0..SENDING {
                connections.push(Connection::open(self.api.port).await?);
            }
            let mut tasks: JoinSet<Result<Connection>> = JoinSet::new();
            while let Some(number) = posts.recv().await {
                let mut connection = match connections.pop() {
                    Some(connection) => connection,
                    None => tasks.join_next().await.transpose()?.transpose()?.ok_or_else(|| anyhow::anyhow!("no connection"))?,
                };
                let request = self.request(number);
                tasks.spawn(async move {
                    connection.json(&request, 202).await?;
                    Ok(connection)
                });
            }
            while let Some(task) = tasks.join_next().await {
                task??;
            }
            Ok::<_, anyhow::Error>(())
        };
        let (used, started) = (self.used()?, Instant::now());
        let (offered, sent) = tokio::join!(ticking, sending);
        sent?;
        let offered = offered?;
        self.show_shares(&used, started.elapsed(), report)?;
        self.drain().await?;
        watch.check().await?;
        let times = self.probes.take_times();
        report.figure(&format!("{name}: offered"), offered, "/s");
        report.figure(&format!("{name}: visible after, p50"), times.percentile(0.5) * 1e3, "ms");
        report.figure(&format!("{name}: visible after, p99"), times.percentile(0.99) * 1e3, "ms");
        Ok(if at_least(offered, 0.98 * rate as f64) == Some(true) { times.percentile(0.99) } else { f64::NAN })
    }

    /// Waits until everything that was sent is visible.
    async fn drain(&self) -> Result<()> {
        let started = Instant::now();
        let sent = self.batches.load(Ordering::Relaxed);
        while self.probes.visible() < sent {
            ensure!(started.elapsed() < DRAINED, "{} of {sent} batches are visible after {DRAINED:?}", self.probes.visible());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// CPU seconds of the API, of the workers, and of this process.
    fn used(&self) -> Result<[f64; 3]> {
        let workers = self.workers.iter().map(|worker| cpu_seconds(worker.id())).sum::<Result<f64>>()?;
        Ok([cpu_seconds(self.api.process.id())?, workers, cpu_seconds(std::process::id())?])
    }

    fn show_shares(&self, before: &[f64; 3], elapsed: Duration, report: &Report) -> Result<()> {
        let share = |(after, before): (f64, &f64)| format!("{:.0} %", 100.0 * (after - before) / elapsed.as_secs_f64());
        let shares: Vec<String> = self.used()?.into_iter().zip(before).map(share).collect();
        report.note(&format!("  of a core: API {}, workers {}, shop {}", shares[0], shares[1], shares[2]));
        Ok(())
    }

    /// Every purchase counts, to the cent.
    pub(super) async fn close(self) -> Result<()> {
        self.slot.counted().await?;
        let batches = self.batches.load(Ordering::Relaxed);
        check_totals(self.slot, self.campaign, batches * (1 + (self.size - 1) * CENTS)).await
    }
}

async fn check_totals(slot: &Slot, campaign: CampaignId, cents: u64) -> Result<()> {
    let total: Option<Decimal> = sqlx::query_scalar("SELECT sum(total) FROM campaign_totals WHERE campaign_id = $1")
        .bind(campaign.get())
        .fetch_one(&mut slot.session().await?)
        .await?;
    let counted = total.and_then(|total| (total * Decimal::ONE_HUNDRED).to_u64());
    ensure!(counted == Some(cents), "{counted:?} cents were counted of {cents}");
    Ok(())
}

fn async_channel(capacity: usize) -> (tokio::sync::mpsc::Sender<u64>, tokio::sync::mpsc::Receiver<u64>) {
    tokio::sync::mpsc::channel(capacity)
}

/// Purchases one by one, over many connections, until all of them are counted.
async fn single(slot: &Slot, options: &Options, report: &mut Report) -> Result<()> {
    report.note("single purchases");
    let shop = Shop::open(slot, 1, 100, options.buyers).await?;
    let next = Arc::new(AtomicU64::new(0));
    let duration = Duration::from_secs(options.single_seconds);
    let (used, started) = (shop.used()?, Instant::now());
    let ask =
        |_| Singles { key: shop.key.clone(), run: format!("single-{}", shop.campaign), buyers: options.buyers, next: Arc::clone(&next) };
    let load = load::run(([127, 0, 0, 1], shop.api.port).into(), options.single_connections, duration, ask).await?;
    let accepted = started.elapsed();
    shop.show_shares(&used, accepted, report)?;
    let backlog = slot.backlog(&mut slot.session().await?).await?;
    slot.counted().await?;
    let counted = load.times.count() as f64 / started.elapsed().as_secs_f64();
    check_totals(slot, shop.campaign, load.times.count() * CENTS).await?;
    report.figure("single: accepted", load.rate, "/s");
    report.figure("single: answered after, p50", load.times.percentile(0.5) * 1e3, "ms");
    report.figure("single: answered after, p99", load.times.percentile(0.99) * 1e3, "ms");
    report.figure("single: events that waited for a worker at the end", backlog, "");
    report.figure("single: counted, until the last was", counted, "/s");
    judge(report, "single", options.is_goals_ingest(), &[at_least(counted, SINGLES)]);
    Ok(())
}

/// One purchase after the other.
struct Singles {
    key: String,
    run: String,
    buyers: u64,
    next: Arc<AtomicU64>,
}

impl Questions for Singles {
    fn ask(&mut self, request: &mut Vec<u8>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let event = format!("{}-{:016x}-{number}", self.run, mixed(number));
        let purchase = purchase(&event, 1 + mixed(number) % self.buyers, CENTS, tenantry_kit::time::UtcDateTime::now());
        request.extend_from_slice(post("/purchases", &self.key, "application/json", &purchase.to_string()).as_bytes());
    }

    fn answers(&self, received: &[u8]) -> Result<bool> {
        let Some(whole) = http::whole(received)? else { return Ok(false) };
        ensure!(whole.status == 202, "{}: {}", whole.status, String::from_utf8_lossy(&received[whole.body..whole.end]));
        Ok(true)
    }
}
