//! Reads a campaign whole from the database, for the first time or again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::LiveStandings;
use super::campaign::{Gone, LiveCampaign, Version};
use crate::domain::CampaignId;
use crate::store::StoreError;

/// How long to wait before it is tried again.
const INTERVAL: Duration = Duration::from_millis(200);
/// What is held goes on being served, at its version, while the database does not give a newer one.
const OUTAGE_INTERVAL: Duration = Duration::from_secs(1);

/// Reads `campaign`, on which [`LiveCampaign::begin_reading`] was called or which is new, until it is held, or it is known why it cannot be.
pub(super) async fn run(live: LiveStandings, campaign: Arc<LiveCampaign>) {
    let id = campaign.id;
    // What is committed before the topic is followed is read; what is committed after comes from the topic.
    if live.inner.follows.subscribe().wait_for(|follows| *follows).await.is_err() {
        return;
    }
    let Ok(_place) = live.inner.reads.acquire().await else { return };
    loop {
        let started = Instant::now();
        match read(&live, id).await {
            Ok(Some(read)) => {
                let users = read.standings.len();
                let reading = Arc::clone(&campaign);
                if let Ok(Ok(version)) = live.inner.thread.run(move || reading.finish_reading(read)).await {
                    live.inner.metrics.read(started.elapsed());
                    live.count();
                    tracing::debug!(campaign = %id, users, version = version.version, "read the standings of a campaign");
                    return;
                }
                tracing::debug!(campaign = %id, "events are missing since the standings were read: reading them once more");
                tokio::time::sleep(INTERVAL).await;
            }
            Ok(None) => return live.forget(&campaign, Gone::Unknown),
            Err(error) => {
                tracing::warn!(campaign = %id, %error, "the standings of a campaign cannot be read");
                if campaign.current().is_none() {
                    return live.forget(&campaign, Gone::Unreadable);
                }
                tokio::time::sleep(OUTAGE_INTERVAL).await;
            }
        }
    }
}

async fn read(live: &LiveStandings, id: CampaignId) -> Result<Option<Version>, StoreError> {
    let Some((version, totals)) = live.inner.store.standings(id).await? else { return Ok(None) };
    match live.inner.thread.run(move || totals.build()).await {
        Ok(standings) => Ok(Some(Version::new(version, standings))),
        Err(error) => Err(StoreError::Row { what: "the standings", reason: error.to_string() }),
    }
}
