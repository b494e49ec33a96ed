//! Starts and ends: one event each, in time, with two workers or none.

use campaigns::worker::run_stages;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Slot, eventually};

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
    let latest: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM max(greatest(start_announced_at - starts_at, end_announced_at - ends_at)))::float8
         FROM campaigns",
    )
    .fetch_one(&mut slot.test.connect().await.unwrap())
    .await
    .unwrap();
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
