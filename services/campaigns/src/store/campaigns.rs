//! The catalogue's SQL: what is written, what is active, what a purchase can count for.

use std::collections::HashMap;

use sqlx::PgConnection;
use tenantry_kit::currency::Currency;
use tenantry_kit::database::clock;
use tenantry_kit::stream::{NewEvent, append};
use tenantry_kit::time::UtcDateTime;

use super::events::{QualifiedPurchaseEvent, ResultsCalculationUpdateEvent};
use super::items::has_item;
use super::past_end::{forget_past_end, take_before_end};
use super::results::raise_versions;
use super::rows::{CampaignRow, EntryRow, campaign_columns, campaign_id, currency, entry_columns, prize_rule_name, rank_rule_name};
use super::{Store, StoreError};
use crate::domain::{ActiveCampaigns, Campaign, CampaignCreation, CampaignId, CatalogueEntry, ItemId, NewCampaign};

/// What came of changing a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CampaignUpdate<R> {
    /// There is no such campaign.
    Unknown,
    /// The catalogue has no such item.
    UnknownItem(ItemId),
    /// The caller's decision was against it.
    Refused(R),
    /// It is so, as of the time by which it was decided.
    Done(CatalogueEntry, UtcDateTime),
}

impl Store {
    /// Creates a campaign. Its id is the caller's or the next that is free.
    ///
    /// A purchase counts for the campaigns that exist when it is qualified, soon after it was accepted: a campaign that is created
    /// after that, though its times begin before, does not count it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_campaign(&self, new: &NewCampaign) -> Result<CampaignCreation, StoreError> {
        let mut transaction = self.database.begin().await?;
        if !has_item(&mut transaction, new.item_id).await? {
            return Ok(CampaignCreation::UnknownItem(new.item_id));
        }
        let entry = match new.id {
            None => insert_with_free_id(&mut transaction, new).await?,
            Some(id) => match insert(&mut transaction, new).await? {
                Some(entry) => entry,
                None => {
                    let (existing, _) = select(&mut transaction, id).await?.ok_or_else(vanished)?;
                    let is_same = new.is_same_as(&existing.campaign);
                    return Ok(if is_same { CampaignCreation::Existing(existing) } else { CampaignCreation::Conflict(existing) });
                }
            },
        };
        let id = entry.campaign.id.get();
        sqlx::query("INSERT INTO campaign_results (campaign_id) VALUES ($1)").bind(id).execute(&mut *transaction).await?;
        raise_catalogue_version(&mut transaction).await?;
        transaction.commit().await?;
        Ok(CampaignCreation::Created(entry))
    }

    /// Changes a campaign to what `decide` makes of it, given the time by the database's clock. Nobody else changes or announces it meanwhile.
    /// `decide` returns it as it is to leave it so.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_campaign<R>(
        &self,
        id: CampaignId,
        decide: impl FnOnce(&CatalogueEntry, UtcDateTime) -> Result<CatalogueEntry, R>,
    ) -> Result<CampaignUpdate<R>, StoreError> {
        let mut transaction = self.database.begin().await?;
        let row: Option<EntryRow> = sqlx::query_as(concat!("SELECT ", entry_columns!(), " FROM campaigns WHERE id = $1 FOR NO KEY UPDATE"))
            .bind(id.get())
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else { return Ok(CampaignUpdate::Unknown) };
        // after the lock, which may have had to wait
        let now = clock(&mut transaction).await?;
        let before = CatalogueEntry::try_from(row)?;
        let after = match decide(&before, now) {
            Err(refusal) => return Ok(CampaignUpdate::Refused(refusal)),
            Ok(after) if after == before => return Ok(CampaignUpdate::Done(after, now)),
            Ok(after) => after,
        };
        if !has_item(&mut transaction, after.campaign.item_id).await? {
            return Ok(CampaignUpdate::UnknownItem(after.campaign.item_id));
        }
        write(&mut transaction, &after, now).await?;
        raise_catalogue_version(&mut transaction).await?;
        if after.campaign.ties.ranks != before.campaign.ties.ranks {
            self.say_that_ranks_changed(&mut transaction, id).await?;
        }
        self.qualify_before_end(&mut transaction, &before.campaign, &after.campaign).await?;
        transaction.commit().await?;
        Ok(CampaignUpdate::Done(after, now))
    }

    /// What was dated past the end as it was counts if it is before the end as it is now.
    async fn qualify_before_end(&self, connection: &mut PgConnection, before: &Campaign, after: &Campaign) -> Result<(), StoreError> {
        if after.item_id != before.item_id {
            return forget_past_end(connection, after.id).await;
        }
        if after.times.end() <= before.times.end() {
            return Ok(());
        }
        let purchases = take_before_end(connection, after.id, after.times.end()).await?;
        let is_within = |purchase: &&QualifiedPurchaseEvent| after.times.contains(purchase.timestamp);
        let events = purchases.iter().filter(is_within).map(|purchase| NewEvent::new(purchase.user_id.get(), purchase));
        Ok(append(connection, &self.topics.qualified_purchase_events, &events.collect::<Result<Vec<_>, _>>()?).await?)
    }

    /// A purchase may be a little ahead of the start, and count: whoever holds the standings reads them again.
    async fn say_that_ranks_changed(&self, connection: &mut PgConnection, id: CampaignId) -> Result<(), StoreError> {
        let updates = raise_versions(connection, &[id.get()]).await?.into_iter().map(|(campaign_id, version, timestamp)| {
            NewEvent::new(campaign_id.get(), &ResultsCalculationUpdateEvent { campaign_id, timestamp, version, changes: None })
        });
        let updates = updates.collect::<Result<Vec<_>, _>>()?;
        Ok(append(connection, &self.topics.results_calculation_update_events, &updates).await?)
    }

    /// A campaign, and the time of reading it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn campaign(&self, id: CampaignId) -> Result<Option<(CatalogueEntry, UtcDateTime)>, StoreError> {
        select(&mut *self.database.acquire().await?, id).await
    }

    /// The campaigns that are active at this moment, by the database's clock.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn active_campaigns(&self) -> Result<ActiveCampaigns, StoreError> {
        let mut connection = self.database.acquire().await?;
        // The version first: what is read after it is at least as new.
        let (version, as_of): (i64, UtcDateTime) =
            sqlx::query_as("SELECT version, tenantry_now() FROM campaign_catalogue").fetch_one(&mut *connection).await?;
        let rows: Vec<EntryRow> = sqlx::query_as(concat!(
            "SELECT ",
            entry_columns!(),
            " FROM campaigns
             WHERE (starts_at <= $1 OR start_announced_at IS NOT NULL) AND ends_at > $1 AND end_announced_at IS NULL AND cancelled_at IS NULL
             ORDER BY id"
        ))
        .bind(as_of)
        .fetch_all(&mut *connection)
        .await?;
        let campaigns = rows.into_iter().map(CatalogueEntry::try_from).collect::<Result<_, _>>()?;
        Ok(ActiveCampaigns { version, as_of, campaigns })
    }
}

