//! `fanout`: many clients of one leaderboard, while purchases arrive that change it: from when a purchase is sent until each client has it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use campaigns::domain::CampaignId;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::http::get;
use super::layout::TOP;
use super::memory::Kept;
use super::options::Options;
use super::slot::Slot;
use super::times::Times;
use super::writer::{BATCH, Writer};
use crate::process::{cpu_seconds, resident_mib};
use crate::report::Report;

/// Of each batch so many purchases change places of the leaderboard, the first being the first place's.
const SHOWN: u64 = 10;
const CONNECTED: Duration = Duration::from_secs(30);

pub async fn run(slot: &Slot, campaign: CampaignId, kept: &Kept, options: &Options, report: &mut Report) -> Result<()> {
    report.note(&format!("{} clients watch the leaderboard", options.viewers));
    let layout = kept.layout;
    let (before, _) = resident_mib(kept.api.process.id())?;
    let first = layout.first();
    let sent: Sent = Arc::default();
    let shutdown = CancellationToken::new();
    let mut viewers: JoinSet<Result<Times>> = JoinSet::new();
    let connected = Arc::new(tokio::sync::Semaphore::new(0));
    for _ in 0..options.viewers {
        let viewer = Viewer {
            place: format!("\"userId\":\"{}\"", first[0]),
            cents: layout.cents(0),
            seen: 0,
            sent: Arc::clone(&sent),
            times: Times::of_deliveries(),
        };
        viewers.spawn(viewer.watch(kept.api.port, campaign, Arc::clone(&connected), shutdown.clone()));
    }
    let all = connected.acquire_many(u32::try_from(options.viewers)?);
    let _ = tokio::time::timeout(CONNECTED, all).await.context("not all clients have the leaderboard")??;

    let worker = slot.worker()?;
    let begins = Arc::clone(&sent);
    let purchases = move |number: u64| match number % BATCH {
        0 => (first[0], 1),
        shown if shown < SHOWN => (first[(1 + number * 31 % (TOP - 1)) as usize], 1),
        _ => (layout.lower(number), 123),
    };
    let used = cpu_seconds(kept.api.process.id())?;
    let writer = Writer::start(kept.api.port, &kept.key, "fanout".to_owned(), options.writes, purchases, move |at| {
        begins.lock().unwrap_or_else(PoisonError::into_inner).push(at);
    });
    let (started, mut most) = (Instant::now(), before);
    while started.elapsed() < Duration::from_secs(options.fanout_seconds) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(resident_mib(kept.api.process.id())?.0);
        if let Some(ended) = viewers.try_join_next() {
            ended??;
            bail!("a client was cut off");
        }
    }
    let share = 100.0 * (cpu_seconds(kept.api.process.id())? - used) / started.elapsed().as_secs_f64();
    let written = writer.stop().await?;
    slot.counted().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    shutdown.cancel();
    let mut times = Times::of_deliveries();
    while let Some(viewer) = viewers.join_next().await {
        times.merge(&viewer??);
    }
    drop(worker);
    let batches = sent.lock().unwrap_or_else(PoisonError::into_inner).len();
    ensure!(
        times.count() == batches as u64 * options.viewers as u64,
        "{} of {batches} purchases for each client were delivered",
        times.count()
    );
    report.figure("fanout: clients", options.viewers as f64, "");
    report.figure("fanout: changes beside", written, "/s");
    report.figure("fanout: from a purchase's sending to a client, p50", times.percentile(0.5) * 1e3, "ms");
    report.figure("fanout: from a purchase's sending to a client, p99", times.percentile(0.99) * 1e3, "ms");
    report.figure("fanout: memory of the API before", before * 1.048_576, "MB");
    report.figure("fanout: memory of the API, the most", most * 1.048_576, "MB");
    report.figure("fanout: memory of a client", (most - before) * 1024.0 / options.viewers as f64, "KiB");
    report.figure("fanout: of a core, API", share, "%");
    Ok(())
}

/// When each purchase of the first place was sent.
type Sent = Arc<Mutex<Vec<Instant>>>;

/// A client. Every purchase of the first place is of one cent: its total says how many of them the client has been told of.
struct Viewer {
    place: String,
    cents: u64,
    seen: usize,
    sent: Sent,
    times: Times,
}

impl Viewer {
    async fn watch(
        mut self,
        port: u16,
        campaign: CampaignId,
        connected: Arc<tokio::sync::Semaphore>,
        shutdown: CancellationToken,
    ) -> Result<Times> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(get(&format!("/leaderboards/{campaign}/events"), None).as_bytes()).await?;
        let (mut received, mut is_first) = (Vec::with_capacity(16 * 1024), true);
        loop {
            tokio::select! {
                read = stream.read_buf(&mut received) => ensure!(read? > 0, "the API closed a client's connection"),
                () = shutdown.cancelled() => return Ok(self.times),
            }
            // An event is one chunk of the answer, and ends with an empty line, as no line within it does.
            while let Some(end) = memmem::find(&received, b"\n\n") {
                let total = total_of(&received[..end], self.place.as_bytes())?;
                received.drain(..end + 2);
                let Some(total) = total else { continue };
                if is_first {
                    connected.add_permits(1);
                    is_first = false;
                }
                self.told(total)?;
            }
        }
    }

    fn told(&mut self, total: u64) -> Result<()> {
        let (now, sent) = (Instant::now(), self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        let told = usize::try_from(total.checked_sub(self.cents).context("the first place has lost money")?)?;
        let new = sent.get(self.seen..told).context("a client was told of more than was sent")?;
        new.iter().for_each(|sent| self.times.add(now.duration_since(*sent)));
        self.seen = told;
        Ok(())
    }
}

/// What the place has spent, in cents, by an event that has it.
fn total_of(event: &[u8], place: &[u8]) -> Result<Option<u64>> {
    let name = br#""value":""#;
    let Some(at) = memmem::find(event, place) else { return Ok(None) };
    let from = memmem::find(&event[at..], name).context("a place without a total")? + at + name.len();
    let digits: String =
        event[from..].iter().take_while(|byte| **byte != b'"').filter(|byte| **byte != b'.').map(|byte| char::from(*byte)).collect();
    Ok(Some(digits.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_place_is_that_which_follows_its_user() {
        let event = br#"data: {"positions":[{"userId":"7","total":{"value":"1.00"}},{"userId":"8","total":{"value":"12.34"}}]}"#;
        assert_eq!(total_of(event, br#""userId":"8""#).unwrap(), Some(1234));
        assert_eq!(total_of(event, br#""userId":"9""#).unwrap(), None);
    }
}
