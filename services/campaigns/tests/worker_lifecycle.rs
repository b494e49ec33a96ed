//! Starts and ends: one event each, in time, with two workers or none.

use campaigns::domain::{CampaignContent, CampaignId, CampaignTimes, CatalogueEntry, ChangeError};
use campaigns::store::CampaignUpdate;
use campaigns::worker::run_stages;
use serde_json::json;
use tenantry_kit::time::UtcDateTime;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Slot, eventually, purchase};

#[tokio::test]
async fn two_workers_announce_each_start_and_end_once_and_within_a_second() {
    let slot = Slot::new().await;
    let shutdown = CancellationToken::new();
    let workers: Vec<_> = (0..2).map(|_| tokio::spawn(run_stages(slot.store.clone(), slot.streams.clone(), shutdown.clone()))).collect();
    let mut campaigns = Vec::new();
    for number in 0..20 {
        let start = 0.1 + f64::from(number % 5) * 0.13;
        campaigns.push(slot.campaign(10, start, start + 0.7).await);
    }
    eventually("everything is announced", async || slot.events("campaigns_lifecycle").await.len() >= 40).await;
    shutdown.cancel();
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
    let events = slot.events("campaigns_lifecycle").await;
    assert_eq!(events.len(), 40);
    for campaign in campaigns {
        let of_campaign: Vec<_> = events.iter().filter(|event| event["campaignId"] == campaign.to_string()).collect();
        let statuses: Vec<_> = of_campaign.iter().map(|event| &event["status"]).collect();
        assert_eq!(statuses, [&json!("Start"), &json!("End")]);
    }
    let latest = lateness(&slot).await;
    assert!((0.0..1.0).contains(&latest), "{latest} s late");
}

#[tokio::test]
async fn what_passed_while_no_worker_ran_is_announced_when_one_runs_again() {
    let slot = Slot::new().await;
    slot.campaign(10, -2.0, -1.0).await;
    let announced = slot.store.announce_due().await.unwrap();
    assert_eq!(announced.appended, 2);
    let statuses: Vec<_> = slot.events("campaigns_lifecycle").await.into_iter().map(|event| event["status"].clone()).collect();
    assert_eq!(statuses, ["Start", "End"]);
    assert_eq!(slot.store.announce_due().await.unwrap().appended, 0);
}

#[tokio::test]
async fn the_next_start_or_end_is_known() {
    let slot = Slot::new().await;
    assert_eq!(slot.store.announce_due().await.unwrap().next_in, None);
    slot.campaign(10, -1.0, 100.0).await;
    slot.campaign(10, 50.0, 100.0).await;
    let next = slot.store.announce_due().await.unwrap().next_in.unwrap().as_secs_f64();
    assert!((40.0..=50.0).contains(&next), "{next}");
}

/// The statuses announced of a campaign.
pub async fn announced(slot: &Slot, id: CampaignId) -> Vec<String> {
    let events = slot.events("campaigns_lifecycle").await;
    let of_campaign = events.iter().filter(|event| event["campaignId"] == id.to_string());
    of_campaign.map(|event| event["status"].as_str().unwrap().to_owned()).collect()
}

/// Moves start and end to so many seconds from now.
async fn change(slot: &Slot, id: CampaignId, start: Option<f64>, end: f64) -> CampaignUpdate<ChangeError> {
    let now = slot.store.now().await.unwrap();
    let at = |seconds: f64| UtcDateTime::from_unix_micros(now.unix_micros() + (seconds * 1e6) as i64).unwrap();
    let decide = |entry: &CatalogueEntry, now| {
        let times = CampaignTimes::new(start.map_or(entry.campaign.times.start(), at), at(end)).unwrap();
        entry.changed(CampaignContent { times, ..entry.campaign.content() }, now)
    };
    slot.store.update_campaign(id, decide).await.unwrap()
}

