//! Clocks: whatever those of the processes say, the database's decides.

use serde_json::{Value, json};
use tenantry_kit::time::UtcDateTime;

use crate::api_client::{self, Client};
use crate::fixture::{Slot, eventually};
use crate::worker_lifecycle::announced;

const HOURS: i64 = 2;

/// A purchase made so many seconds after `now`.
fn purchase(event: &str, now: UtcDateTime, seconds: i64) -> Value {
    let mut purchase = api_client::purchase(event);
    purchase["timestamp"] = json!(UtcDateTime::from_unix_micros(now.unix_micros() + seconds * 1_000_000).unwrap().to_string());
    purchase
}

/// `hours` is by how much the database's clock is ahead of those of all processes.
async fn acts_by_the_databases_clock(hours: i64) {
    let slot = Slot::new().await;
    let set = async |seconds: i64| slot.test.set_time(&format!("statement_timestamp() + interval '{seconds} seconds'")).await.unwrap();
    set(hours * 3600).await;
    let campaign = slot.campaign(10, -60.0, 600.0).await;
    let api = slot.api().await;
    let _worker = slot.worker();
    let client = Client::of(&api);
    eventually("its start is announced", async || announced(&slot, campaign).await == ["Start"]).await;

    let now = slot.store.now().await.unwrap();
    assert_eq!(client.post("/purchases", &purchase("made now", now, 0)).await.status, 202);
    // by the processes' clocks one of these two would be in the future, or neither
    client.post("/purchases", &purchase("made later", now, 900)).await.assert_refused(422, "invalid-purchase", "/timestamp");
    assert_eq!(client.post("/purchases", &purchase("made before it began", now, -3600)).await.status, 202);
    eventually("everything is processed", async || slot.lag().await == 0).await;
    assert_eq!(slot.totals(campaign).await.len(), 1);
    assert_eq!(slot.events("qualified_purchase_events").await.len(), 1);

    set(hours * 3600 + 600).await;
    eventually("its end is announced", async || announced(&slot, campaign).await == ["Start", "End"]).await;
    assert!(slot.store.winners(campaign).await.unwrap().is_none(), "its grace is not over");
    set(hours * 3600 + 600 + 3600 + 120).await;
    eventually("it is completed", async || slot.store.winners(campaign).await.unwrap().is_some_and(|winners| winners.len() == 1)).await;
}

#[tokio::test]
async fn processes_whose_clocks_are_hours_behind_the_databases_act_by_the_databases() {
    acts_by_the_databases_clock(HOURS).await;
}

#[tokio::test]
async fn processes_whose_clocks_are_hours_ahead_of_the_databases_act_by_the_databases() {
    acts_by_the_databases_clock(-HOURS).await;
}
