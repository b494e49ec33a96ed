//! Purchases dated past a campaign's end that were accepted before it: kept until the end has come, and qualified if it is moved past them.

use std::collections::HashMap;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::time::UtcDateTime;

use super::events::QualifiedPurchaseEvent;
use super::rows::{campaign_id, currency, event_id, item_id, money, user_id};
use super::{Store, StoreError};
use crate::domain::{CampaignId, ItemId};

/// Keeps purchases, each for the campaign that it names.
pub(crate) async fn keep_past_end(connection: &mut PgConnection, purchases: &[QualifiedPurchaseEvent]) -> Result<(), StoreError> {
    if purchases.is_empty() {
        return Ok(());
    }
    let numbers = |value: fn(&QualifiedPurchaseEvent) -> i64| purchases.iter().map(value).collect::<Vec<i64>>();
    let events: Vec<&str> = purchases.iter().map(|purchase| purchase.event_id.as_ref().map_or("", |id| id.as_str())).collect();
    let amounts: Vec<Decimal> = purchases.iter().map(|purchase| purchase.amount.value()).collect();
    let currencies: Vec<&str> = purchases.iter().map(|purchase| purchase.amount.currency().code()).collect();
    let times: Vec<UtcDateTime> = purchases.iter().map(|purchase| purchase.timestamp).collect();
    sqlx::query(
        "INSERT INTO purchases_past_end (campaign_id, arrival, event_id, user_id, amount, currency, purchased_at)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::numeric[], $6::text[], $7::timestamptz[])",
    )
    .bind(numbers(|purchase| purchase.campaign_id.get()))
    .bind(numbers(|purchase| purchase.arrival))
    .bind(&events)
    .bind(numbers(|purchase| purchase.user_id.get()))
    .bind(&amounts)
    .bind(&currencies)
    .bind(&times)
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    event_id: String,
    user_id: i64,
    amount: Decimal,
    currency: String,
    purchased_at: UtcDateTime,
    arrival: i64,
}

/// Takes out the purchases that are dated before the end that the campaign has now, in the order of their acceptance: they are the caller's to qualify, in the same transaction, in
/// which the campaign is locked.
pub(super) async fn take_before_end(
    connection: &mut PgConnection,
    campaign: CampaignId,
    end: UtcDateTime,
) -> Result<Vec<QualifiedPurchaseEvent>, StoreError> {
    let mut rows: Vec<Row> = sqlx::query_as(
        "DELETE FROM purchases_past_end WHERE campaign_id = $1 AND purchased_at < $2
         RETURNING event_id, user_id, amount, currency, purchased_at, arrival",
    )
    .bind(campaign.get())
    .bind(end)
    .fetch_all(connection)
    .await?;
    rows.sort_unstable_by_key(|row| row.arrival);
    rows.into_iter()
        .map(|row| {
            Ok(QualifiedPurchaseEvent {
                event_id: Some(event_id(&row.event_id)?),
                user_id: user_id(row.user_id)?,
                campaign_id: campaign,
                amount: money(row.amount, currency(&row.currency)?)?,
                timestamp: row.purchased_at,
                arrival: row.arrival,
            })
        })
        .collect()
}

/// Forgets those of a campaign, which is for another item now.
pub(super) async fn forget_past_end(connection: &mut PgConnection, campaign: CampaignId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM purchases_past_end WHERE campaign_id = $1").bind(campaign.get()).execute(connection).await?;
    Ok(())
}

/// Items and ends of these campaigns as they are now; nobody changes them until the transaction ends.
pub(crate) async fn lock_ends(
    connection: &mut PgConnection,
    campaigns: &[i64],
) -> Result<HashMap<CampaignId, (ItemId, UtcDateTime)>, StoreError> {
    let rows: Vec<(i64, i64, UtcDateTime)> =
        sqlx::query_as("SELECT id, item_id, ends_at FROM campaigns WHERE id = ANY ($1) ORDER BY id FOR SHARE")
            .bind(campaigns)
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(|(id, item, end)| Ok((campaign_id(id)?, (item_id(item)?, end)))).collect()
}

impl Store {
    /// Deletes purchases whose campaign's end has come, at most `limit` of them; how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_past_end(&self, limit: u32) -> Result<u64, StoreError> {
        let mut connection = self.database.acquire().await?;
        Ok(sqlx::query(
            "DELETE FROM purchases_past_end WHERE (campaign_id, arrival) IN (
                 SELECT kept.campaign_id, kept.arrival FROM purchases_past_end kept JOIN campaigns ON campaigns.id = kept.campaign_id
                 WHERE campaigns.end_announced_at IS NOT NULL LIMIT $1)",
        )
        .bind(i64::from(limit))
        .persistent(false)
        .execute(&mut *connection)
        .await?
        .rows_affected())
    }
}