/// How late the last announcement was, in seconds.
async fn lateness(slot: &Slot) -> f64 {
    sqlx::query_scalar(
        "SELECT extract(epoch FROM max(greatest(start_announced_at - starts_at, end_announced_at - ends_at)))::float8 FROM campaigns",
    )
    .fetch_one(&mut slot.test.connect().await.unwrap())
    .await
    .unwrap()
}

#[tokio::test]
async fn times_that_are_changed_before_and_while_it_runs_are_announced_once_and_within_a_second() {
    let slot = Slot::new().await;
    let id = slot.campaign(10, 600.0, 1200.0).await;
    let shutdown = CancellationToken::new();
    let workers: Vec<_> = (0..2).map(|_| tokio::spawn(run_stages(slot.store.clone(), slot.streams.clone(), shutdown.clone()))).collect();
    assert!(matches!(change(&slot, id, Some(0.7), 900.0).await, CampaignUpdate::Done(..)));
    eventually("the start is announced", async || announced(&slot, id).await == ["Start"]).await;
    assert_eq!(change(&slot, id, Some(60.0), 900.0).await, CampaignUpdate::Refused(ChangeError::Started("startDateTime")));
    assert!(matches!(change(&slot, id, None, 1800.0).await, CampaignUpdate::Done(..)), "later");
    assert!(matches!(change(&slot, id, None, 0.7).await, CampaignUpdate::Done(..)), "earlier");
    eventually("the end is announced", async || announced(&slot, id).await == ["Start", "End"]).await;
    assert_eq!(change(&slot, id, None, 60.0).await, CampaignUpdate::Refused(ChangeError::Ended));
    assert!((0.0..1.0).contains(&lateness(&slot).await), "{} s late", lateness(&slot).await);
    shutdown.cancel();
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
    assert_eq!(announced(&slot, id).await, ["Start", "End"]);
}

#[tokio::test]
async fn a_running_campaign_that_is_cancelled_ends_and_one_that_has_not_started_is_never_announced() {
    let slot = Slot::new().await;
    let (running, scheduled) = (slot.campaign(10, 0.2, 600.0).await, slot.campaign(10, 600.0, 1200.0).await);
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(run_stages(slot.store.clone(), slot.streams.clone(), shutdown.clone()));
    eventually("the start is announced", async || announced(&slot, running).await == ["Start"]).await;
    for id in [running, scheduled] {
        let cancelled = slot.store.update_campaign(id, CatalogueEntry::cancelled).await.unwrap();
        assert!(matches!(cancelled, CampaignUpdate::Done(..)), "{cancelled:?}");
    }
    eventually("the end is announced", async || announced(&slot, running).await == ["Start", "End"]).await;
    assert!((0.0..1.0).contains(&lateness(&slot).await), "{} s late", lateness(&slot).await);
    slot.test.shift_time(std::time::Duration::from_secs(2000)).await.unwrap();
    let later = slot.campaign(10, -1.0, 600.0).await;
    eventually("the worker has looked again", async || announced(&slot, later).await == ["Start"]).await;
    assert_eq!(announced(&slot, scheduled).await, [] as [&str; 0]);
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_campaign_that_was_cancelled_before_its_start_counts_nothing() {
    let slot = Slot::new().await;
    let (cancelled, other) = (slot.campaign(10, 100.0, 600.0).await, slot.campaign(10, 100.0, 600.0).await);
    slot.store.update_campaign(cancelled, CatalogueEntry::cancelled).await.unwrap();
    slot.test.shift_time(std::time::Duration::from_secs(200)).await.unwrap();
    let mut purchase = purchase("1", 1, 10, 500);
    purchase.timestamp = slot.store.now().await.unwrap();
    slot.store.accept_purchase(&purchase).await.unwrap();
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(run_stages(slot.store.clone(), slot.streams.clone(), shutdown.clone()));
    eventually("it is counted", async || slot.lag().await == 0 && slot.totals(other).await.len() == 1).await;
    assert_eq!(slot.totals(cancelled).await, []);
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}
