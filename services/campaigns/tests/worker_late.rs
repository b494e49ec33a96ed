//! Late purchases: what counts until the grace is over, and what becomes of the rest. All times are the database's.

use std::time::Duration;

use campaigns::domain::{CampaignContent, CampaignId, CampaignTimes, CatalogueEntry, ChangeError, Purchase};
use campaigns::settings::Settings;
use campaigns::store::CampaignUpdate;
use campaigns::worker::{Payments, WorkerMetrics, run_stages_with};
use serde_json::json;
use tenantry_kit::time::UtcDateTime;
use tokio_util::sync::CancellationToken;

use crate::api_client::Client;
use crate::fixture::{Slot, eventually, purchase};
use crate::processing;

const GRACE: u64 = 3600;

async fn process(slot: &Slot) {
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let (store, streams) = (slot.store.clone(), slot.streams.clone());
    let worker = tokio::spawn(async move {
        let settings = Settings { late_purchase_grace_seconds: GRACE as u32, ..Settings::default() };
        run_stages_with(&settings, store, streams, WorkerMetrics::default(), Payments::held(), stop).await
    });
    eventually("the streams are processed", async || slot.lag().await == 0).await;
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}

/// Accepts a purchase that was made `ago` seconds before the true time.
async fn accept(slot: &Slot, event: &str, user: i64, ago: i64) {
    let made = UtcDateTime::from_unix_micros(UtcDateTime::now().unix_micros() - ago * 1_000_000).unwrap();
    let purchase = Purchase { timestamp: made, ..purchase(event, user, 10, 500) };
    processing::accept(slot, &purchase).await;
}

async fn users(slot: &Slot, campaign: CampaignId) -> Vec<i64> {
    slot.totals(campaign).await.iter().map(|total| total.user_id.get()).collect()
}

#[tokio::test]
async fn a_purchase_that_is_accepted_within_the_grace_counts_and_one_after_it_is_a_dead_letter() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -600.0, -300.0).await;
    accept(&slot, "after the end", 1, 400).await;
    slot.test.shift_time(Duration::from_secs(GRACE - 400)).await.unwrap();
    accept(&slot, "just in time", 2, 400).await;
    slot.test.shift_time(Duration::from_secs(GRACE - 200)).await.unwrap();
    accept(&slot, "too late", 3, 400).await;
    accept(&slot, "made after the end, no matter how late", 4, 200).await;
    // however late they are qualified: what counts is when they were accepted
    slot.test.shift_time(Duration::from_secs(10 * GRACE)).await.unwrap();
    process(&slot).await;
    assert_eq!(users(&slot, campaign).await, [1, 2]);
    let letters = slot.store.purchase_dead_letters(None, None, 10).await.unwrap();
    let [kept] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((kept.letter.campaign_id, kept.letter.reason.as_str(), kept.letter.user_id.get()), (campaign, "too_late", 3));
    assert!(kept.letter.detail.contains("took late purchases until"), "{}", kept.letter.detail);
}

