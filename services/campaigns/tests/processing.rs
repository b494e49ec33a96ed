//! Purchases that are accepted, and a worker that processes them, both in the test's own process.

use campaigns::domain::{Purchase, PurchaseAcceptance};
use campaigns::worker::run_stages;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Slot, eventually};

/// Has the slot accept a purchase that is new to it.
pub async fn accept(slot: &Slot, purchase: &Purchase) {
    assert_eq!(slot.store.accept_purchase(purchase).await.unwrap(), PurchaseAcceptance::Accepted);
}

/// Runs a worker until `condition` holds.
pub async fn work_until(slot: &Slot, what: &str, condition: impl AsyncFn() -> bool) {
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(run_stages(slot.store.clone(), slot.streams.clone(), shutdown.clone()));
    eventually(what, async || condition().await).await;
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}

/// Runs a worker until it has nothing to do.
pub async fn processed(slot: &Slot) {
    work_until(slot, "everything is processed", async || slot.lag().await == 0).await;
}