/// The campaigns of these items that run at some time from `first` to `last`, by item. One that was cancelled before its start never ran.
pub(crate) async fn qualifying_campaigns(
    connection: &mut PgConnection,
    items: &[i64],
    first: UtcDateTime,
    last: UtcDateTime,
) -> Result<HashMap<ItemId, Vec<Campaign>>, StoreError> {
    let rows: Vec<CampaignRow> = sqlx::query_as(concat!(
        "SELECT ",
        campaign_columns!(),
        " FROM campaigns
         WHERE item_id = ANY ($1) AND starts_at <= $3 AND ends_at > $2 AND (cancelled_at IS NULL OR cancelled_at >= starts_at)
         ORDER BY id"
    ))
    .bind(items)
    .bind(first)
    .bind(last)
    .fetch_all(connection)
    .await?;
    let mut campaigns: HashMap<ItemId, Vec<Campaign>> = HashMap::new();
    for row in rows {
        let campaign = Campaign::try_from(row)?;
        campaigns.entry(campaign.item_id).or_default().push(campaign);
    }
    Ok(campaigns)
}

/// The currencies of the totals of these campaigns, as far as they exist.
pub(crate) async fn currencies_of(connection: &mut PgConnection, campaigns: &[i64]) -> Result<HashMap<CampaignId, Currency>, StoreError> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, currency FROM campaigns WHERE id = ANY ($1)").bind(campaigns).fetch_all(connection).await?;
    rows.into_iter().map(|(id, code)| Ok((campaign_id(id)?, currency(&code)?))).collect()
}

