//! Totals: adding to them, and reading the leaderboard.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::time::UtcDateTime;

use super::rows::{campaign_id, currency, money, user_id};
use super::{Store, StoreError};
use crate::domain::{CampaignId, PositionAnswer, Standing, Top, TopCount, Total, UserId};

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

    /// The first `count` positions; `None` if there is no such campaign.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn top(&self, id: CampaignId, count: TopCount) -> Result<Option<Top>, StoreError> {
        let mut connection = self.database.acquire().await?;
        let rows: Vec<(i64, String, Option<i64>, Option<Decimal>)> = sqlx::query_as(
            "SELECT results.version, campaigns.currency, first.user_id, first.total
             FROM campaign_results results JOIN campaigns ON campaigns.id = results.campaign_id
             LEFT JOIN LATERAL (
                 SELECT user_id, total, reached_at, arrival FROM campaign_totals
                 WHERE campaign_id = results.campaign_id
                 ORDER BY total DESC, reached_at, arrival, user_id LIMIT $2
             ) first ON true
             WHERE results.campaign_id = $1
             ORDER BY first.total DESC, first.reached_at, first.arrival, first.user_id",
        )
        .bind(id.get())
        .bind(i64::from(count.get()))
        .fetch_all(&mut *connection)
        .await?;
        let Some((version, code, ..)) = rows.first() else { return Ok(None) };
        let (version, currency) = (*version, currency(code)?);
        let standings = rows
            .iter()
            .filter_map(|(_, _, user, total)| Some((user.as_ref()?, total.as_ref()?)))
            .zip(0..)
            .map(|((user, total), position)| Ok(Standing::at(position, user_id(*user)?, money(*total, currency)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(Some(Top { campaign_id: id, version, standings }))
    }

    /// Where a user stands.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn position(&self, id: CampaignId, user: UserId) -> Result<PositionAnswer, StoreError> {
        let mut connection = self.database.acquire().await?;
        let row: Option<(i64, String, Option<Decimal>, i64)> = sqlx::query_as(
            "SELECT results.version, campaigns.currency, own.total,
                 (SELECT count(*) FROM campaign_totals better
                  WHERE better.campaign_id = results.campaign_id AND better.total > own.total)
                 + (SELECT count(*) FROM campaign_totals equal
                    WHERE equal.campaign_id = results.campaign_id AND equal.total = own.total
                      AND (equal.reached_at, equal.arrival, equal.user_id) < (own.reached_at, own.arrival, own.user_id))
             FROM campaign_results results JOIN campaigns ON campaigns.id = results.campaign_id
             LEFT JOIN campaign_totals own ON own.campaign_id = results.campaign_id AND own.user_id = $2
             WHERE results.campaign_id = $1",
        )
        .bind(id.get())
        .bind(user.get())
        .fetch_optional(&mut *connection)
        .await?;
        let Some((version, code, total, before)) = row else { return Ok(PositionAnswer::UnknownCampaign) };
        let Some(total) = total else { return Ok(PositionAnswer::NoPurchases) };
        let standing = Standing::at(before.unsigned_abs(), user, money(total, currency(&code)?)?);
        Ok(PositionAnswer::Found { version, standing })
    }
}

/// Adds to totals. `additions` name each campaign and user once, and come in one order everywhere, so that transactions do not
/// wait for each other in a circle.
pub(crate) async fn add_to_totals(connection: &mut PgConnection, additions: &[Addition]) -> Result<(), StoreError> {
    let campaigns: Vec<i64> = additions.iter().map(|addition| addition.campaign_id.get()).collect();
    let users: Vec<i64> = additions.iter().map(|addition| addition.total.user_id.get()).collect();
    let amounts: Vec<Decimal> = additions.iter().map(|addition| addition.total.total).collect();
    let times: Vec<UtcDateTime> = additions.iter().map(|addition| addition.total.reached.at).collect();
    let arrivals: Vec<i64> = additions.iter().map(|addition| addition.total.reached.arrival).collect();
    sqlx::query(
        "INSERT INTO campaign_totals AS own (campaign_id, user_id, total, reached_at, arrival)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::numeric[], $4::timestamptz[], $5::bigint[])
         ON CONFLICT (campaign_id, user_id) DO UPDATE SET
             total = own.total + excluded.total,
             reached_at = greatest(own.reached_at, excluded.reached_at),
             arrival = CASE
                 WHEN excluded.reached_at > own.reached_at THEN excluded.arrival
                 WHEN excluded.reached_at = own.reached_at THEN greatest(own.arrival, excluded.arrival)
                 ELSE own.arrival
             END",
    )
    .bind(&campaigns)
    .bind(&users)
    .bind(&amounts)
    .bind(&times)
    .bind(&arrivals)
    .execute(connection)
    .await?;
    Ok(())
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
