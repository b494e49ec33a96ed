//! Releases parked purchases once their rates are there: what waited is counted in the transaction that takes it out.

use std::time::Duration;

use tenantry_kit::stream::HandlerError;
use tokio_util::sync::CancellationToken;

use super::conversion::Conversion;
use super::pause;
use super::results::Results;
use crate::store::{ParkedGroup, Store, take_parked};

const INTERVAL: Duration = Duration::from_millis(500);
/// The most purchases that are released in one transaction.
const BATCH: u32 = 1000;

/// Runs until `shutdown`.
pub(super) async fn run(store: Store, conversion: Conversion, shutdown: CancellationToken) {
    let results = Results::new(store.topics(), conversion);
    while !shutdown.is_cancelled() {
        match release(&store, &results, conversion, &shutdown).await {
            Ok(0) => {}
            Ok(purchases) => tracing::info!(purchases, "released purchases that had waited for a rate"),
            Err(error) => tracing::warn!(%error, "parked purchases cannot be released"),
        }
        pause(INTERVAL, &shutdown).await;
    }
}

async fn release(store: &Store, results: &Results, conversion: Conversion, shutdown: &CancellationToken) -> Result<usize, HandlerError> {
    let mut released = 0;
    for group in store.releasable_groups(conversion.max_rate_age_days).await? {
        while !shutdown.is_cancelled() {
            match release_batch(store, results, group).await? {
                0 => break,
                purchases => released += purchases,
            }
        }
    }
    Ok(released)
}

async fn release_batch(store: &Store, results: &Results, group: ParkedGroup) -> Result<usize, HandlerError> {
    let mut transaction = store.database().begin().await?;
    let purchases = take_parked(&mut transaction, group, BATCH).await?;
    let taken = purchases.len();
    if taken > 0 {
        results.count(&mut transaction, purchases).await?;
        transaction.commit().await?;
    }
    Ok(taken)
}
