//! Qualification and totals, against the slow and obvious model.

use campaigns::domain::{CampaignCreation, PrizeRule, Purchase, PurchaseAcceptance, RankRule, TieRules, UserId};
use serde_json::json;

use crate::fixture::{Slot, euros, order, purchase};
use crate::processing::{accept, processed};

/// Runs a worker until everything accepted so far is in the totals.
#[tokio::test]
async fn totals_top_and_positions_are_those_of_the_model() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    // Few users and amounts, so that there are ties.
    let purchases: Vec<Purchase> = (0..300_i64).map(|number| purchase(number, 1 + (number * 7) % 23, 10, 1 + (number * 5) % 4)).collect();
    for purchase in &purchases {
        accept(&slot, purchase).await;
    }
    processed(&slot).await;
    let expected = slot.expected_totals(&purchases).await;
    assert_eq!(slot.totals(campaign).await, expected);

    let ranking = order(&expected);
    let (standings, _running) = slot.standings();
    let held = standings.of(campaign, None).await.unwrap();
    assert_eq!(held.version, slot.store.results_version(campaign).await.unwrap().unwrap());
    let top = held.standings.first(1000);
    assert_eq!(top.iter().map(|standing| standing.user_id).collect::<Vec<UserId>>(), ranking);
    for (user, place) in ranking.iter().zip(0_u64..) {
        let standing = held.standings.of(*user).unwrap();
        assert_eq!((standing.position, standing.rank), (place, place + 1));
        assert_eq!(standing.total.value(), expected.iter().find(|total| total.user_id == *user).unwrap().total);
    }
    assert_eq!(held.standings.first(3), top[..3]);
}

#[tokio::test]
async fn a_purchase_counts_for_every_campaign_of_its_item_that_ran_at_its_time() {
    let slot = Slot::new().await;
    let running = slot.campaign(10, -60.0, 60.0).await;
    let also_running = slot.campaign(10, -30.0, 60.0).await;
    let ended = slot.campaign(10, -60.0, -30.0).await;
    let of_another_item = slot.campaign(11, -60.0, 60.0).await;
    accept(&slot, &purchase("now", 1, 10, 500)).await;
    let mut earlier = purchase("earlier", 2, 10, 700);
    earlier.timestamp = earlier.timestamp.saturating_add("-45s".parse().unwrap());
    accept(&slot, &earlier).await;
    processed(&slot).await;
    let mut counted = Vec::new();
    for campaign in [running, also_running, ended, of_another_item] {
        counted.push(slot.totals(campaign).await.iter().map(|total| total.user_id.get()).collect::<Vec<_>>());
    }
    assert_eq!(counted, [vec![1, 2], vec![1], vec![2], vec![]]);
}

#[tokio::test]
async fn a_repeated_purchase_counts_once_and_one_with_other_content_is_a_conflict() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    let first = purchase("once", 1, 10, 500);
    accept(&slot, &first).await;
    assert_eq!(slot.store.accept_purchase(&first).await.unwrap(), PurchaseAcceptance::Repeated);
    let other = Purchase { amount: euros(501), ..first.clone() };
    assert_eq!(slot.store.accept_purchase(&other).await.unwrap(), PurchaseAcceptance::Conflict);
    processed(&slot).await;
    assert_eq!(slot.totals(campaign).await, slot.expected_totals(&[first]).await);
}

#[tokio::test]
async fn the_same_purchase_from_many_callers_at_once_is_accepted_once() {
    let slot = Slot::new().await;
    let purchase = purchase("once", 1, 10, 500);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (store, purchase) = (slot.store.clone(), purchase.clone());
        callers.spawn(async move { store.accept_purchase(&purchase).await.unwrap() });
    }
    let outcomes = callers.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == PurchaseAcceptance::Accepted).count(), 1);
    assert!(!outcomes.contains(&PurchaseAcceptance::Conflict));
    assert_eq!(slot.events("purchase_events").await.len(), 1);
}

#[tokio::test]
async fn an_update_event_tells_of_new_results() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    assert_eq!(slot.store.results_version(campaign).await.unwrap(), Some(0));
    for number in 0..50 {
        accept(&slot, &purchase(number, 1, 10, 100)).await;
    }
    processed(&slot).await;
    let events = slot.events("results_calculation_update_events").await;
    let version = slot.store.results_version(campaign).await.unwrap().unwrap();
    assert_eq!(events.len() as i64, version);
    assert!((1..=10).contains(&version), "50 purchases of one user are coalesced, not announced one by one: {version}");
    assert!(events.iter().all(|event| event["campaignId"] == json!(campaign)), "{events:?}");
}

#[tokio::test]
async fn a_campaign_with_a_chosen_id_can_be_created_again_but_not_with_other_content() {
    let slot = Slot::new().await;
    let id = slot.campaign(10, -60.0, 60.0).await;
    let (entry, _) = slot.store.campaign(id).await.unwrap().unwrap();
    let campaign = entry.campaign.clone();
    let mut new = campaigns::domain::NewCampaign {
        id: Some(id),
        item_id: campaign.item_id,
        prize: campaign.prize,
        currency: campaign.currency,
        times: campaign.times,
        ties: campaign.ties,
    };
    let shared = TieRules { ranks: RankRule::Shared, prize: PrizeRule::Shared };
    let other = campaigns::domain::NewCampaign { ties: shared, ..new.clone() };
    assert_eq!(slot.store.create_campaign(&other).await.unwrap(), CampaignCreation::Conflict(entry.clone()));
    assert_eq!(slot.store.create_campaign(&new).await.unwrap(), CampaignCreation::Existing(entry.clone()));
    new.prize = euros(1);
    assert_eq!(slot.store.create_campaign(&new).await.unwrap(), CampaignCreation::Conflict(entry));
    new.id = campaigns::domain::CampaignId::new(id.get() + 1).ok();
    assert!(matches!(slot.store.create_campaign(&new).await.unwrap(), CampaignCreation::Created(_)));
    let next = slot.campaign(10, -1.0, 1.0).await;
    assert_eq!(next.get(), id.get() + 2, "an id that a caller has chosen is stepped over");
}

#[tokio::test]
async fn active_campaigns_are_those_that_run_now_and_their_version_grows() {
    let slot = Slot::new().await;
    let running = slot.campaign(10, -1.0, 60.0).await;
    slot.campaign(10, -2.0, -1.0).await;
    slot.campaign(10, 30.0, 60.0).await;
    let active = slot.store.active_campaigns().await.unwrap();
    assert_eq!(active.campaigns.iter().map(|entry| entry.campaign.id).collect::<Vec<_>>(), [running]);
    slot.campaign(10, -1.0, 60.0).await;
    assert!(slot.store.active_campaigns().await.unwrap().version > active.version);
}
