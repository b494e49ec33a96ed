//! The payment of a prize: what the receiver is told, and how far it is.

use serde::{Deserialize, Serialize};
use tenantry_kit::money::Money;
use tenantry_kit::queue::{DeadLetterReason, MessageId};
use tenantry_kit::time::UtcDateTime;

use super::{CampaignId, UserId, Winner};

/// The receiver refused the payment: what it was sent will not be better the next time.
pub const REFUSED: DeadLetterReason = DeadLetterReason::new("refused");
/// Why a payment can be a dead letter.
pub const REASONS: [DeadLetterReason; 4] =
    [REFUSED, DeadLetterReason::DELIVERY_LIMIT, DeadLetterReason::EXPIRED, DeadLetterReason::UNREADABLE];

/// Whether winners are paid as soon as they are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prizes {
    /// Somebody has to ask for it.
    Held,
    /// By the webhook.
    Paid,
}

/// What is to be paid to whom: the content of a message, which never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PaymentOrder {
    /// The campaign that was won.
    pub campaign_id: CampaignId,
    /// When its winners were fixed.
    pub won_at: UtcDateTime,
    /// Who has won.
    pub user_id: UserId,
    /// The place on the leaderboard, counted from 0.
    pub position: usize,
    /// What the user gets.
    pub prize: Money,
}

impl PaymentOrder {
    /// The order to pay a winner.
    #[must_use]
    pub fn new(campaign_id: CampaignId, won_at: UtcDateTime, winner: &Winner) -> Self {
        let Winner { user_id, position, prize, total: _ } = *winner;
        Self { campaign_id, won_at, user_id, position, prize }
    }
}

/// How many prizes are not paid, each as far as 100,000.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnpaidPrizes {
    /// Nobody has asked for it.
    pub held: i64,
    /// Not paid yet.
    pub waiting: i64,
    /// Tried no more.
    pub dead: i64,
}

/// How far the payment of a prize is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentState {
    /// Nobody has asked for it yet.
    Held,
    /// It is tried until it succeeds, or is a dead letter.
    Waiting(MessageId),
    /// It is tried no more, unless somebody asks for it.
    DeadLettered(MessageId, DeadLetterReason),
    /// The receiver has taken it.
    Paid(MessageId, UtcDateTime),
}
