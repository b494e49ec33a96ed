//! Purchases that concern a campaign and do not count for it, with the reason.

use tenantry_kit::money::Money;
use tenantry_kit::queue::DeadLetterReason;
use tenantry_kit::time::UtcDateTime;

use super::{CampaignId, EventId, UserId};

/// It was accepted after the campaign's end and grace.
pub const TOO_LATE: DeadLetterReason = DeadLetterReason::new("too_late");
/// In the campaign's currency it is less than half of the smallest unit.
pub const WORTH_NOTHING: DeadLetterReason = DeadLetterReason::new("worth_nothing");
/// In the campaign's currency it is more than totals can be made of.
pub const TOO_LARGE: DeadLetterReason = DeadLetterReason::new("too_large");

/// All reasons.
pub const REASONS: [DeadLetterReason; 3] = [TOO_LATE, WORTH_NOTHING, TOO_LARGE];

/// A purchase that does not count for a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseDeadLetter {
    /// Why, in a word.
    pub reason: DeadLetterReason,
    /// Why, in a sentence.
    pub detail: String,
    /// For which campaign.
    pub campaign_id: CampaignId,
    /// The purchase, by the caller's identity of it.
    pub event_id: Option<EventId>,
    /// Who bought.
    pub user_id: UserId,
    /// What was spent.
    pub amount: Money,
    /// When, by the shop's clock.
    pub timestamp: UtcDateTime,
    /// The purchase's number in the order of acceptance.
    pub arrival: i64,
}

/// A dead letter as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDeadLetter {
    /// Its number; later ones have larger numbers.
    pub id: i64,
    /// When it became one, by the database's clock.
    pub at: UtcDateTime,
    /// What it is.
    pub letter: PurchaseDeadLetter,
}
