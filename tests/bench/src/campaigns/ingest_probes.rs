//! When purchases are visible: users whose standing is asked for all the time. Each batch has one purchase, of a cent, by one of them in turn; how many
//! cents such a user has says how many of those purchases are visible. A user's purchases stay in their order, and there are two of these
//! users for each partition of the stream: so when one of their purchases is visible, so is what was appended to its partition before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use campaigns::domain::CampaignId;
use memchr::memmem;
use tenantry_kit::stream::partition_of;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::http::{Connection, get};
use super::times::Times;

const OF_A_PARTITION: usize = 2;
/// Between two looks at all of them.
const INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Probe {
    user: u64,
    /// When each of its purchases was sent.
    sent: Vec<Instant>,
    visible: usize,
}

#[derive(Debug)]
struct Seen {
    probes: Vec<Probe>,
    times: Times,
}

/// The users that are watched. Clones share them.
#[derive(Debug, Clone)]
pub struct Probes(Arc<Mutex<Seen>>);

impl Probes {
    /// Users with ids from `from` on.
    pub fn new(from: u64, partitions: u32) -> Self {
        let mut probes = Vec::new();
        for partition in 0..partitions {
            let users = (from..).filter(|user| partition_of(&user.to_string(), partitions) == partition);
            probes.extend(users.take(OF_A_PARTITION).map(|user| Probe { user, sent: Vec::new(), visible: 0 }));
        }
        Self(Arc::new(Mutex::new(Seen { probes, times: Times::of_deliveries() })))
    }

    /// The user whose purchase is in the `number`th batch.
    pub fn user(&self, number: u64) -> u64 {
        self.with(|seen| seen.probes[number as usize % seen.probes.len()].user)
    }

    /// The `number`th batch is sent. Batches are told of in their order.
    pub fn sent(&self, number: u64, at: Instant) {
        self.with(|seen| {
            let index = number as usize % seen.probes.len();
            seen.probes[index].sent.push(at);
        });
    }

    /// How many batches are visible.
    pub fn visible(&self) -> u64 {
        self.with(|seen| seen.probes.iter().map(|probe| probe.visible as u64).sum())
    }

    /// How long purchases took to become visible, since the last time that this was asked.
    pub fn take_times(&self) -> Times {
        self.with(|seen| std::mem::replace(&mut seen.times, Times::of_deliveries()))
    }

    fn with<T>(&self, what: impl FnOnce(&mut Seen) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins to ask the API on `port`, until the watch is dropped.
    pub fn watch(&self, port: u16, key: &str, campaign: CampaignId) -> Watch {
        let (probes, key, shutdown) = (self.clone(), key.to_owned(), CancellationToken::new());
        let over = shutdown.clone();
        let asking = tokio::spawn(async move {
            let mut connection = Connection::open(port).await?;
            while !over.is_cancelled() {
                let waiting: Vec<(usize, u64)> = probes.with(|seen| {
                    let all = seen.probes.iter().enumerate();
                    all.filter(|(_, probe)| probe.visible < probe.sent.len()).map(|(index, probe)| (index, probe.user)).collect()
                });
                for (index, user) in waiting {
                    let request = get(&format!("/records/position/{campaign}/{user}"), Some(&key));
                    let (status, body) = connection.exchange(&request).await?;
                    let visible = match status {
                        200 => cents(body)?,
                        // Nothing of this user is visible yet.
                        404 => 0,
                        _ => bail!("{status}: {}", String::from_utf8_lossy(body)),
                    };
                    probes.seen(index, visible)?;
                }
                tokio::time::sleep(INTERVAL).await;
            }
            Ok(())
        });
        Watch { asking, _shutdown: shutdown.drop_guard() }
    }

    fn seen(&self, index: usize, visible: usize) -> Result<()> {
        let now = Instant::now();
        self.with(|seen| {
            let probe = &mut seen.probes[index];
            let new = probe.sent.get(probe.visible..visible.max(probe.visible)).context("more is visible than was sent")?;
            for sent in new {
                seen.times.add(now.duration_since(*sent));
            }
            probe.visible = probe.visible.max(visible);
            Ok(())
        })
    }
}

/// Asking, for as long as it lives.
pub struct Watch {
    asking: JoinHandle<Result<()>>,
    _shutdown: DropGuard,
}

impl Watch {
    /// # Errors
    /// When it has broken off.
    pub async fn check(&mut self) -> Result<()> {
        if self.asking.is_finished() {
            (&mut self.asking).await??;
            bail!("nobody watches any more");
        }
        Ok(())
    }
}

/// The total that an answer names.
fn cents(body: &[u8]) -> Result<usize> {
    let name = br#""value":""#;
    let from = memmem::find(body, name).context("no total in the answer")? + name.len();
    let digits: String =
        body[from..].iter().take_while(|byte| **byte != b'"').filter(|byte| **byte != b'.').map(|byte| char::from(*byte)).collect();
    digits.parse().context("a total that is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_is_watched_and_what_becomes_visible_is_timed() {
        let probes = Probes::new(1000, 16);
        let users: Vec<u64> = (0..32).map(|number| probes.user(number)).collect();
        let partitions: std::collections::BTreeSet<u32> = users.iter().map(|user| partition_of(&user.to_string(), 16)).collect();
        assert_eq!((partitions.len(), probes.user(32)), (16, users[0]));
        (0..64).for_each(|number| probes.sent(number, Instant::now()));
        probes.seen(3, 2).unwrap();
        probes.seen(4, 1).unwrap();
        assert_eq!((probes.visible(), probes.take_times().count(), probes.take_times().count()), (3, 3, 0));
        assert!(probes.seen(5, 3).is_err());
    }

    #[test]
    fn a_total_is_read_in_cents() {
        assert_eq!(cents(br#"{"total":{"value":"12.34","currency":"EUR"}}"#).unwrap(), 1234);
        assert!(cents(b"{}").is_err());
    }
}
