//! The standings that API processes hold in memory: current, the same in all of them, and never more than what is bounded.

use std::time::{Duration, Instant};

use campaigns::domain::{CampaignContent, CampaignId, CatalogueEntry, RankRule, Standing, TieRules, TopCount, UserId};
use campaigns::live::{LiveError, LiveLimits, LiveStandings};
use campaigns::store::CampaignUpdate;
use campaigns::worker::run_stages;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fixture::{Slot, eventually, purchase};
use crate::processing::accept;

fn worker(slot: &Slot) -> DropGuard {
    let shutdown = CancellationToken::new();
    tokio::spawn(run_stages(slot.store.clone(), slot.streams.clone(), shutdown.clone()));
    shutdown.drop_guard()
}

/// Buys, and waits until it is in the totals.
async fn buy(slot: &Slot, purchases: impl IntoIterator<Item = (i64, i64)>) {
    for (user, cents) in purchases {
        let purchase = purchase(uuid(), user, 10, cents);
        accept(slot, &purchase).await;
    }
    eventually("the streams are processed", async || slot.lag().await == 0).await;
}

fn uuid() -> String {
    format!("{:?}-{:?}", Instant::now(), std::thread::current().id())
}

async fn version(slot: &Slot, campaign: CampaignId) -> i64 {
    slot.store.results_version(campaign).await.unwrap().unwrap()
}

/// Asks until there is an answer: a campaign that was let go, or is being read, is refused for the moment.
async fn top(standings: &LiveStandings, campaign: CampaignId, version: i64) -> Vec<Standing> {
    let mut answer = None;
    eventually("there is an answer", async || {
        answer = standings.of(campaign, Some(version)).await.ok().map(|held| held.standings.first(1000));
        answer.is_some()
    })
    .await;
    answer.unwrap()
}

/// A campaign in which user 2 stands before user 1, the standings that hold it, and what keeps them and the worker running.
async fn two_users(slot: &Slot) -> (CampaignId, LiveStandings, [DropGuard; 2]) {
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    let worker = worker(slot);
    let (standings, following) = slot.standings();
    buy(slot, [(1, 100), (2, 200)]).await;
    assert_eq!(users(&top(&standings, campaign, version(slot, campaign).await).await), [2, 1]);
    (campaign, standings, [worker, following])
}

fn users(standings: &[Standing]) -> Vec<i64> {
    standings.iter().map(|standing| standing.user_id.get()).collect()
}

