//! How the service is doing: a few statements, whose work is bounded however much waits.

use std::time::Duration;

use tenantry_kit::stream::lag;
use tenantry_kit::time::UtcDateTime;

use super::rows::campaign_id;
use super::winners::UNSEEN_SECONDS;
use super::{Store, StoreError};
use crate::domain::dead_letter::REASONS;
use crate::domain::operations::{AwaitingCompletion, Backlog, Operations, RunningCampaign, WaitsFor};

/// The most purchases or dead letters of a reason that are counted.
const COUNTED: i64 = 100_000;
/// The most campaigns that are counted, or listed as waiting.
const CAMPAIGNS: i64 = 1000;
/// How many of the running campaigns are named.
const NEXT_ENDS: i64 = 20;

#[derive(sqlx::FromRow)]
struct Counts {
    as_of: UtcDateTime,
    schema_version: Option<i32>,
    parked: i64,
    parked_seconds: Option<f64>,
    starts: i64,
    start_seconds: Option<f64>,
    ends: i64,
    end_seconds: Option<f64>,
    running: i64,
}

#[derive(sqlx::FromRow)]
struct Awaiting {
    id: i64,
    ends_at: UtcDateTime,
    seconds: f64,
    is_announced: bool,
    waits_for_rates: bool,
}

impl Store {
    /// How the service is doing. The grace and the age of rates are the settings'.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn operations(&self, grace_seconds: u32, max_rate_age_days: u32) -> Result<Operations, StoreError> {
        let lags = lag(&self.database).await?;
        let rate_gaps = self.rate_gaps(max_rate_age_days).await?;
        let unpaid = self.unpaid_prizes().await?;
        let mut connection = self.database.acquire().await?;
        // What was parked first has the smallest number. Planned each time, as plans for empty tables would read full ones from end to end.
        let counts: Counts = sqlx::query_as(
            "SELECT tenantry_now() AS as_of, (SELECT version FROM tenantry_schema_version) AS schema_version,
                 (SELECT count(*) FROM (SELECT FROM parked_purchases LIMIT $1) counted) AS parked,
                 (SELECT extract(epoch FROM tenantry_now() - parked_at)::float8 FROM parked_purchases ORDER BY id LIMIT 1) AS parked_seconds,
                 (SELECT count(*) FROM (
                     SELECT FROM campaigns WHERE start_announced_at IS NULL AND starts_at <= tenantry_now() LIMIT $2) counted) AS starts,
                 (SELECT extract(epoch FROM tenantry_now() - min(starts_at))::float8 FROM campaigns WHERE start_announced_at IS NULL) AS start_seconds,
                 (SELECT count(*) FROM (
                     SELECT FROM campaigns WHERE end_announced_at IS NULL AND ends_at <= tenantry_now() LIMIT $2) counted) AS ends,
                 (SELECT extract(epoch FROM tenantry_now() - min(ends_at))::float8 FROM campaigns WHERE end_announced_at IS NULL) AS end_seconds,
                 (SELECT count(*) FROM (
                     SELECT FROM campaigns WHERE ends_at > tenantry_now() AND starts_at <= tenantry_now() AND cancelled_at IS NULL LIMIT $2
                 ) counted) AS running",
        )
        .bind(COUNTED)
        .bind(CAMPAIGNS)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
        let dead_letters: Vec<i64> = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM (SELECT FROM purchase_dead_letters letter WHERE letter.reason = wanted.reason LIMIT $2) counted)
             FROM unnest($1::text[]) WITH ORDINALITY AS wanted (reason, ordinal) ORDER BY wanted.ordinal",
        )
        .bind(REASONS.each_ref().map(|reason| reason.as_str()))
        .bind(COUNTED)
        .persistent(false)
        .fetch_all(&mut *connection)
        .await?;
        let awaiting: Vec<Awaiting> = sqlx::query_as(
            "SELECT id, ends_at, extract(epoch FROM tenantry_now() - ends_at)::float8 - $1 AS seconds, end_announced_at IS NOT NULL AS is_announced,
                 EXISTS (SELECT FROM parked_purchases WHERE campaign_id = campaigns.id) AS waits_for_rates
             FROM campaigns
             WHERE completed_at IS NULL AND cancelled_at IS NULL AND ends_at <= tenantry_now() - make_interval(secs => $1)
             ORDER BY ends_at LIMIT $2",
        )
        .bind(f64::from(grace_seconds) + UNSEEN_SECONDS)
        .bind(CAMPAIGNS)
        .persistent(false)
        .fetch_all(&mut *connection)
        .await?;
        let next_ends: Vec<(i64, UtcDateTime)> = sqlx::query_as(
            "SELECT id, ends_at FROM campaigns
             WHERE ends_at > tenantry_now() AND starts_at <= tenantry_now() AND cancelled_at IS NULL ORDER BY ends_at, id LIMIT $1",
        )
        .bind(NEXT_ENDS)
        .fetch_all(&mut *connection)
        .await?;
        let Counts { as_of, schema_version, parked, parked_seconds, starts, start_seconds, ends, end_seconds, running } = counts;
        Ok(Operations {
            as_of,
            schema_version,
            lags,
            unannounced: Backlog {
                count: starts.unsigned_abs() + ends.unsigned_abs(),
                oldest: duration(start_seconds).max(duration(end_seconds)),
            },
            running: running.unsigned_abs(),
            next_ends: next_ends
                .into_iter()
                .map(|(id, ends_at)| Ok(RunningCampaign { id: campaign_id(id)?, ends_at }))
                .collect::<Result<_, StoreError>>()?,
            awaiting_completion: awaiting.into_iter().map(AwaitingCompletion::try_from).collect::<Result<_, _>>()?,
            parked: Backlog { count: parked.unsigned_abs(), oldest: duration(parked_seconds) },
            rate_gaps,
            unpaid,
            dead_letters: REASONS.into_iter().zip(dead_letters.into_iter().map(i64::unsigned_abs)).collect(),
        })
    }
}

impl TryFrom<Awaiting> for AwaitingCompletion {
    type Error = StoreError;

    fn try_from(row: Awaiting) -> Result<Self, StoreError> {
        let waits_for = match (row.is_announced, row.waits_for_rates) {
            (false, _) => WaitsFor::Announcement,
            (true, true) => WaitsFor::Rates,
            (true, false) => WaitsFor::Counting,
        };
        Ok(Self { id: campaign_id(row.id)?, ended_at: row.ends_at, waiting: duration(Some(row.seconds)), waits_for })
    }
}

/// What has not come yet has waited for no time.
fn duration(seconds: Option<f64>) -> Duration {
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}