#[tokio::test]
async fn a_purchase_can_be_too_late_for_one_campaign_and_count_for_another() {
    let slot = Slot::new().await;
    let (ended, running) = (slot.campaign(10, -9000.0, -8000.0).await, slot.campaign(10, -9000.0, 60.0).await);
    accept(&slot, "both", 1, 8500).await;
    process(&slot).await;
    assert_eq!((users(&slot, ended).await, users(&slot, running).await), (vec![], vec![1]));
    assert_eq!(slot.store.purchase_dead_letters(None, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_campaign_counts_every_purchase_accepted_after_its_creation_by_the_times_that_it_has_when_the_purchase_is_qualified() {
    let slot = Slot::new().await;
    accept(&slot, "before the creation, not yet qualified", 1, 20).await;
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    accept(&slot, "after the creation", 2, 20).await;
    process(&slot).await;
    assert_eq!(users(&slot, campaign).await, [1, 2]);
    let change = sqlx::query("UPDATE campaigns SET starts_at = starts_at + interval '45 seconds' WHERE id = $1").bind(campaign.get());
    change.execute(&mut slot.test.connect().await.unwrap()).await.unwrap();
    accept(&slot, "before the start as it is now", 3, 40).await;
    accept(&slot, "since the start as it is now", 4, 0).await;
    process(&slot).await;
    assert_eq!(users(&slot, campaign).await, [1, 2, 4]);
}

/// Changes or cancels a campaign.
async fn update(
    slot: &Slot,
    campaign: CampaignId,
    decide: impl FnOnce(&CatalogueEntry, UtcDateTime) -> Result<CatalogueEntry, ChangeError>,
) {
    let update = slot.store.update_campaign(campaign, decide).await.unwrap();
    assert!(matches!(update, CampaignUpdate::Done(..)), "{update:?}");
}

/// Moves the end to so many seconds from now.
async fn move_end(slot: &Slot, campaign: CampaignId, seconds: i64) {
    let decide = |entry: &CatalogueEntry, now: UtcDateTime| {
        let end = UtcDateTime::from_unix_micros(now.unix_micros() + seconds * 1_000_000).unwrap();
        let times = CampaignTimes::new(entry.campaign.times.start(), end).unwrap();
        entry.changed(CampaignContent { times, ..entry.campaign.content() }, now)
    };
    update(slot, campaign, decide).await;
}

#[tokio::test]
async fn an_end_that_is_moved_later_takes_in_what_was_dated_past_it_whether_it_was_qualified_or_not() {
    let slot = Slot::new().await;
    let (moved, stays) = (slot.campaign(10, -60.0, 60.0).await, slot.campaign(10, -60.0, 60.0).await);
    accept(&slot, "before the end", 1, 0).await;
    accept(&slot, "past it, by a clock that is ahead", 2, -100).await;
    accept(&slot, "past the new end too", 3, -280).await;
    process(&slot).await;
    assert_eq!((users(&slot, moved).await, users(&slot, stays).await), (vec![1], vec![1]));
    accept(&slot, "past it, and not qualified yet", 4, -110).await;
    move_end(&slot, moved, 200).await;
    process(&slot).await;
    assert_eq!((users(&slot, moved).await, users(&slot, stays).await), (vec![1, 2, 4], vec![1]));
    move_end(&slot, moved, 100_000).await;
    move_end(&slot, moved, 200_000).await;
    process(&slot).await;
    assert_eq!((users(&slot, moved).await, users(&slot, stays).await), (vec![1, 2, 3, 4], vec![1]));
    assert_eq!(slot.totals(moved).await.iter().map(|total| total.total).sum::<rust_decimal::Decimal>(), 20.into(), "each counts once");

    // what is kept goes once the end has come
    let kept = async || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM purchases_past_end WHERE campaign_id = $1").bind(stays.get());
        count.fetch_one(&mut slot.test.connect().await.unwrap()).await.unwrap()
    };
    assert_eq!(kept().await, 3);
    slot.test.shift_time(Duration::from_secs(120)).await.unwrap();
    slot.store.announce_due().await.unwrap();
    while slot.store.delete_past_end(2).await.unwrap() > 0 {}
    assert_eq!(kept().await, 0);
}

#[tokio::test]
async fn an_end_that_is_moved_while_purchases_past_it_are_qualified_counts_them_once() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    let shutdown = CancellationToken::new();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (store, streams, stop) = (slot.store.clone(), slot.streams.clone(), shutdown.clone());
            tokio::spawn(async move {
                run_stages_with(&Settings::default(), store, streams, WorkerMetrics::default(), Payments::held(), stop).await
            })
        })
        .collect();
    for round in 0..20 {
        // each is dated past the end as it is, and before the one to which that is moved meanwhile
        let end = 60 + round;
        let event = format!("{round}");
        tokio::join!(accept(&slot, &event, 1 + round, -(end + 1)), move_end(&slot, campaign, end + 2));
    }
    move_end(&slot, campaign, 1000).await;
    eventually("all are counted", async || slot.lag().await == 0 && users(&slot, campaign).await.len() == 20).await;
    shutdown.cancel();
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
    assert!(slot.totals(campaign).await.iter().all(|total| total.total == 5.into()), "each counts once");
}

