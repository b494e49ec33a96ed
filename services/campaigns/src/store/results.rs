//! Totals: adding to them, and reading those of a campaign whole, for the standings in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::time::UtcDateTime;

use super::rows::{campaign_id, currency, invalid, rank_rule, user_id};
use super::{Store, StoreError};
use crate::domain::{CampaignId, Reached, StandingsBuilder, Total};

const TOTALS_READ_AT_ONCE: i64 = 20_000;

/// What is added to one user's total in one campaign.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addition {
    pub(crate) campaign_id: CampaignId,
    /// The sum of the purchases that are added, and the latest of them.
    pub(crate) total: Total,
}

impl Store {
    /// The version of a campaign's results; `None` if there is no such campaign.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn results_version(&self, id: CampaignId) -> Result<Option<i64>, StoreError> {
        let mut connection = self.database.acquire().await?;
        Ok(sqlx::query_scalar("SELECT version FROM campaign_results WHERE campaign_id = $1")
            .bind(id.get())
            .fetch_optional(&mut *connection)
            .await?)
    }

    /// The campaigns whose standings are asked for most: those that run, and those that ended within `since`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn live_campaigns(&self, since: Duration) -> Result<Vec<CampaignId>, StoreError> {
        let mut connection = self.database.acquire().await?;
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM campaigns
             WHERE ends_at > tenantry_now() - make_interval(secs => $1) AND starts_at <= tenantry_now()
               AND (cancelled_at IS NULL OR cancelled_at >= starts_at)
             ORDER BY ends_at",
        )
        .bind(since.as_secs_f64())
        .fetch_all(&mut *connection)
        .await?;
        ids.into_iter().map(campaign_id).collect()
    }

    /// The standings of a campaign and their version, as of one moment; `None` if there is no such campaign. Read in parts, so that no statement is
    /// long and no more is held than what the standings hold.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standings(&self, id: CampaignId) -> Result<Option<(i64, StandingsBuilder)>, StoreError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *transaction).await?;
        let row: Option<(i64, String, String)> = sqlx::query_as(
            "SELECT results.version, campaigns.currency, campaigns.ranks
             FROM campaign_results results JOIN campaigns ON campaigns.id = results.campaign_id WHERE results.campaign_id = $1",
        )
        .bind(id.get())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((version, code, ranks)) = row else { return Ok(None) };
        let mut standings = StandingsBuilder::new(currency(&code)?, rank_rule(&ranks)?);
        let mut last_user = 0;
        loop {
            let rows: Vec<TotalRow> = sqlx::query_as(
                "SELECT campaign_id, user_id, total, reached_at, arrival FROM campaign_totals
                 WHERE campaign_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3",
            )
            .bind(id.get())
            .bind(last_user)
            .bind(TOTALS_READ_AT_ONCE)
            .fetch_all(&mut *transaction)
            .await?;
            let Some(last) = rows.last() else { break };
            last_user = last.user_id;
            for row in &rows {
                standings.add(&row.total()?).map_err(invalid("a total"))?;
            }
        }
        transaction.commit().await?;
        Ok(Some((version, standings)))
    }
}

/// A row of `campaign_totals`.
#[derive(Debug, sqlx::FromRow)]
struct TotalRow {
    campaign_id: i64,
    user_id: i64,
    total: Decimal,
    reached_at: UtcDateTime,
    arrival: i64,
}

impl TotalRow {
    fn total(&self) -> Result<Total, StoreError> {
        let reached = Reached { at: self.reached_at, arrival: self.arrival };
        Ok(Total { user_id: user_id(self.user_id)?, total: self.total, reached })
    }
}

/// Adds to totals; what they are then, by campaign. `additions` name each campaign and user once, and come in one order everywhere, so that
/// transactions do not wait for each other in a circle.
pub(crate) async fn add_to_totals(
    connection: &mut PgConnection,
    additions: &[Addition],
) -> Result<BTreeMap<CampaignId, Vec<Total>>, StoreError> {
    let campaigns: Vec<i64> = additions.iter().map(|addition| addition.campaign_id.get()).collect();
    let users: Vec<i64> = additions.iter().map(|addition| addition.total.user_id.get()).collect();
    let amounts: Vec<Decimal> = additions.iter().map(|addition| addition.total.total).collect();
    let times: Vec<UtcDateTime> = additions.iter().map(|addition| addition.total.reached.at).collect();
    let arrivals: Vec<i64> = additions.iter().map(|addition| addition.total.reached.arrival).collect();
    let rows: Vec<TotalRow> = sqlx::query_as(
        "INSERT INTO campaign_totals AS own (campaign_id, user_id, total, reached_at, arrival)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::numeric[], $4::timestamptz[], $5::bigint[])
         ON CONFLICT (campaign_id, user_id) DO UPDATE SET
             total = own.total + excluded.total,
             reached_at = greatest(own.reached_at, excluded.reached_at),
             arrival = CASE
                 WHEN excluded.reached_at > own.reached_at THEN excluded.arrival
                 WHEN excluded.reached_at = own.reached_at THEN greatest(own.arrival, excluded.arrival)
                 ELSE own.arrival
             END
         RETURNING campaign_id, user_id, total, reached_at, arrival",
    )
    .bind(&campaigns)
    .bind(&users)
    .bind(&amounts)
    .bind(&times)
    .bind(&arrivals)
    .fetch_all(connection)
    .await?;
    let mut totals: BTreeMap<CampaignId, Vec<Total>> = BTreeMap::new();
    for row in rows {
        totals.entry(campaign_id(row.campaign_id)?).or_default().push(row.total()?);
    }
    Ok(totals)
}

/// Raises the versions of these campaigns' results; each with its new version and the database's time. The rows stay locked until
/// the transaction ends: call it late.
pub(crate) async fn raise_versions(
    connection: &mut PgConnection,
    campaigns: &[i64],
) -> Result<Vec<(CampaignId, i64, UtcDateTime)>, StoreError> {
    let rows: Vec<(i64, i64, UtcDateTime)> = sqlx::query_as(
        "WITH locked AS MATERIALIZED (
             SELECT campaign_id FROM campaign_results WHERE campaign_id = ANY ($1) ORDER BY campaign_id FOR UPDATE
         )
         UPDATE campaign_results results SET version = results.version + 1
         FROM locked WHERE results.campaign_id = locked.campaign_id
         RETURNING results.campaign_id, results.version, clock_timestamp()",
    )
    .bind(campaigns)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|(id, version, time)| Ok((campaign_id(id)?, version, time))).collect()
}
