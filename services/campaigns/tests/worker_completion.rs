//! Completion: winners are fixed once, when nothing that could change them is left.

use std::time::Duration;

use campaigns::domain::payment::Prizes;
use campaigns::domain::{CampaignId, CatalogueEntry, PrizeRule, Purchase, TieRules};

use crate::api_client::Client;
use crate::fixture::{Slot, euros, purchase};
use crate::processing::{accept, processed, work_until};
use crate::rates_model::{Model, parked, purchase_of, today};

/// The default grace, the time for what is not seen yet, and some more.
pub const OVER: Duration = Duration::from_secs(3600 + 60 + 60);

/// A campaign that ran until just now, with its end announced.
async fn ended_campaign(slot: &Slot) -> CampaignId {
    let campaign = slot.campaign(10, -600.0, -0.001).await;
    slot.store.announce_due().await.unwrap();
    campaign
}

fn earlier(purchase: Purchase) -> Purchase {
    Purchase { timestamp: purchase.timestamp.saturating_add("-5m".parse().unwrap()), ..purchase }
}

async fn winners(slot: &Slot, campaign: CampaignId) -> Option<Vec<i64>> {
    let winners = slot.store.winners(campaign).await.unwrap()?;
    Some(winners.iter().map(|winner| winner.user_id.get()).collect())
}

#[tokio::test]
async fn the_first_user_wins_once_the_grace_is_over() {
    let slot = Slot::new().await;
    let campaign = ended_campaign(&slot).await;
    // of equal totals the one that was accepted first stands first
    let moment = earlier(purchase("first", 9, 10, 700)).timestamp;
    for (event, user, cents) in [("less", 1, 600), ("first", 9, 700), ("second", 2, 700)] {
        accept(&slot, &Purchase { timestamp: moment, ..purchase(event, user, 10, cents) }).await;
    }
    processed(&slot).await;
    assert_eq!((slot.store.complete_due(3600, Prizes::Held).await.unwrap(), winners(&slot, campaign).await), (0, None));
    slot.test.shift_time(OVER).await.unwrap();
    let completions = tokio::join!(slot.store.complete_due(3600, Prizes::Held), slot.store.complete_due(3600, Prizes::Held));
    assert_eq!(completions.0.unwrap() + completions.1.unwrap(), 1, "two workers complete it once");
    assert_eq!(winners(&slot, campaign).await, Some(vec![9]));
    assert_eq!(slot.store.complete_due(3600, Prizes::Held).await.unwrap(), 0);
}

#[tokio::test]
async fn a_shared_prize_is_divided_between_those_with_the_highest_total() {
    let slot = Slot::new().await;
    let shared = TieRules { prize: PrizeRule::Shared, ..TieRules::default() };
    let campaign = slot.campaign_with(shared, 10, -600.0, -0.001).await;
    slot.store.announce_due().await.unwrap();
    for (event, user, cents) in [("1", 1, 700), ("2", 2, 700), ("3", 3, 600), ("4", 4, 700)] {
        accept(&slot, &earlier(purchase(event, user, 10, cents))).await;
    }
    processed(&slot).await;
    slot.test.shift_time(OVER).await.unwrap();
    assert_eq!(slot.store.complete_due(3600, Prizes::Held).await.unwrap(), 1);
    let winners = slot.store.winners(campaign).await.unwrap().unwrap();
    let prizes: Vec<_> = winners.iter().map(|winner| (winner.user_id.get(), winner.position, winner.prize)).collect();
    assert_eq!(prizes, [(1, 0, euros(3334)), (2, 1, euros(3333)), (4, 2, euros(3333))]);
}

#[tokio::test]
async fn a_campaign_that_was_cancelled_has_no_winner_whether_it_ran_or_not() {
    let slot = Slot::new().await;
    let (running, scheduled) = (slot.campaign(10, -600.0, 600.0).await, slot.campaign(10, 300.0, 600.0).await);
    accept(&slot, &earlier(purchase("counts", 1, 10, 700))).await;
    processed(&slot).await;
    for id in [running, scheduled] {
        slot.store.update_campaign(id, CatalogueEntry::cancelled).await.unwrap();
    }
    slot.store.announce_due().await.unwrap();
    slot.test.shift_time(OVER).await.unwrap();
    assert_eq!(slot.store.complete_due(3600, Prizes::Held).await.unwrap(), 0);
    assert_eq!((winners(&slot, running).await, winners(&slot, scheduled).await), (Some(vec![]), Some(vec![])));
    assert_eq!(slot.totals(running).await.len(), 1);
}

