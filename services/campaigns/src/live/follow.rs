//! Follows the topic `results_calculation_update_events`, for the campaigns that are held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tenantry_kit::stream::{Event, Tail, TailError};
use tokio_util::sync::CancellationToken;

use super::campaign::{Gap, LiveCampaign, changes_of};
use super::{LiveStandings, load};
use crate::domain::CampaignId;
use crate::store::events::ResultsCalculationUpdateEvent;

/// After events, the topic is looked at again after the shortest interval, then after a quarter of the time that has passed, up to the longest.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_millis(250);
const OUTAGE_INTERVAL: Duration = Duration::from_secs(1);
/// The most events of a partition that are read at once; one has the changes of up to a thousand users.
const BATCH: u32 = 20;
/// About how many changes are applied before they are seen.
const CHANGES_AT_ONCE: usize = 500;

/// Runs until `shutdown`.
pub(super) async fn run(live: LiveStandings, shutdown: CancellationToken) {
    tokio::select! {
        () = follow(&live) => {}
        () = shutdown.cancelled() => {}
    }
}

async fn follow(live: &LiveStandings) {
    let store = &live.inner.store;
    let mut tail = loop {
        match Tail::begin(store.database().clone(), Arc::clone(&store.topics().results_calculation_update_events)).await {
            Ok(tail) => break tail.with_batch(BATCH),
            Err(error) => tracing::warn!(%error, "the changes of totals cannot be followed yet"),
        }
        tokio::time::sleep(OUTAGE_INTERVAL).await;
    };
    live.inner.metrics.lags(0);
    live.inner.follows.send_replace(true);
    let mut interval = SHORTEST_INTERVAL;
    loop {
        interval = match tail.next().await {
            Ok(events) => {
                let next = if events.is_empty() { (interval * 5 / 4).min(LONGEST_INTERVAL) } else { SHORTEST_INTERVAL };
                apply(live, events).await;
                live.inner.metrics.lags(tail.lag());
                next
            }
            Err(error) => {
                tracing::warn!(%error, "the changes of totals cannot be followed");
                if matches!(error, TailError::Passed { .. }) && tail.skip_to_end().await.is_ok() {
                    read_all_again(live);
                    SHORTEST_INTERVAL
                } else {
                    // also when it is known that there are more events
                    tokio::time::sleep(OUTAGE_INTERVAL).await;
                    SHORTEST_INTERVAL
                }
            }
        };
        if tail.lag() == 0 {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = live.inner.wake.woken() => interval = SHORTEST_INTERVAL,
            }
        }
        interval = interval.min(LONGEST_INTERVAL);
    }
}

async fn apply(live: &LiveStandings, events: Vec<Event>) {
    if events.is_empty() {
        return;
    }
    let mut updates: BTreeMap<CampaignId, Vec<ResultsCalculationUpdateEvent>> = BTreeMap::new();
    for event in events {
        match event.decode::<ResultsCalculationUpdateEvent>() {
            Ok(update) => updates.entry(update.campaign_id).or_default().push(update),
            // The next event of its campaign shows that one is missing.
            Err(error) => tracing::error!(%error, "an event of changed totals cannot be read"),
        }
    }
    for (id, updates) in updates {
        let Some(campaign) = live.held(id) else { continue };
        for some in in_parts(updates) {
            let changed = Arc::clone(&campaign);
            match live.inner.thread.run(move || changed.apply(some)).await {
                Ok(Ok(())) => {}
                Ok(Err(Gap)) => {
                    read_again(live, campaign);
                    // What is left of these is in what will be read.
                    break;
                }
                // Whatever was applied of it: the next version shows that one is missing.
                Err(error) => tracing::error!(campaign = %id, %error, "changes of totals were not applied"),
            }
        }
    }
    live.count();
}

/// Consecutive updates, together about as many as are applied at once.
fn in_parts(updates: Vec<ResultsCalculationUpdateEvent>) -> Vec<Vec<ResultsCalculationUpdateEvent>> {
    let mut parts: Vec<Vec<ResultsCalculationUpdateEvent>> = Vec::new();
    for update in updates {
        match parts.last_mut() {
            Some(last) if changes_of(last) < CHANGES_AT_ONCE => last.push(update),
            _ => parts.push(vec![update]),
        }
    }
    parts
}

fn read_again(live: &LiveStandings, campaign: Arc<LiveCampaign>) {
    live.inner.metrics.rebuilt();
    tracing::info!(campaign = %campaign.id, "the standings of a campaign are read again, since events are missing");
    tokio::spawn(load::run(live.clone(), campaign));
}

fn read_all_again(live: &LiveStandings) {
    for campaign in live.all_held() {
        if campaign.begin_reading() {
            read_again(live, campaign);
        }
    }
}
