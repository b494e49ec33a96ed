//! Any sequence of changes, cancellations and announcements, at any times: the catalogue and its events are what a small, obvious model says.
//! The database's clock stands still but for the model's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use campaigns::domain::{
    CampaignContent, CampaignCreation, CampaignId, CampaignState, CampaignTimes, ChangeError, ItemId, NewCampaign, TieRules,
};
use campaigns::store::{CampaignFilter, CampaignUpdate};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tenantry_kit::currency::Currency;
use tenantry_kit::time::UtcDateTime;

use crate::fixture::{Slot, euros};

/// 2030-01-01, in microseconds.
const BEGINNING: i64 = 1_893_456_000_000_000;
const SECOND: i64 = 1_000_000;

/// Times are seconds from when the operation is done.
#[derive(Debug, Clone)]
enum Operation {
    Create {
        start: i64,
        length: i64,
    },
    Change {
        campaign: usize,
        start: Option<i64>,
        end: Option<i64>,
    },
    Cancel {
        campaign: usize,
    },
    /// So many workers look at once.
    Announce {
        workers: usize,
    },
    Pass {
        seconds: i64,
    },
}

/// What a campaign should be. Times are microseconds since the beginning.
#[derive(Debug, Clone)]
struct Expected {
    id: CampaignId,
    start: i64,
    end: i64,
    is_cancelled: bool,
    never_ran: bool,
    events: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Done,
    Started,
    Over,
    Invalid,
}

impl Expected {
    fn is_over(&self, now: i64) -> bool {
        self.is_cancelled || now >= self.end || self.events.contains(&"End")
    }

    fn has_started(&self, now: i64) -> bool {
        now >= self.start || self.events.contains(&"Start")
    }

    fn state(&self, now: i64) -> CampaignState {
        match () {
            () if self.is_cancelled => CampaignState::Cancelled,
            () if self.is_over(now) => CampaignState::Ended,
            () if self.has_started(now) => CampaignState::Active,
            () => CampaignState::Scheduled,
        }
    }

    fn change(&mut self, start: i64, end: i64, now: i64) -> Outcome {
        if end <= start {
            return Outcome::Invalid;
        }
        if (start, end) == (self.start, self.end) {
            return Outcome::Done;
        }
        if self.is_over(now) {
            return Outcome::Over;
        }
        if self.has_started(now) && start != self.start {
            return Outcome::Started;
        }
        if end <= now {
            return Outcome::Invalid;
        }
        (self.start, self.end) = (start, end);
        Outcome::Done
    }

    fn cancel(&mut self, now: i64) -> Outcome {
        if self.is_cancelled {
            return Outcome::Done;
        }
        if self.is_over(now) {
            return Outcome::Over;
        }
        self.is_cancelled = true;
        if self.has_started(now) {
            self.end = now.max(self.start + 1);
        } else {
            self.never_ran = true;
        }
        Outcome::Done
    }

    fn announce(&mut self, now: i64) {
        if self.never_ran {
            return;
        }
        if now >= self.start && !self.events.contains(&"Start") {
            self.events.push("Start");
        }
        if now >= self.end && !self.events.contains(&"End") {
            self.events.push("End");
        }
    }
}

fn at(micros: i64) -> UtcDateTime {
    UtcDateTime::from_unix_micros(BEGINNING + micros).unwrap()
}

struct Run<'a> {
    slot: &'a Slot,
    now: i64,
    campaigns: Vec<Expected>,
}

