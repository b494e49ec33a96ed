//! What is held: the campaigns that run, and those that were asked for; what nobody asks for leaves memory, and is settled in the database.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenantry_kit::shutdown::Gate;
use tokio_util::sync::CancellationToken;

use super::LiveStandings;
use super::campaign::{Gone, LiveCampaign, Version};
use crate::domain::CampaignId;
use crate::store::MARK_INTERVAL;

const INTERVAL: Duration = Duration::from_secs(5);
const OUTAGE_INTERVAL: Duration = Duration::from_secs(1);
/// A campaign counts as one that runs until so long after its end: late purchases still come, and many look who has won.
const AFTER_END: Duration = Duration::from_secs(3600);

/// Runs until `shutdown`; opens the gate when all campaigns that run were read, or could not be.
pub(super) async fn run(live: LiveStandings, ready: Option<Gate>, shutdown: CancellationToken) {
    tokio::select! {
        () = keep(&live, ready) => {}
        () = shutdown.cancelled() => {}
    }
}

async fn keep(live: &LiveStandings, mut ready: Option<Gate>) {
    loop {
        let interval = match live.inner.store.live_campaigns(AFTER_END).await {
            Ok(running) => {
                hold(live, &running).await;
                if let Some(gate) = ready.take() {
                    gate.open();
                }
                release(live, &running.into_iter().collect()).await;
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "the campaigns that run cannot be read");
                OUTAGE_INTERVAL
            }
        };
        tokio::time::sleep(interval).await;
    }
}

/// Reads the campaigns that run and are not held, one after the other, as long as there is room.
async fn hold(live: &LiveStandings, running: &[CampaignId]) {
    for id in running {
        if live.count() >= live.inner.limits.users {
            return;
        }
        if live.held(*id).is_none()
            && let Err(error) = live.of(*id, None).await
        {
            tracing::warn!(%error, "a campaign that runs is not held yet");
        }
    }
}

/// Lets go what is idle, and what is too much.
async fn release(live: &LiveStandings, running: &HashSet<CampaignId>) {
    let now = live.inner.started.elapsed();
    let asked = |campaign: &LiveCampaign| Duration::from_secs(campaign.last_asked.load(Ordering::Relaxed));
    let mut held = live.all_held();
    // First those that do not run, of them first what nobody has asked for longest.
    held.sort_by_key(|campaign| (running.contains(&campaign.id), asked(campaign), Reverse(campaign.id)));
    let (mut users, mut campaigns) = (live.count(), held.len());
    for campaign in held {
        // Who watches it goes on doing so.
        let Some(version) = campaign.current().filter(|_| campaign.state.receiver_count() == 0) else { continue };
        let runs = running.contains(&campaign.id);
        let idle = !runs && now.saturating_sub(asked(&campaign)) >= live.inner.limits.idle;
        let too_many = users > live.inner.limits.users && campaigns > 1;
        if idle || too_many {
            if !runs {
                settle(live, &campaign, &version).await;
            }
            tracing::debug!(campaign = %campaign.id, "the standings of a campaign leave memory");
            live.forget(&campaign, Gone::Left);
            users = users.saturating_sub(version.standings.len());
            campaigns -= 1;
        }
    }
    live.count();
}

/// What is asked for the campaign from now on is answered from the database, as long as its totals do not change.
async fn settle(live: &LiveStandings, campaign: &LiveCampaign, held: &Version) {
    let marks = held.standings.marks(MARK_INTERVAL);
    match live.inner.store.settle(campaign.id, held.version, held.standings.len(), &marks).await {
        Ok(true) => {}
        Ok(false) => tracing::debug!(campaign = %campaign.id, "the standings are not settled: they have changed"),
        Err(error) => {
            tracing::warn!(campaign = %campaign.id, %error, "the standings are not settled: they will be read once more when asked for")
        }
    }
}
