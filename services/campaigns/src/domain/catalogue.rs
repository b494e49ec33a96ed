//! A campaign's life in the catalogue: what may be changed when.
//!
//! - **Scheduled**: everything may be changed. Cancelled now, it never was: nothing is announced, nothing counts.
//! - **Active**, since its start has passed or was announced: only the end may be moved, earlier or later, to a time in the future. Item, prize,
//!   start and what is done with ties are what people bought under. Cancelled now, it ends now, and has no winner.
//! - **Ended**, since its end has passed or was announced, or **cancelled**: nothing changes any more.
//!
//! The clock decides, not the announcement alone: while no worker runs, a start that has passed is as fixed as one that was announced.

use std::fmt;

use jiff::SignedDuration;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::{Campaign, CampaignError, CampaignTimes, ItemId, TieRules};

/// Where a campaign is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CampaignState {
    /// It has not started.
    Scheduled,
    /// It runs.
    Active,
    /// It ran to its end.
    Ended,
    /// It was cancelled, before its start or while it ran.
    Cancelled,
}

impl CampaignState {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for CampaignState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a caller may write of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CampaignContent {
    /// The item whose purchases count.
    pub item_id: ItemId,
    /// What the winner gets.
    pub prize: Money,
    /// When it runs.
    pub times: CampaignTimes,
    /// What it does with ties.
    pub ties: TieRules,
}

/// A campaign as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// The campaign.
    pub campaign: Campaign,
    /// Grows with every change that a caller makes.
    pub version: i64,
    /// When it was cancelled.
    pub cancelled_at: Option<UtcDateTime>,
    /// Whether its start was announced, or will never be.
    pub start_is_settled: bool,
    /// Whether its end was announced, or will never be.
    pub end_is_settled: bool,
}

/// Why a campaign is not changed or cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The new content is not valid.
    #[error(transparent)]
    Invalid(#[from] CampaignError),
    /// What is fixed by now would change.
    #[error(
        "the campaign has started, so its {0} is fixed: only endDateTime can be changed now; to have another, cancel this one and create a new one"
    )]
    Started(&'static str),
    /// It is over.
    #[error("the campaign has ended: nothing of it can be changed; create a new one")]
    Ended,
    /// It was cancelled.
    #[error("the campaign was cancelled: nothing of it can be changed; create a new one")]
    Cancelled,
}

impl CatalogueEntry {
    /// Where it is at `now`, a reading of the database's clock.
    #[must_use]
    pub fn state(&self, now: UtcDateTime) -> CampaignState {
        let times = self.campaign.times;
        if self.cancelled_at.is_some() {
            CampaignState::Cancelled
        } else if self.end_is_settled || times.end() <= now {
            CampaignState::Ended
        } else if self.start_is_settled || times.start() <= now {
            CampaignState::Active
        } else {
            CampaignState::Scheduled
        }
    }

    /// When it ended or will end; of one that was cancelled before its start, when that was.
    #[must_use]
    pub fn ends_at(&self) -> UtcDateTime {
        let end = self.campaign.times.end();
        self.cancelled_at.map_or(end, |cancelled_at| cancelled_at.min(end))
    }

    /// It with other content, in its next version; as it is if that is its content already.
    ///
    /// # Errors
    /// When the content is not valid, or its state at `now` does not allow the change.
    pub fn changed(&self, content: CampaignContent, now: UtcDateTime) -> Result<Self, ChangeError> {
        let current = self.campaign.content();
        if content == current {
            return Ok(self.clone());
        }
        match self.state(now) {
            CampaignState::Cancelled => return Err(ChangeError::Cancelled),
            CampaignState::Ended => return Err(ChangeError::Ended),
            CampaignState::Scheduled => {}
            CampaignState::Active if content.item_id != current.item_id => return Err(ChangeError::Started("itemId")),
            CampaignState::Active if content.prize != current.prize => return Err(ChangeError::Started("prize")),
            CampaignState::Active if content.times.start() != current.times.start() => {
                return Err(ChangeError::Started("startDateTime"));
            }
            CampaignState::Active if content.ties.ranks != current.ties.ranks => return Err(ChangeError::Started("ranks")),
            CampaignState::Active if content.ties.prize != current.ties.prize => return Err(ChangeError::Started("prizeRule")),
            CampaignState::Active => {}
        }
        content.check(now)?;
        let CampaignContent { item_id, prize, times, ties } = content;
        let campaign = Campaign { item_id, prize, times, ties, ..self.campaign.clone() };
        Ok(Self { campaign, version: self.version + 1, ..self.clone() })
    }

