//! What a worker does now and then: deleting what is old, in the streams and among the dead letters. What waits for an exchange rate never goes.

use std::time::Duration;

use tenantry_kit::stream::{Retention, delete_expired};
use tokio_util::sync::CancellationToken;

use super::pause;
use crate::settings::Settings;
use crate::store::{Store, StoreError};

const INTERVAL: Duration = Duration::from_secs(30);
/// The most events of a partition that are deleted in one transaction, and the most dead letters.
const BATCH: u32 = 1000;

/// How long things stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retentions {
    events: Duration,
    dead_letters: Duration,
}

impl Retentions {
    pub(super) fn of(settings: &Settings) -> Self {
        Self { events: settings.stream_retention(), dead_letters: settings.dead_letter_retention() }
    }
}

/// Runs until `shutdown`.
pub(super) async fn run(store: Store, retentions: Retentions, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = delete_old(&store, retentions, &shutdown).await {
            tracing::warn!(%error, "old events and dead letters cannot be deleted");
        }
        pause(INTERVAL, &shutdown).await;
    }
}

async fn delete_old(store: &Store, retentions: Retentions, shutdown: &CancellationToken) -> Result<(), StoreError> {
    let events = Retention { age: retentions.events, batch: BATCH };
    while !shutdown.is_cancelled() && delete_expired(store.database(), events).await? > 0 {}
    while !shutdown.is_cancelled() && store.delete_old_dead_letters(retentions.dead_letters, BATCH).await? > 0 {}
    while !shutdown.is_cancelled() && store.delete_past_end(BATCH).await? > 0 {}
    Ok(())
}