pub(super) async fn raise_catalogue_version(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE campaign_catalogue SET version = version + 1").execute(connection).await?;
    Ok(())
}

async fn select(connection: &mut PgConnection, id: CampaignId) -> Result<Option<(CatalogueEntry, UtcDateTime)>, StoreError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        entry: EntryRow,
        as_of: UtcDateTime,
    }
    let row: Option<Row> = sqlx::query_as(concat!("SELECT ", entry_columns!(), ", tenantry_now() AS as_of FROM campaigns WHERE id = $1"))
        .bind(id.get())
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok((row.entry.try_into()?, row.as_of))).transpose()
}

/// Inserts with the caller's id; `None` if it is taken.
async fn insert(connection: &mut PgConnection, new: &NewCampaign) -> Result<Option<CatalogueEntry>, StoreError> {
    let row: Option<EntryRow> = sqlx::query_as(concat!(
        "INSERT INTO campaigns (id, item_id, prize, prize_currency, currency, starts_at, ends_at, ranks, prize_rule)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING
         RETURNING ",
        entry_columns!()
    ))
    .bind(new.id.map(CampaignId::get))
    .bind(new.item_id.get())
    .bind(new.prize.value())
    .bind(new.prize.currency().code())
    .bind(new.currency.code())
    .bind(new.times.start())
    .bind(new.times.end())
    .bind(rank_rule_name(new.ties.ranks))
    .bind(prize_rule_name(new.ties.prize))
    .fetch_optional(connection)
    .await?;
    row.map(CatalogueEntry::try_from).transpose()
}

/// Inserts with the next id that no caller has chosen.
async fn insert_with_free_id(connection: &mut PgConnection, new: &NewCampaign) -> Result<CatalogueEntry, StoreError> {
    loop {
        let row: Option<EntryRow> = sqlx::query_as(concat!(
            "INSERT INTO campaigns (item_id, prize, prize_currency, currency, starts_at, ends_at, ranks, prize_rule)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING
             RETURNING ",
            entry_columns!()
        ))
        .bind(new.item_id.get())
        .bind(new.prize.value())
        .bind(new.prize.currency().code())
        .bind(new.currency.code())
        .bind(new.times.start())
        .bind(new.times.end())
        .bind(rank_rule_name(new.ties.ranks))
        .bind(prize_rule_name(new.ties.prize))
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = row {
            return row.try_into();
        }
    }
}

/// Writes what can change. What is settled by now and was not is settled at `now`.
async fn write(connection: &mut PgConnection, entry: &CatalogueEntry, now: UtcDateTime) -> Result<(), StoreError> {
    let campaign = &entry.campaign;
    sqlx::query(
        "UPDATE campaigns SET item_id = $2, prize = $3, prize_currency = $4, starts_at = $5, ends_at = $6, version = $7, cancelled_at = $8,
             start_announced_at = CASE WHEN $9 THEN coalesce(start_announced_at, $11) END,
             end_announced_at = CASE WHEN $10 THEN coalesce(end_announced_at, $11) END, ranks = $12, prize_rule = $13
         WHERE id = $1",
    )
    .bind(campaign.id.get())
    .bind(campaign.item_id.get())
    .bind(campaign.prize.value())
    .bind(campaign.prize.currency().code())
    .bind(campaign.times.start())
    .bind(campaign.times.end())
    .bind(entry.version)
    .bind(entry.cancelled_at)
    .bind(entry.start_is_settled)
    .bind(entry.end_is_settled)
    .bind(now)
    .bind(rank_rule_name(campaign.ties.ranks))
    .bind(prize_rule_name(campaign.ties.prize))
    .execute(connection)
    .await?;
    Ok(())
}

fn vanished() -> StoreError {
    StoreError::Row { what: "a campaign", reason: "it is not there although its id is taken".to_owned() }
}