    /// It cancelled, in its next version; as it is if it was cancelled before.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cancelled(&self, now: UtcDateTime) -> Result<Self, ChangeError> {
        let mut cancelled = Self { version: self.version + 1, cancelled_at: Some(now), ..self.clone() };
        match self.state(now) {
            CampaignState::Cancelled => return Ok(self.clone()),
            CampaignState::Ended => return Err(ChangeError::Ended),
            CampaignState::Scheduled => {
                cancelled.start_is_settled = true;
                cancelled.end_is_settled = true;
            }
            CampaignState::Active => {
                let start = self.campaign.times.start();
                // it ran, if only for a moment
                let end = now.max(start.saturating_add(SignedDuration::from_micros(1)));
                cancelled.campaign.times = CampaignTimes::new(start, end)?;
            }
        }
        Ok(cancelled)
    }
}

impl CampaignContent {
    /// Checks what can be known without the catalogue; `now` is the database's clock.
    ///
    /// # Errors
    /// When the prize is not positive or the campaign would have ended already.
    pub fn check(&self, now: UtcDateTime) -> Result<(), CampaignError> {
        if !self.prize.is_positive() {
            return Err(CampaignError::PrizeNotPositive);
        }
        if self.times.end() <= now {
            return Err(CampaignError::EndedAlready);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use tenantry_kit::currency::Currency;

    use super::*;
    use crate::domain::{CampaignId, PrizeRule, RankRule};

    const SHARED: TieRules = TieRules { ranks: RankRule::Shared, prize: PrizeRule::Shared };

    /// Seconds after the epoch.
    fn at(seconds: i64) -> UtcDateTime {
        UtcDateTime::from_unix_micros(seconds * 1_000_000).unwrap()
    }

    fn content(item: i64, prize: i64, start: i64, end: i64) -> CampaignContent {
        CampaignContent {
            item_id: ItemId::new(item).unwrap(),
            prize: Money::new(Decimal::from(prize), Currency::EUR).unwrap(),
            times: CampaignTimes::new(at(start), at(end)).unwrap(),
            ties: TieRules::default(),
        }
    }

    /// From 100 to 200.
    fn entry() -> CatalogueEntry {
        let CampaignContent { item_id, prize, times, ties } = content(1, 5, 100, 200);
        CatalogueEntry {
            campaign: Campaign { id: CampaignId::new(1).unwrap(), item_id, prize, currency: Currency::EUR, times, ties },
            version: 1,
            cancelled_at: None,
            start_is_settled: false,
            end_is_settled: false,
        }
    }

    #[test]
    fn the_state_follows_the_clock_and_never_falls_behind_what_was_announced() {
        let entry = entry();
        assert_eq!(entry.state(at(99)), CampaignState::Scheduled);
        assert_eq!(entry.state(at(100)), CampaignState::Active);
        assert_eq!(entry.state(at(199)), CampaignState::Active);
        assert_eq!(entry.state(at(200)), CampaignState::Ended);
        let announced = CatalogueEntry { start_is_settled: true, ..entry };
        assert_eq!(announced.state(at(99)), CampaignState::Active);
        assert_eq!(CatalogueEntry { end_is_settled: true, ..announced }.state(at(99)), CampaignState::Ended);
    }

    #[test]
    fn before_its_start_everything_can_be_changed() {
        let changed = entry().changed(content(2, 6, 50, 300), at(99)).unwrap();
        assert_eq!((changed.campaign.content(), changed.version), (content(2, 6, 50, 300), 2));
        let shared = CampaignContent { ties: SHARED, ..content(1, 5, 100, 200) };
        assert_eq!(entry().changed(shared, at(99)).unwrap().campaign.ties, SHARED);
        assert_eq!(entry().changed(content(1, 5, 10, 20), at(99)), Err(CampaignError::EndedAlready.into()));
        assert_eq!(entry().changed(content(1, 0, 100, 200), at(99)), Err(CampaignError::PrizeNotPositive.into()));
    }

    #[test]
    fn while_it_runs_only_the_end_can_be_moved_and_not_into_the_past() {
        let now = at(150);
        assert_eq!(entry().changed(content(1, 5, 100, 300), now).unwrap().campaign.times.end(), at(300));
        assert_eq!(entry().changed(content(1, 5, 100, 151), now).unwrap().campaign.times.end(), at(151));
        assert_eq!(entry().changed(content(1, 5, 100, 150), now), Err(CampaignError::EndedAlready.into()));
        assert_eq!(entry().changed(content(2, 5, 100, 300), now), Err(ChangeError::Started("itemId")));
        assert_eq!(entry().changed(content(1, 6, 100, 300), now), Err(ChangeError::Started("prize")));
        assert_eq!(entry().changed(content(1, 5, 160, 300), now), Err(ChangeError::Started("startDateTime")));
        for (ties, member) in [
            (TieRules { ranks: RankRule::Shared, ..TieRules::default() }, "ranks"),
            (TieRules { prize: PrizeRule::Shared, ..TieRules::default() }, "prizeRule"),
        ] {
            let content = CampaignContent { ties, ..content(1, 5, 100, 200) };
            assert_eq!(entry().changed(content, now), Err(ChangeError::Started(member)));
        }
    }

    #[test]
    fn an_announced_start_is_fixed_whatever_the_clock_says() {
        let announced = CatalogueEntry { start_is_settled: true, ..entry() };
        assert_eq!(announced.changed(content(1, 5, 110, 200), at(99)), Err(ChangeError::Started("startDateTime")));
    }

    #[test]
    fn after_its_end_nothing_can_be_changed_and_it_cannot_be_cancelled() {
        assert_eq!(entry().changed(content(1, 5, 100, 300), at(200)), Err(ChangeError::Ended));
        assert_eq!(entry().cancelled(at(200)), Err(ChangeError::Ended));
        assert_eq!(entry().changed(content(1, 5, 100, 200), at(200)), Ok(entry()), "its own content changes nothing");
    }

    #[test]
    fn cancelled_before_its_start_it_is_never_announced() {
        let cancelled = entry().cancelled(at(50)).unwrap();
        assert!(cancelled.start_is_settled && cancelled.end_is_settled);
        assert_eq!((cancelled.state(at(150)), cancelled.ends_at()), (CampaignState::Cancelled, at(50)));
        assert_eq!(cancelled.campaign.times, entry().campaign.times);
    }

    #[test]
    fn cancelled_while_it_runs_it_ends_at_once_and_its_end_is_still_to_be_announced() {
        let cancelled = entry().cancelled(at(150)).unwrap();
        assert_eq!((cancelled.state(at(150)), cancelled.ends_at()), (CampaignState::Cancelled, at(150)));
        assert_eq!(cancelled.campaign.times.end(), at(150));
        assert!(!cancelled.end_is_settled);
        let at_its_first_moment = entry().cancelled(at(100)).unwrap();
        assert!(at_its_first_moment.campaign.times.end() > at(100));
    }

    #[test]
    fn a_cancelled_campaign_stays_as_it_is() {
        let cancelled = entry().cancelled(at(150)).unwrap();
        assert_eq!(cancelled.cancelled(at(160)), Ok(cancelled.clone()));
        assert_eq!(cancelled.changed(content(1, 5, 100, 300), at(160)), Err(ChangeError::Cancelled));
    }
}
