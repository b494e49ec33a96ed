//! The catalogue's SQL.

use std::collections::HashMap;

use sqlx::PgConnection;
use tenantry_kit::currency::Currency;
use tenantry_kit::time::UtcDateTime;

use super::rows::{CampaignRow, campaign_id, currency};
use super::{Store, StoreError};
use crate::domain::{ActiveCampaigns, Campaign, CampaignCreation, CampaignId, ItemId, NewCampaign};

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
        let campaign = match new.id {
            None => insert_with_free_id(&mut transaction, new).await?,
            Some(id) => match insert(&mut transaction, new).await? {
                Some(campaign) => campaign,
                None => {
                    let existing = select(&mut transaction, id).await?.ok_or_else(vanished)?;
                    let is_same = new.is_same_as(&existing);
                    return Ok(if is_same { CampaignCreation::Existing(existing) } else { CampaignCreation::Conflict(existing) });
                }
            },
        };
        sqlx::query("INSERT INTO campaign_results (campaign_id) VALUES ($1)").bind(campaign.id.get()).execute(&mut *transaction).await?;
        raise_catalogue_version(&mut transaction).await?;
        transaction.commit().await?;
        Ok(CampaignCreation::Created(campaign))
    }

    /// A campaign.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn campaign(&self, id: CampaignId) -> Result<Option<Campaign>, StoreError> {
        select(&mut *self.database.acquire().await?, id).await
    }

    /// The campaigns that are active at this moment, by the database's clock.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn active_campaigns(&self) -> Result<ActiveCampaigns, StoreError> {
        let mut transaction = self.database.begin().await?;
        // The version first: what is read after it is at least as new.
        let (version, as_of): (i64, UtcDateTime) =
            sqlx::query_as("SELECT version, now() FROM campaign_catalogue").fetch_one(&mut *transaction).await?;
        let rows: Vec<CampaignRow> = sqlx::query_as(
            "SELECT id, item_id, prize, prize_currency, currency, starts_at, ends_at FROM campaigns
             WHERE starts_at <= $1 AND ends_at > $1 ORDER BY id",
        )
        .bind(as_of)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let campaigns = rows.into_iter().map(Campaign::try_from).collect::<Result<_, _>>()?;
        Ok(ActiveCampaigns { version, as_of, campaigns })
    }
}

/// The campaigns of these items that run at some time from `first` to `last`, by item.
pub(crate) async fn qualifying_campaigns(
    connection: &mut PgConnection,
    items: &[i64],
    first: UtcDateTime,
    last: UtcDateTime,
) -> Result<HashMap<ItemId, Vec<Campaign>>, StoreError> {
    let rows: Vec<CampaignRow> = sqlx::query_as(
        "SELECT id, item_id, prize, prize_currency, currency, starts_at, ends_at FROM campaigns
         WHERE item_id = ANY ($1) AND starts_at <= $3 AND ends_at > $2 ORDER BY id",
    )
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

async fn select(connection: &mut PgConnection, id: CampaignId) -> Result<Option<Campaign>, StoreError> {
    let row: Option<CampaignRow> =
        sqlx::query_as("SELECT id, item_id, prize, prize_currency, currency, starts_at, ends_at FROM campaigns WHERE id = $1")
            .bind(id.get())
            .fetch_optional(connection)
            .await?;
    row.map(Campaign::try_from).transpose()
}

/// Inserts with the caller's id; `None` if it is taken.
async fn insert(connection: &mut PgConnection, new: &NewCampaign) -> Result<Option<Campaign>, StoreError> {
    let row: Option<CampaignRow> = sqlx::query_as(
        "INSERT INTO campaigns (id, item_id, prize, prize_currency, currency, starts_at, ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING
         RETURNING id, item_id, prize, prize_currency, currency, starts_at, ends_at",
    )
    .bind(new.id.map(CampaignId::get))
    .bind(new.item_id.get())
    .bind(new.prize.value())
    .bind(new.prize.currency().code())
    .bind(new.currency.code())
    .bind(new.times.start())
    .bind(new.times.end())
    .fetch_optional(connection)
    .await?;
    row.map(Campaign::try_from).transpose()
}

/// Inserts with the next id that no caller has chosen.
async fn insert_with_free_id(connection: &mut PgConnection, new: &NewCampaign) -> Result<Campaign, StoreError> {
    loop {
        let row: Option<CampaignRow> = sqlx::query_as(
            "INSERT INTO campaigns (item_id, prize, prize_currency, currency, starts_at, ends_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING
             RETURNING id, item_id, prize, prize_currency, currency, starts_at, ends_at",
        )
        .bind(new.item_id.get())
        .bind(new.prize.value())
        .bind(new.prize.currency().code())
        .bind(new.currency.code())
        .bind(new.times.start())
        .bind(new.times.end())
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = row {
            return row.try_into();
        }
    }
}

fn vanished() -> StoreError {
    StoreError::Row { what: "a campaign", reason: "it is not there although its id is taken".to_owned() }
}
