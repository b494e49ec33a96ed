//! Rows as the database has them, and their way into the domain, where wrong values cannot be held.

use rust_decimal::Decimal;
use tenantry_kit::currency::Currency;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::StoreError;
use crate::domain::{Campaign, CampaignId, CampaignTimes, CatalogueEntry, EventId, ItemId, PrizeRule, RankRule, TieRules, UserId};

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
            item_id: item_id(row.item_id)?,
            prize: money(row.prize, currency(&row.prize_currency)?)?,
            currency: currency(&row.currency)?,
            times: CampaignTimes::new(row.starts_at, row.ends_at).map_err(invalid("a campaign's times"))?,
            ties: TieRules { ranks: rank_rule(&row.ranks)?, prize: prize_rule(&row.prize_rule)? },
        })
    }
}

/// The columns of [`CampaignRow`], of the table `campaigns`.
macro_rules! campaign_columns {
    () => {
        "campaigns.id, campaigns.item_id, campaigns.prize, campaigns.prize_currency, campaigns.currency, campaigns.starts_at, campaigns.ends_at,
         campaigns.ranks, campaigns.prize_rule"
    };
}
pub(super) use campaign_columns;

/// The columns of [`EntryRow`], of the table `campaigns`.
macro_rules! entry_columns {
    () => {
        concat!(
            $crate::store::rows::campaign_columns!(),
            ", campaigns.version, campaigns.cancelled_at, campaigns.start_announced_at IS NOT NULL AS start_is_settled,
             campaigns.end_announced_at IS NOT NULL AS end_is_settled"
        )
    };
}
pub(super) use entry_columns;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct EntryRow {
    #[sqlx(flatten)]
    campaign: CampaignRow,
    version: i64,
    cancelled_at: Option<UtcDateTime>,
    start_is_settled: bool,
    end_is_settled: bool,
}

impl TryFrom<EntryRow> for CatalogueEntry {
    type Error = StoreError;

    fn try_from(row: EntryRow) -> Result<Self, StoreError> {
        let EntryRow { campaign, version, cancelled_at, start_is_settled, end_is_settled } = row;
        Ok(Self { campaign: campaign.try_into()?, version, cancelled_at, start_is_settled, end_is_settled })
    }
}

pub(super) fn item_id(id: i64) -> Result<ItemId, StoreError> {
    ItemId::new(id).map_err(invalid("an item's id"))
}

pub(super) fn campaign_id(id: i64) -> Result<CampaignId, StoreError> {
    CampaignId::new(id).map_err(invalid("a campaign's id"))
}

pub(super) fn user_id(id: i64) -> Result<UserId, StoreError> {
    UserId::new(id).map_err(invalid("a user's id"))
}

pub(super) fn event_id(id: &str) -> Result<EventId, StoreError> {
    id.parse().map_err(invalid("an event id"))
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

pub(super) fn prize_rule(name: &str) -> Result<PrizeRule, StoreError> {
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