#[tokio::test]
async fn a_worker_completes_what_is_due() {
    let slot = Slot::new().await;
    let campaign = ended_campaign(&slot).await;
    slot.test.shift_time(OVER).await.unwrap();
    work_until(&slot, "the campaign is completed", async || winners(&slot, campaign).await.is_some()).await;
    assert_eq!(winners(&slot, campaign).await, Some(vec![]), "nobody bought anything");
}

#[tokio::test]
async fn a_purchase_that_is_not_counted_yet_is_waited_for() {
    let slot = Slot::new().await;
    let campaign = ended_campaign(&slot).await;
    accept(&slot, &earlier(purchase("in time", 4, 10, 700))).await;
    slot.test.shift_time(OVER).await.unwrap();
    assert_eq!(slot.store.complete_due(3600, Prizes::Held).await.unwrap(), 0, "it is not even qualified");
    work_until(&slot, "the campaign is completed", async || winners(&slot, campaign).await.is_some()).await;
    assert_eq!(winners(&slot, campaign).await, Some(vec![4]));
}

#[tokio::test]
async fn a_purchase_that_waits_for_a_rate_is_waited_for_and_holds_up_no_other_campaign() {
    let slot = Slot::new().await;
    let campaign = ended_campaign(&slot).await;
    let mut waiting = earlier(purchase_of("waits", 4, "700.00", "USD", None));
    waiting.item_id = campaigns::domain::ItemId::new(10).unwrap();
    accept(&slot, &earlier(purchase("counts", 5, 10, 700))).await;
    accept(&slot, &waiting).await;
    processed(&slot).await;
    let other = slot.campaign(11, -600.0, -0.001).await;
    slot.store.announce_due().await.unwrap();
    slot.test.shift_time(OVER).await.unwrap();
    assert_eq!(slot.store.complete_due(3600, Prizes::Held).await.unwrap(), 1);
    assert_eq!((winners(&slot, campaign).await, winners(&slot, other).await), (None, Some(vec![])));
    let day = waiting.timestamp.date();
    slot.store.put_rates(&[Model::default().put("USD", day, 11_532)]).await.unwrap();
    work_until(&slot, "the campaign is completed", async || parked(&slot).await == 0 && winners(&slot, campaign).await.is_some()).await;
    assert_eq!(winners(&slot, campaign).await, Some(vec![4]));
    assert!(today(&slot).await >= day);
}

#[tokio::test]
async fn winners_stay_for_ever() {
    let slot = Slot::new().await;
    let campaign = ended_campaign(&slot).await;
    accept(&slot, &earlier(purchase("in time", 4, 10, 700))).await;
    processed(&slot).await;
    slot.test.shift_time(OVER).await.unwrap();
    assert_eq!(slot.store.complete_due(3600, Prizes::Held).await.unwrap(), 1);
    let mut connection = slot.test.connect().await.unwrap();
    for statement in ["UPDATE campaign_winners SET prize = 1", "DELETE FROM campaign_winners", "TRUNCATE campaign_winners CASCADE"] {
        let refusal = sqlx::raw_sql(statement).execute(&mut connection).await.unwrap_err().to_string();
        assert!(refusal.contains("fixed for ever"), "{refusal}");
    }
    // what comes now is too late
    accept(&slot, &earlier(purchase("too late", 5, 10, 900))).await;
    processed(&slot).await;
    assert_eq!(winners(&slot, campaign).await, Some(vec![4]));
    assert_eq!(slot.totals(campaign).await.len(), 1);
}

#[tokio::test]
async fn winners_are_told_when_they_are_fixed() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let campaign = ended_campaign(&slot).await;
    accept(&slot, &earlier(purchase("in time", 4, 10, 700))).await;
    processed(&slot).await;
    let path = format!("/campaigns/{campaign}/winners");
    client.get(&path).await.assert_refused(409, "not-completed", "");
    client.get("/campaigns/4711/winners").await.assert_refused(404, "unknown-campaign", "");
    slot.test.shift_time(OVER).await.unwrap();
    assert_eq!(slot.store.complete_due(3600, Prizes::Held).await.unwrap(), 1);
    let euros = |value: &str| serde_json::json!({ "value": value, "currency": "EUR" });
    assert_eq!(
        client.get(&path).await.body,
        serde_json::json!({ "winners": [{ "userId": "4", "position": 0, "total": euros("7.00"), "prize": euros("100.00"), "payment": { "state": "held" } }] })
    );
}