impl Run<'_> {
    async fn apply(&mut self, operation: &Operation) {
        let now = self.now;
        match *operation {
            Operation::Create { start, length } => self.create(now + start * SECOND, now + (start + length) * SECOND).await,
            Operation::Change { campaign, start, end } if !self.campaigns.is_empty() => {
                let index = campaign % self.campaigns.len();
                let expected = &mut self.campaigns[index];
                let start = start.map_or(expected.start, |start| now + start * SECOND);
                let end = end.map_or(expected.end, |end| now + end * SECOND);
                let (id, outcome) = (expected.id, expected.change(start, end, now));
                let Ok(times) = CampaignTimes::new(at(start), at(end)) else { return assert_eq!(outcome, Outcome::Invalid) };
                let update = self.slot.store.update_campaign(id, |entry, now| {
                    let content = CampaignContent { times, ..entry.campaign.content() };
                    entry.changed(content, now)
                });
                assert_eq!(outcome_of(update.await.unwrap()), outcome, "{operation:?} at {now}");
            }
            Operation::Cancel { campaign } if !self.campaigns.is_empty() => {
                let index = campaign % self.campaigns.len();
                let expected = &mut self.campaigns[index];
                let (id, outcome) = (expected.id, expected.cancel(now));
                let update = self.slot.store.update_campaign(id, |entry, now| entry.cancelled(now)).await.unwrap();
                assert_eq!(outcome_of(update), outcome, "{operation:?} at {now}");
            }
            Operation::Announce { workers } => {
                let before: usize = self.events();
                let looks = (0..workers).map(|_| self.slot.store.announce_due());
                let announced: usize =
                    futures::future::join_all(looks).await.into_iter().map(|announcements| announcements.unwrap().appended).sum();
                self.campaigns.iter_mut().for_each(|campaign| campaign.announce(now));
                assert_eq!(announced, self.events() - before);
            }
            Operation::Pass { seconds } => self.pass(seconds * SECOND).await,
            Operation::Change { .. } | Operation::Cancel { .. } => {}
        }
    }

    async fn create(&mut self, start: i64, end: i64) {
        let new = NewCampaign {
            id: None,
            item_id: ItemId::new(10).unwrap(),
            prize: euros(100),
            currency: Currency::EUR,
            times: CampaignTimes::new(at(start), at(end)).unwrap(),
            ties: TieRules::default(),
        };
        let CampaignCreation::Created(entry) = self.slot.store.create_campaign(&new).await.unwrap() else { panic!("not created") };
        self.campaigns.push(Expected { id: entry.campaign.id, start, end, is_cancelled: false, never_ran: false, events: Vec::new() });
    }

    async fn pass(&mut self, micros: i64) {
        self.now += micros;
        let expression = format!("timestamptz '2030-01-01 00:00:00+00' + interval '{} microseconds'", self.now);
        self.slot.test.set_time(&expression).await.unwrap();
    }

    fn events(&self) -> usize {
        self.campaigns.iter().map(|campaign| campaign.events.len()).sum()
    }

    /// Compares every campaign, every list and every event with the model's.
    async fn compare(&self) {
        let store = &self.slot.store;
        let events = self.slot.events("campaigns_lifecycle").await;
        assert_eq!(events.len(), self.events());
        for expected in &self.campaigns {
            let (entry, now) = store.campaign(expected.id).await.unwrap().unwrap();
            assert_eq!(now, at(self.now));
            let times = entry.campaign.times;
            assert_eq!((times.start(), times.end(), entry.state(now)), (at(expected.start), at(expected.end), expected.state(self.now)));
            let id = expected.id.to_string();
            let of_campaign: Vec<&str> =
                events.iter().filter(|event| event["campaignId"] == id).map(|event| event["status"].as_str().unwrap()).collect();
            assert_eq!(of_campaign, expected.events, "{expected:?}");
        }
        let in_state = |state: CampaignState| -> Vec<CampaignId> {
            self.campaigns.iter().filter(|campaign| campaign.state(self.now) == state).map(|campaign| campaign.id).collect()
        };
        for state in [CampaignState::Scheduled, CampaignState::Active, CampaignState::Ended, CampaignState::Cancelled] {
            let filter = CampaignFilter { state: Some(state), item_id: None };
            let listed = store.campaigns(filter, None, 1000, at(self.now)).await.unwrap();
            assert_eq!(listed.iter().map(|entry| entry.campaign.id).collect::<Vec<_>>(), in_state(state));
        }
        let active = store.active_campaigns().await.unwrap();
        assert_eq!(active.campaigns.iter().map(|entry| entry.campaign.id).collect::<Vec<_>>(), in_state(CampaignState::Active));
    }
}

fn outcome_of(update: CampaignUpdate<ChangeError>) -> Outcome {
    match update {
        CampaignUpdate::Done(..) => Outcome::Done,
        CampaignUpdate::Refused(ChangeError::Started(_)) => Outcome::Started,
        CampaignUpdate::Refused(ChangeError::Ended | ChangeError::Cancelled) => Outcome::Over,
        CampaignUpdate::Refused(ChangeError::Invalid(_)) => Outcome::Invalid,
        CampaignUpdate::Unknown | CampaignUpdate::UnknownItem(_) => panic!("{update:?}"),
    }
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let seconds = || -3..6_i64;
    let operation = prop_oneof![
        3 => (seconds(), 1..6_i64).prop_map(|(start, length)| Operation::Create { start, length }),
        4 => (any::<usize>(), prop::option::of(seconds()), prop::option::of(seconds()))
            .prop_map(|(campaign, start, end)| Operation::Change { campaign, start, end }),
        1 => any::<usize>().prop_map(|campaign| Operation::Cancel { campaign }),
        4 => (1..4_usize).prop_map(|workers| Operation::Announce { workers }),
        5 => (1..4_i64).prop_map(|seconds| Operation::Pass { seconds }),
    ];
    prop::collection::vec(operation, 1..40)
}

async fn run(slot: &Slot, operations: &[Operation]) {
    let mut connection = slot.test.connect().await.unwrap();
    // no TRUNCATE with CASCADE: it would touch the winners, which nobody may
    let empty = "DELETE FROM campaign_results; DELETE FROM campaigns; DELETE FROM stream_events";
    sqlx::raw_sql(empty).execute(&mut connection).await.unwrap();
    let mut run = Run { slot, now: 0, campaigns: Vec::new() };
    run.pass(0).await;
    for operation in operations {
        run.apply(operation).await;
        run.compare().await;
    }
    // at last, each that ran has started and ended once, in this order, and no other has any event
    run.apply(&Operation::Pass { seconds: 100 }).await;
    run.apply(&Operation::Announce { workers: 2 }).await;
    run.compare().await;
    for campaign in &run.campaigns {
        let expected: &[&str] = if campaign.never_ran { &[] } else { &["Start", "End"] };
        assert_eq!(campaign.events, expected);
    }
}

#[test]
fn every_campaign_that_ran_starts_and_ends_once_whatever_is_changed_when() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let slot = runtime.block_on(Slot::new());
    let config = Config { cases: 32, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&operations(), |operations| {
            let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(&slot, &operations))));
            outcome.map_err(|_| TestCaseError::fail("the catalogue and the model differ, see above"))
        })
        .unwrap();
}
