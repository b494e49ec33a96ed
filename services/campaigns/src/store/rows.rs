//! Rows as the database has them, and their way into the domain, where wrong values cannot be held.

use rust_decimal::Decimal;
use tenantry_kit::currency::Currency;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::StoreError;
use crate::domain::{Campaign, CampaignId, CampaignTimes, ItemId, PrizeRule, RankRule, TieRules, UserId};

/// The columns of [`CampaignRow`].
#[derive(Debug, sqlx::FromRow)]
pub(super) struct CampaignRow {
    id: i64,
    item_id: i64,
    prize: Decimal,
    prize_currency: String,
    currency: String,
    starts_at: UtcDateTime,
    ends_at: UtcDateTime,
    ranks: String,
    prize_rule: String,
}

impl TryFrom<CampaignRow> for Campaign {
    type Error = StoreError;

    fn try_from(row: CampaignRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: campaign_id(row.id)?,
            item_id: ItemId::new(row.item_id).map_err(invalid("an item's id"))?,
            prize: money(row.prize, currency(&row.prize_currency)?)?,
            currency: currency(&row.currency)?,
            times: CampaignTimes::new(row.starts_at, row.ends_at).map_err(invalid("a campaign's times"))?,
            ties: TieRules { ranks: rank_rule(&row.ranks)?, prize: prize_rule(&row.prize_rule)? },
        })
    }
}

pub(super) fn campaign_id(id: i64) -> Result<CampaignId, StoreError> {
    CampaignId::new(id).map_err(invalid("a campaign's id"))
}

pub(super) fn user_id(id: i64) -> Result<UserId, StoreError> {
    UserId::new(id).map_err(invalid("a user's id"))
}

/// How a rule is written in the column `ranks`.
pub(super) fn rank_rule_name(rule: RankRule) -> &'static str {
    match rule {
        RankRule::Strict => "strict",
        RankRule::Shared => "shared",
    }
}

pub(super) fn rank_rule(name: &str) -> Result<RankRule, StoreError> {
    let known = [RankRule::Strict, RankRule::Shared];
    known.into_iter().find(|rule| rank_rule_name(*rule) == name).ok_or(name).map_err(invalid("a rule for ranks"))
}

/// How a rule is written in the column `prize_rule`.
pub(super) fn prize_rule_name(rule: PrizeRule) -> &'static str {
    match rule {
        PrizeRule::First => "first",
        PrizeRule::Shared => "shared",
    }
}

fn prize_rule(name: &str) -> Result<PrizeRule, StoreError> {
    let known = [PrizeRule::First, PrizeRule::Shared];
    known.into_iter().find(|rule| prize_rule_name(*rule) == name).ok_or(name).map_err(invalid("a rule for the prize"))
}

pub(super) fn currency(code: &str) -> Result<Currency, StoreError> {
    code.parse().map_err(invalid("a currency"))
}

pub(super) fn money(value: Decimal, currency: Currency) -> Result<Money, StoreError> {
    Money::new(value, currency).map_err(invalid("an amount of money"))
}

pub(super) fn invalid<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> StoreError {
    move |reason| StoreError::Row { what, reason: reason.to_string() }
}
