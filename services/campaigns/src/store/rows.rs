//! Rows as the database has them, and their way into the domain, where wrong values cannot be held.

use rust_decimal::Decimal;
use tenantry_kit::currency::Currency;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::StoreError;
use crate::domain::{Campaign, CampaignId, CampaignTimes, EventId, ItemId, UserId};

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
        })
    }
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

pub(super) fn currency(code: &str) -> Result<Currency, StoreError> {
    code.parse().map_err(invalid("a currency"))
}

pub(super) fn money(value: Decimal, currency: Currency) -> Result<Money, StoreError> {
    Money::new(value, currency).map_err(invalid("an amount of money"))
}

pub(super) fn invalid<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> StoreError {
    move |reason| StoreError::Row { what, reason: reason.to_string() }
}