#[tokio::test]
async fn processes_follow_the_totals_and_give_the_same_answer_for_the_same_version() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    let _worker = worker(&slot);
    let (first, _first_runs) = slot.standings();
    assert_eq!(first.of(campaign, None).await.unwrap().version, 0);
    buy(&slot, (0..60).map(|number| (1 + number * 7 % 23, 1 + number * 5 % 4))).await;
    let (second, _second_runs) = slot.standings();
    assert_eq!(top(&second, campaign, 1).await, top(&first, campaign, version(&slot, campaign).await).await);
    for _ in 0..5 {
        buy(&slot, [(7, 100), (8, 100), (1000, 3)]).await;
        let now = version(&slot, campaign).await;
        let (one, other) = (top(&first, campaign, now).await, top(&second, campaign, now).await);
        assert_eq!(one, other);
        let expected: Vec<UserId> = crate::fixture::order(&slot.totals(campaign).await);
        assert_eq!(one.iter().map(|standing| standing.user_id).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn a_version_that_exists_is_waited_for_and_one_that_does_not_is_refused_in_time() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    let (standings, _running) = slot.standings();
    assert_eq!(standings.of(campaign, None).await.unwrap().version, 0);
    let waiting = tokio::spawn({
        let standings = standings.clone();
        async move { standings.of(campaign, Some(1)).await.map(|held| held.version) }
    });
    let _worker = worker(&slot);
    buy(&slot, [(1, 100)]).await;
    assert_eq!(waiting.await.unwrap(), Ok(1));

    let asked = Instant::now();
    let refused = standings.of(campaign, Some(1_000_000)).await.map(|held| held.version);
    assert_eq!(refused, Err(LiveError::Behind { campaign, version: 1, wanted: 1_000_000 }));
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_unknown_campaign_is_refused_and_a_user_without_purchases_has_no_standing() {
    let slot = Slot::new().await;
    let (standings, _running) = slot.standings();
    let unknown = CampaignId::new(4711).unwrap();
    assert_eq!(standings.of(unknown, None).await.map(|_| ()), Err(LiveError::Unknown(unknown)));
    assert_eq!(standings.campaigns(), [], "what does not exist is not held");
    let campaign = slot.campaign(10, -1.0, 60.0).await;
    let held = standings.of(campaign, None).await.unwrap();
    assert_eq!(held.standings.of(UserId::new(1).unwrap()), None);
    assert_eq!(held.standings.first(10), []);
    assert_eq!((held.standings.len(), held.version), (0, 0));
}

#[tokio::test]
async fn a_process_that_missed_an_event_reads_the_campaign_again() {
    let slot = Slot::new().await;
    let (campaign, standings, _running) = two_users(&slot).await;
    let now = version(&slot, campaign).await;
    let mut other = slot.test.connect().await.unwrap();
    // Totals change without an event, as if it were lost.
    sqlx::raw_sql("UPDATE campaign_totals SET total = 5 WHERE user_id = 1; UPDATE campaign_results SET version = version + 1")
        .execute(&mut other)
        .await
        .unwrap();
    buy(&slot, [(3, 1)]).await;
    assert!(version(&slot, campaign).await > now);
    let now = version(&slot, campaign).await;
    assert_eq!(users(&top(&standings, campaign, now).await), [1, 2, 3]);
}

#[tokio::test]
async fn a_process_that_retention_has_passed_reads_what_it_holds_again() {
    let slot = Slot::new().await;
    let (campaign, standings, _running) = two_users(&slot).await;
    let now = version(&slot, campaign).await;
    let mut other = slot.test.connect().await.unwrap();
    // The event comes and goes before anybody could read it.
    sqlx::raw_sql(
        "BEGIN;
         UPDATE campaign_totals SET total = 5 WHERE user_id = 1;
         UPDATE campaign_results SET version = version + 1;
         UPDATE stream_partitions SET head = head + 1
         WHERE topic_id = (SELECT id FROM stream_topics WHERE name = 'results_calculation_update_events');
         COMMIT",
    )
    .execute(&mut other)
    .await
    .unwrap();
    assert_eq!(users(&top(&standings, campaign, now + 1).await), [1, 2]);
}

#[tokio::test]
async fn equal_totals_share_a_rank_where_the_campaign_says_so() {
    let slot = Slot::new().await;
    let shared = TieRules { ranks: RankRule::Shared, ..TieRules::default() };
    let (strict, shared) = (slot.campaign(10, -60.0, 60.0).await, slot.campaign_with(shared, 10, -60.0, 60.0).await);
    let _worker = worker(&slot);
    let (standings, _running) = slot.standings();
    buy(&slot, [(1, 500), (2, 300), (3, 300), (4, 100)]).await;
    let ranks = async |campaign| {
        let top = top(&standings, campaign, version(&slot, campaign).await).await;
        top.iter().map(|standing| (standing.user_id.get(), standing.position, standing.rank)).collect::<Vec<_>>()
    };
    assert_eq!(ranks(strict).await, [(1, 0, 1), (2, 1, 2), (3, 2, 3), (4, 3, 4)]);
    assert_eq!(ranks(shared).await, [(1, 0, 1), (2, 1, 2), (3, 2, 2), (4, 3, 4)]);
}

#[tokio::test]
async fn a_rule_for_ranks_that_is_changed_before_the_start_holds_for_what_is_in_memory_too() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, 100.0, 600.0).await;
    let _worker = worker(&slot);
    let (standings, _running) = slot.standings();
    for user in [1, 2] {
        // The shop's clock is ahead of the database's.
        let mut early = purchase(uuid(), user, 10, 100);
        early.timestamp = early.timestamp.saturating_add("200s".parse().unwrap());
        accept(&slot, &early).await;
    }
    eventually("the streams are processed", async || slot.lag().await == 0).await;
    let ranks = async || {
        let top = top(&standings, campaign, version(&slot, campaign).await).await;
        top.iter().map(|standing| standing.rank).collect::<Vec<_>>()
    };
    assert_eq!(ranks().await, [1, 2]);
    let shared = TieRules { ranks: RankRule::Shared, ..TieRules::default() };
    let change = |entry: &CatalogueEntry, now| entry.changed(CampaignContent { ties: shared, ..entry.campaign.content() }, now);
    assert!(matches!(slot.store.update_campaign(campaign, change).await.unwrap(), CampaignUpdate::Done(..)));
    assert_eq!(ranks().await, [1, 1]);
}

