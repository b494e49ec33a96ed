//! The history: campaigns that have ended, those that ended last first, with what came of each.

use std::collections::HashMap;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::currency::Currency;
use tenantry_kit::time::UtcDateTime;

use super::rows::{EntryRow, entry_columns, money, user_id};
use super::{Store, StoreError};
use crate::domain::{CatalogueEntry, EndedCampaign, HistoryKey, Leader, Outcome};

#[derive(Debug, sqlx::FromRow)]
struct HistoryRow {
    #[sqlx(flatten)]
    entry: EntryRow,
    results_version: i64,
    /// Of which version of the results the outcome below is.
    outcome_version: Option<i64>,
    participants: Option<i64>,
    total: Option<Decimal>,
    top_user_id: Option<i64>,
    top_total: Option<Decimal>,
}

#[derive(Debug, Clone, sqlx::FromRow)]
struct OutcomeRow {
    campaign_id: i64,
    participants: i64,
    total: Decimal,
    top_user_id: Option<i64>,
    top_total: Option<Decimal>,
}

impl Store {
    /// Campaigns that have ended by `now`, after this place in the history: at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history(&self, after: Option<HistoryKey>, limit: u32, now: UtcDateTime) -> Result<Vec<EndedCampaign>, StoreError> {
        let after = after.unwrap_or_else(|| HistoryKey::newest(now));
        let mut connection = self.database.acquire().await?;
        let rows: Vec<HistoryRow> = sqlx::query_as(concat!(
            "SELECT ",
            entry_columns!(),
            ", results.version AS results_version, outcome.results_version AS outcome_version,
                 outcome.participants, outcome.total, outcome.top_user_id, outcome.top_total
             FROM campaigns JOIN campaign_results results ON results.campaign_id = campaigns.id
             LEFT JOIN campaign_outcomes outcome ON outcome.campaign_id = campaigns.id
             WHERE (least(campaigns.ends_at, campaigns.cancelled_at), campaigns.id) < ($1, $2)
               AND least(campaigns.ends_at, campaigns.cancelled_at) <= $3
             ORDER BY least(campaigns.ends_at, campaigns.cancelled_at) DESC, campaigns.id DESC LIMIT $4"
        ))
        .bind(after.ended_at)
        .bind(after.id)
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&mut *connection)
        .await?;
        let mut ended: Vec<(CatalogueEntry, Option<OutcomeRow>)> = Vec::with_capacity(rows.len());
        for row in rows {
            let HistoryRow { entry, results_version, outcome_version, participants, total, top_user_id, top_total } = row;
            let entry = CatalogueEntry::try_from(entry)?;
            let is_current = outcome_version == Some(results_version);
            let kept = participants.zip(total).filter(|_| is_current).map(|(participants, total)| OutcomeRow {
                campaign_id: entry.campaign.id.get(),
                participants,
                total,
                top_user_id,
                top_total,
            });
            ended.push((entry, kept));
        }
        let to_count: Vec<i64> = ended.iter().filter(|(_, kept)| kept.is_none()).map(|(entry, _)| entry.campaign.id.get()).collect();
        let counted = if to_count.is_empty() { HashMap::new() } else { count(&mut connection, &to_count).await? };
        ended
            .into_iter()
            .filter_map(|(entry, kept)| {
                let row = kept.or_else(|| counted.get(&entry.campaign.id.get()).cloned())?;
                let currency = entry.campaign.currency;
                Some(outcome(row, currency).map(|outcome| EndedCampaign { entry, outcome }))
            })
            .collect()
    }
}

/// Counts what came of campaigns, and keeps it for those who ask next. One statement, and so one state of version and totals.
async fn count(connection: &mut PgConnection, campaigns: &[i64]) -> Result<HashMap<i64, OutcomeRow>, StoreError> {
    let rows: Vec<OutcomeRow> = sqlx::query_as(
        "WITH counted AS (
            SELECT results.campaign_id, results.version, sums.participants, sums.total, top.user_id AS top_user_id, top.total AS top_total
            FROM campaign_results results
            CROSS JOIN LATERAL (
                SELECT count(*) AS participants, coalesce(sum(total), 0) AS total FROM campaign_totals
                WHERE campaign_id = results.campaign_id
            ) sums
            LEFT JOIN LATERAL (
                SELECT user_id, total FROM campaign_totals WHERE campaign_id = results.campaign_id
                ORDER BY total DESC, reached_at, arrival, user_id LIMIT 1
            ) top ON true
            WHERE results.campaign_id = ANY ($1)
         ), kept AS (
            INSERT INTO campaign_outcomes AS own (campaign_id, results_version, participants, total, top_user_id, top_total)
            SELECT campaign_id, version, participants, total, top_user_id, top_total FROM counted ORDER BY campaign_id
            ON CONFLICT (campaign_id) DO UPDATE SET
                results_version = excluded.results_version, participants = excluded.participants, total = excluded.total,
                top_user_id = excluded.top_user_id, top_total = excluded.top_total
            WHERE own.results_version < excluded.results_version
         )
         SELECT campaign_id, participants, total, top_user_id, top_total FROM counted",
    )
    .bind(campaigns)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.campaign_id, row)).collect())
}

fn outcome(row: OutcomeRow, currency: Currency) -> Result<Outcome, StoreError> {
    let leader = row
        .top_user_id
        .zip(row.top_total)
        .map(|(user, total)| Ok::<_, StoreError>(Leader { user_id: user_id(user)?, total: money(total, currency)? }));
    Ok(Outcome { participants: row.participants.unsigned_abs(), total: money(row.total, currency)?, leader: leader.transpose()? })
}
