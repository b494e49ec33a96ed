//! Campaigns: one item, a prize, a start (inclusive) and an end (exclusive).

use tenantry_kit::currency::Currency;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::{CampaignContent, CampaignId, CatalogueEntry, ItemId, Purchase, TieRules};

/// When a campaign runs: from its start, inclusive, to its end, exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CampaignTimes {
    start: UtcDateTime,
    end: UtcDateTime,
}

/// Why a campaign is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CampaignError {
    /// It would never be active.
    #[error("the campaign would end before or as it starts: set endDateTime to a time after startDateTime")]
    EndsBeforeStart,
    /// It could never have a purchase.
    #[error("the campaign would have ended already: set endDateTime to a time in the future")]
    EndedAlready,
    /// There would be nothing to win.
    #[error("the prize must be more than zero")]
    PrizeNotPositive,
}

impl CampaignTimes {
    /// A span of time that is not empty.
    ///
    /// # Errors
    /// When `end` is not after `start`.
    pub fn new(start: UtcDateTime, end: UtcDateTime) -> Result<Self, CampaignError> {
        if end > start { Ok(Self { start, end }) } else { Err(CampaignError::EndsBeforeStart) }
    }

    /// The first moment.
    pub fn start(&self) -> UtcDateTime {
        self.start
    }

    /// The first moment after it.
    pub fn end(&self) -> UtcDateTime {
        self.end
    }

    /// Whether `moment` is within.
    pub fn contains(&self, moment: UtcDateTime) -> bool {
        self.start <= moment && moment < self.end
    }
}

/// A campaign that is to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCampaign {
    /// Its id if the caller has chosen one; creating it again is then answered alike.
    pub id: Option<CampaignId>,
    /// The item whose purchases count.
    pub item_id: ItemId,
    /// What the winner gets.
    pub prize: Money,
    /// The currency of its totals, fixed from now on.
    pub currency: Currency,
    /// When it runs.
    pub times: CampaignTimes,
    /// What it does with ties.
    pub ties: TieRules,
}

impl NewCampaign {
    /// What its caller has written, apart from its id.
    #[must_use]
    pub fn content(&self) -> CampaignContent {
        CampaignContent { item_id: self.item_id, prize: self.prize, times: self.times, ties: self.ties }
    }

    /// Whether `campaign` is what this would create: asked when its id exists already. The currency is not compared, since
    /// the slot decides it and not the caller.
    pub fn is_same_as(&self, campaign: &Campaign) -> bool {
        self.id.is_none_or(|id| id == campaign.id) && self.content() == campaign.content()
    }
}

/// A campaign in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its identity.
    pub id: CampaignId,
    /// The item whose purchases count.
    pub item_id: ItemId,
    /// What the winner gets.
    pub prize: Money,
    /// The currency of its totals.
    pub currency: Currency,
    /// When it runs.
    pub times: CampaignTimes,
    /// What it does with ties.
    pub ties: TieRules,
}

impl Campaign {
    /// What a caller has written of it.
    #[must_use]
    pub fn content(&self) -> CampaignContent {
        CampaignContent { item_id: self.item_id, prize: self.prize, times: self.times, ties: self.ties }
    }

    /// Whether a purchase concerns this campaign: its item, made while the campaign ran.
    pub fn qualifies(&self, purchase: &Purchase) -> bool {
        purchase.item_id == self.item_id && self.times.contains(purchase.timestamp)
    }
}

/// What came of creating a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CampaignCreation {
    /// It was created.
    Created(CatalogueEntry),
    /// It existed already, with the same content.
    Existing(CatalogueEntry),
    /// Its id belongs to a campaign with other content, this one.
    Conflict(CatalogueEntry),
    /// The catalogue has no such item.
    UnknownItem(ItemId),
}

/// The campaigns that are active at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveCampaigns {
    /// Grows with every change of the catalogue.
    pub version: i64,
    /// The moment, by the database's clock.
    pub as_of: UtcDateTime,
    /// In order of their ids.
    pub campaigns: Vec<CatalogueEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EventId;
    use rust_decimal::Decimal;

    fn at(text: &str) -> UtcDateTime {
        text.parse().unwrap()
    }

    fn campaign() -> Campaign {
        Campaign {
            id: CampaignId::new(1).unwrap(),
            item_id: ItemId::new(10).unwrap(),
            prize: Money::new(Decimal::ONE, Currency::EUR).unwrap(),
            currency: Currency::EUR,
            times: CampaignTimes::new(at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z")).unwrap(),
            ties: TieRules::default(),
        }
    }

    fn purchase(item: i64, timestamp: &str) -> Purchase {
        Purchase {
            event_id: "e".parse::<EventId>().unwrap(),
            user_id: crate::domain::UserId::new(5).unwrap(),
            item_id: ItemId::new(item).unwrap(),
            amount: Money::new(Decimal::ONE, Currency::EUR).unwrap(),
            timestamp: at(timestamp),
        }
    }

    #[test]
    fn a_purchase_of_the_item_qualifies_from_the_start_to_before_the_end() {
        let campaign = campaign();
        assert!(campaign.qualifies(&purchase(10, "2026-01-01T00:00:00Z")));
        assert!(campaign.qualifies(&purchase(10, "2026-01-31T23:59:59.999999Z")));
        assert!(!campaign.qualifies(&purchase(10, "2026-02-01T00:00:00Z")));
        assert!(!campaign.qualifies(&purchase(10, "2025-12-31T23:59:59.999999Z")));
    }

    #[test]
    fn a_purchase_of_another_item_does_not_qualify_and_one_in_another_currency_does() {
        let campaign = campaign();
        assert!(!campaign.qualifies(&purchase(11, "2026-01-15T00:00:00Z")));
        let mut dollars = purchase(10, "2026-01-15T00:00:00Z");
        dollars.amount = Money::new(Decimal::ONE, "USD".parse().unwrap()).unwrap();
        assert!(campaign.qualifies(&dollars));
    }

    #[test]
    fn a_campaign_that_ends_before_or_as_it_starts_is_refused() {
        let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
        assert_eq!(CampaignTimes::new(late, early), Err(CampaignError::EndsBeforeStart));
        assert_eq!(CampaignTimes::new(early, early), Err(CampaignError::EndsBeforeStart));
    }

    #[test]
    fn a_campaign_that_has_ended_or_has_no_prize_is_refused() {
        let Campaign { id, item_id, prize, currency, times, ties } = campaign();
        let new = NewCampaign { id: Some(id), item_id, prize, currency, times, ties };
        assert_eq!(new.content().check(at("2026-01-15T00:00:00Z")), Ok(()));
        assert_eq!(new.content().check(at("2026-02-01T00:00:00Z")), Err(CampaignError::EndedAlready));
        let free = NewCampaign { prize: Money::new(Decimal::ZERO, Currency::EUR).unwrap(), ..new };
        assert_eq!(free.content().check(at("2026-01-15T00:00:00Z")), Err(CampaignError::PrizeNotPositive));
    }
}