#[tokio::test]
async fn campaigns_that_run_are_held_unasked_and_ended_ones_leave_memory_and_come_back_when_asked_for() {
    let slot = Slot::new().await;
    let running = slot.campaign(10, -60.0, 600.0).await;
    let ended = slot.campaign(10, -9000.0, -8000.0).await;
    let (standings, _running) = slot.standings_within(LiveLimits { idle: Duration::ZERO, ..LiveLimits::of_users(1000) });
    eventually("what runs is held", async || standings.campaigns() == [running]).await;
    assert_eq!(standings.of(ended, None).await.unwrap().version, 0);
    assert_eq!(standings.campaigns(), [running, ended]);
    eventually("what has ended leaves", async || standings.campaigns() == [running]).await;
    assert_eq!(standings.of(ended, None).await.unwrap().version, 0);
}

/// Many more users than between two marks, with few totals and times, so that ties reach from one mark to the next.
async fn fill(slot: &Slot, campaign: CampaignId, users: i64) {
    sqlx::query(
        "INSERT INTO campaign_totals (campaign_id, user_id, total, reached_at, arrival)
         SELECT $1, number, 1 + number * 7919 % 3, now() - number * 31 % 5 * interval '1 second', number % 700
         FROM generate_series(1, $2) AS number",
    )
    .bind(campaign.get())
    .bind(users)
    .execute(&mut slot.test.connect().await.unwrap())
    .await
    .unwrap();
}

#[tokio::test]
async fn what_has_left_memory_is_answered_from_the_database_as_it_was_in_memory_until_it_changes() {
    let slot = Slot::new().await;
    let shared = TieRules { ranks: RankRule::Shared, ..TieRules::default() };
    for (ties, users) in [(TieRules::default(), 5003), (shared, 5003), (shared, 40), (shared, 0)] {
        let ended = slot.campaign_with(ties, 10, -9000.0, -8000.0).await;
        fill(&slot, ended, users).await;
        let (first, first_runs) = slot.standings_within(LiveLimits { idle: Duration::ZERO, ..LiveLimits::of_users(1000) });
        let held = first.of(ended, None).await.unwrap();
        eventually("it leaves memory", async || first.campaigns().is_empty()).await;
        drop(first_runs);
        // Another process, which has never held it, and does not now.
        let (standings, _running) = slot.standings();
        let top = standings.top(ended, TopCount::new(1000).unwrap(), Some(0)).await.unwrap();
        assert_eq!((top.version, top.users, top.standings), (0, users as u64, held.standings.first(1000)));
        for user in (1..=users + 1).step_by(if users > 100 { 37 } else { 1 }) {
            let user = UserId::new(user).unwrap();
            assert_eq!(standings.position(ended, user, None).await, Ok((0, held.standings.of(user))));
        }
        assert_eq!(standings.campaigns(), []);
        // A late purchase: what is settled counts no more.
        sqlx::query("UPDATE campaign_results SET version = version + 1 WHERE campaign_id = $1")
            .bind(ended.get())
            .execute(&mut slot.test.connect().await.unwrap())
            .await
            .unwrap();
        assert_eq!(standings.top(ended, TopCount::new(1).unwrap(), None).await.unwrap().version, 1);
        assert_eq!(standings.campaigns(), [ended]);
    }
}

#[tokio::test]
async fn beyond_the_users_that_may_be_held_the_campaign_that_was_asked_for_least_recently_leaves_memory() {
    let slot = Slot::new().await;
    let (first, second) = (slot.campaign(10, -60.0, 60.0).await, slot.campaign(10, -60.0, 60.0).await);
    let worker = worker(&slot);
    buy(&slot, [(1, 100), (2, 100), (3, 100)]).await;
    drop(worker);
    let (standings, _running) = slot.standings_within(LiveLimits::of_users(4));
    for campaign in [first, second] {
        assert_eq!(top(&standings, campaign, 0).await.len(), 3);
    }
    eventually("one is held", async || standings.campaigns().len() == 1).await;
    assert_eq!(top(&standings, first, 0).await, top(&standings, second, 0).await);
}