#[tokio::test]
async fn the_grace_is_counted_from_the_end_as_it_is_now_and_from_a_cancellation() {
    let slot = Slot::new().await;
    let (moved, cancelled, stays) =
        (slot.campaign(10, -600.0, 100.0).await, slot.campaign(10, -600.0, 100_000.0).await, slot.campaign(10, -600.0, 100.0).await);
    let later = |entry: &CatalogueEntry, now: UtcDateTime| {
        let times = CampaignTimes::new(entry.campaign.times.start(), now.saturating_add("2h".parse().unwrap())).unwrap();
        entry.changed(CampaignContent { times, ..entry.campaign.content() }, now)
    };
    update(&slot, moved, later).await;
    update(&slot, cancelled, CatalogueEntry::cancelled).await;
    slot.test.shift_time(Duration::from_secs(GRACE + 200)).await.unwrap();
    accept(&slot, "made while all three ran", 1, 300).await;
    process(&slot).await;
    assert_eq!((users(&slot, moved).await, users(&slot, cancelled).await, users(&slot, stays).await), (vec![1], vec![], vec![]));
    let letters = slot.store.purchase_dead_letters(None, None, 10).await.unwrap();
    assert_eq!(letters.iter().map(|kept| kept.letter.reason.as_str()).collect::<Vec<_>>(), ["too_late", "too_late"]);
}

#[tokio::test]
async fn a_worker_whose_clock_is_wrong_judges_by_the_databases() {
    let slot = Slot::new().await;
    // the database is two hours ahead of every process
    slot.test.shift_time(Duration::from_secs(2 * GRACE)).await.unwrap();
    let campaign = slot.campaign(10, -60.0 - 7200.0, 60.0 - 7200.0).await;
    accept(&slot, "in time by the process's clock alone", 1, 0).await;
    process(&slot).await;
    assert_eq!(users(&slot, campaign).await, [] as [i64; 0]);
    assert_eq!(slot.store.purchase_dead_letters(None, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn dead_letters_are_listed_in_pages_by_reason_and_the_latest_first() {
    let slot = Slot::new().await;
    slot.campaign(10, -9000.0, -8000.0).await;
    for number in 0..5 {
        accept(&slot, &format!("late-{number}"), 1, 8500).await;
    }
    process(&slot).await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let first = client.get("/purchases/dead-letters?limit=2").await;
    assert_eq!(first.status.as_u16(), 200, "{}", first.body);
    let mut events: Vec<String> = Vec::new();
    let mut next = Some(String::new());
    while let Some(after) = next {
        let page = client.get(&format!("/purchases/dead-letters?reason=too_late&limit=2{after}")).await.body;
        let letters = page["deadLetters"].as_array().unwrap().clone();
        assert!(letters.iter().all(|letter| letter["reason"] == "too_late" && letter["amount"]["currency"] == "EUR"), "{page}");
        events.extend(letters.iter().map(|letter| letter["eventId"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().map(|next| format!("&after={next}"));
    }
    let mut distinct = events.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((events.len(), distinct.len()), (5, 5), "{events:?}");
    assert_eq!(client.get("/purchases/dead-letters?reason=too_large").await.body, json!({ "deadLetters": [] }));
    for wrong in ["reason=bad", "limit=0", "limit=1001", "after=x", "afetr=1"] {
        client.get(&format!("/purchases/dead-letters?{wrong}")).await.assert_refused(400, "invalid-parameter", "");
    }
}
