//! What is in the topics, in the shape of the document: its fields, and those without which it could not be exact.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use crate::domain::{CampaignId, EventId, ItemId, Purchase, Reached, Total, UserId};

/// Topic `campaigns_lifecycle`, by campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CampaignLifecycleEvent {
    /// Which campaign.
    pub campaign_id: CampaignId,
    /// What happened to it.
    pub status: CampaignStatus,
}

/// What happens to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CampaignStatus {
    /// It starts.
    Start,
    /// It ends.
    End,
}

/// Topic `purchase_events`, by user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PurchaseEvent {
    /// The caller's identity of the purchase.
    pub event_id: EventId,
    /// Who bought.
    pub user_id: UserId,
    /// What was bought.
    pub item_id: ItemId,
    /// What was spent.
    pub amount: Money,
    /// When, by the shop's clock.
    pub timestamp: UtcDateTime,
    /// Its number in the order of acceptance.
    pub arrival: i64,
}

impl PurchaseEvent {
    pub(super) fn new(purchase: &Purchase, arrival: i64) -> Self {
        let Purchase { event_id, user_id, item_id, amount, timestamp } = purchase.clone();
        Self { event_id, user_id, item_id, amount, timestamp, arrival }
    }

    /// The purchase and its number in the order of acceptance.
    #[must_use]
    pub fn into_purchase(self) -> (Purchase, i64) {
        let Self { event_id, user_id, item_id, amount, timestamp, arrival } = self;
        (Purchase { event_id, user_id, item_id, amount, timestamp }, arrival)
    }
}

/// Topic `qualified_purchase_events`, by user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QualifiedPurchaseEvent {
    /// The caller's identity of the purchase; former releases left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// Who bought.
    pub user_id: UserId,
    /// For which campaign it counts.
    pub campaign_id: CampaignId,
    /// What was spent, in the currency of the purchase.
    pub amount: Money,
    /// When, by the shop's clock.
    pub timestamp: UtcDateTime,
    /// The purchase's number in the order of acceptance.
    pub arrival: i64,
}

/// Topic `results_calculation_update_events`, by campaign: one for all changes of one transaction, in the order of versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultsCalculationUpdateEvent {
    /// Which campaign's totals changed.
    pub campaign_id: CampaignId,
    /// When, by the database's clock.
    pub timestamp: UtcDateTime,
    /// The version that the results have since: the one before and one.
    pub version: i64,
    /// The totals that changed, each user once. Absent when that is not all, as when the campaign's rule for ranks changes, and in events of an older
    /// release: what is kept from the events is then to be read anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ChangedTotal>>,
}

/// A user's new total, as a list, since there are many: user, total in the campaign's currency, when and by which purchase it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedTotal(UserId, Decimal, UtcDateTime, i64);

impl From<Total> for ChangedTotal {
    fn from(total: Total) -> Self {
        Self(total.user_id, total.total, total.reached.at, total.reached.arrival)
    }
}

impl From<ChangedTotal> for Total {
    fn from(ChangedTotal(user_id, total, at, arrival): ChangedTotal) -> Self {
        Self { user_id, total, reached: Reached { at, arrival } }
    }
}
