//! A measurement, not a test: a campaign with a million users in memory, while its totals change a thousand times a second.
//! `cargo test --release -p campaigns --test main -- --ignored --nocapture live_speed`

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use campaigns::domain::{CampaignId, UserId};
use campaigns::live::{LiveError, LiveStandings};
use campaigns::store::MARK_INTERVAL;
use campaigns::store::events::QualifiedPurchaseEvent;
use tenantry_harness::postgres::{PostgresOptions, PostgresServer};
use tenantry_kit::stream::{NewEvent, append};
use tenantry_kit::time::UtcDateTime;

use crate::fixture::{Slot, euros};

const USERS: i64 = 1_000_000;
const ASKING: Duration = Duration::from_secs(20);
/// Changes: so many every ten milliseconds.
const CHANGES: i64 = 10;

/// Bytes of memory that this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// How many times took how long, in steps of ten nanoseconds up to a millisecond. It has its memory before anything is measured.
struct Times(Vec<u32>);

impl Times {
    const STEP: u128 = 10;

    fn new() -> Self {
        Self(vec![1; 100_000].into_iter().map(|one: u32| one - 1).collect())
    }

    fn add(&mut self, time: Duration) {
        let step = usize::try_from(time.as_nanos() / Self::STEP).unwrap_or(usize::MAX);
        let last = self.0.len() - 1;
        self.0[step.min(last)] += 1;
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    fn percentiles(&self) -> String {
        let at = |part: f64| {
            let (wanted, mut seen) = ((self.count() as f64 * part) as u64, 0);
            let step = self.0.iter().position(|count| {
                seen += u64::from(*count);
                seen > wanted
            });
            Duration::from_nanos(step.unwrap_or(0) as u64 * Self::STEP as u64)
        };
        format!("p50 {:?}, p99 {:?}, p99.9 {:?}", at(0.5), at(0.99), at(0.999))
    }
}

async fn fill(slot: &Slot, campaign: CampaignId) {
    let mut connection = slot.test.connect().await.unwrap();
    sqlx::query(
        "INSERT INTO campaign_totals (campaign_id, user_id, total, reached_at, arrival)
         SELECT $1, number, ((number * 7919 % 100000 + 1) / 100.0)::numeric(20, 2), now() - number * interval '1 millisecond', number
         FROM generate_series(1, $2) AS number",
    )
    .bind(campaign.get())
    .bind(USERS)
    .execute(&mut connection)
    .await
    .unwrap();
    sqlx::raw_sql("ANALYZE campaign_totals").execute(&mut connection).await.unwrap();
}

/// Appends qualified purchases until it is over; how many a second.
async fn write(slot: Arc<Slot>, campaign: CampaignId, over: Arc<AtomicBool>) -> f64 {
    let (started, mut number) = (Instant::now(), 0_i64);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let event = |number: i64| {
            let user_id = UserId::new(1 + number * 7919 % USERS).unwrap();
            let timestamp = UtcDateTime::now();
            let arrival = USERS + number;
            let purchase =
                QualifiedPurchaseEvent { event_id: None, user_id, campaign_id: campaign, amount: euros(123), timestamp, arrival };
            NewEvent::new(user_id.get(), &purchase).unwrap()
        };
        let events: Vec<NewEvent> = (number..number + CHANGES).map(event).collect();
        number += CHANGES;
        let mut transaction = slot.store.database().begin().await.unwrap();
        append(&mut transaction, &slot.store.topics().qualified_purchase_events, &events).await.unwrap();
        transaction.commit().await.unwrap();
    }
    number as f64 / started.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn live_speed() {
    let server = PostgresServer::start_with(PostgresOptions { durable: true, ..Default::default() }).await.unwrap();
    let slot = Arc::new(Slot::on(&server).await);
    let campaign = slot.campaign(10, -600.0, 3600.0).await;
    fill(&slot, campaign).await;

    let (standings, _running) = slot.standings();
    let (mut positions, mut tops) = (Times::new(), Times::new());
    let (before, started) = (resident(), Instant::now());
    let held = loop {
        match standings.of(campaign, None).await {
            Ok(held) => break held,
            Err(error) => assert_eq!(error, LiveError::BeingRead(campaign)),
        }
    };
    println!("rebuild of {USERS} users: {:.2} s", started.elapsed().as_secs_f64());
    assert_eq!(held.standings.len() as i64, USERS);
    println!("memory as the process has it: {} MB", (resident() - before) / 1_000_000);
    drop(held);

    let worker = slot.worker();
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(Arc::clone(&slot), campaign, Arc::clone(&over)));
    let first_version = standings.of(campaign, None).await.unwrap().version;
    let asking = tokio::spawn({
        let standings = standings.clone();
        async move {
            let started = Instant::now();
            for number in 0.. {
                let user = UserId::new(1 + number * 104_729 % USERS).unwrap();
                let asked = Instant::now();
                let held = standings.of(campaign, None).await.unwrap();
                black_box(held.standings.of(user));
                drop(held);
                positions.add(asked.elapsed());
                let asked = Instant::now();
                let held = standings.of(campaign, None).await.unwrap();
                black_box(held.standings.first(100));
                drop(held);
                tops.add(asked.elapsed());
                tokio::task::yield_now().await;
                if started.elapsed() > ASKING {
                    break;
                }
            }
            (positions, tops)
        }
    });
    let (positions, tops) = asking.await.unwrap();
    over.store(true, Ordering::Relaxed);
    let rate = writer.await.unwrap();
    crate::fixture::eventually("all changes are applied", async || slot.lag().await == 0).await;
    drop(worker);
    let last_version = standings.of(campaign, None).await.unwrap().version;
    println!("beside {rate:.0} changes a second, which made {} versions, {} questions:", last_version - first_version, positions.count());
    println!("position: {}", positions.percentiles());
    println!("top100:   {}", tops.percentiles());
    println!("memory after the changes: {} MB", (resident() - before) / 1_000_000);
    settled(&slot, &standings, campaign).await;
}

/// How long a position takes that is answered from the database, after the campaign has left memory.
async fn settled(slot: &Slot, standings: &LiveStandings, campaign: CampaignId) {
    let held = standings.of(campaign, Some(slot.store.results_version(campaign).await.unwrap().unwrap())).await.unwrap();
    let started = Instant::now();
    let marks = held.standings.marks(MARK_INTERVAL);
    assert!(slot.store.settle(campaign, held.version, held.standings.len(), &marks).await.unwrap());
    println!("settling: {:?}", started.elapsed());
    let mut times = Vec::new();
    for number in 0..500 {
        let user = UserId::new(1 + number * 104_729 % USERS).unwrap();
        let asked = Instant::now();
        let (_, standing) = slot.store.settled_standing(campaign, user).await.unwrap().unwrap();
        times.push(asked.elapsed());
        assert_eq!(standing, held.standings.of(user));
    }
    times.sort();
    println!("position, settled: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}
