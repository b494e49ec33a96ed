//! Standings that change no more, answered by the index: a campaign that left memory left *marks*, the key of every thousandth place. A position is
//! a mark's place and the rows from there on, never more than a thousand.
//!
//! Marks are of one version of the results: where that is not the current one, they do not count.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use sqlx::postgres::PgTransaction;
use tenantry_kit::currency::Currency;
use tenantry_kit::time::UtcDateTime;

use super::rows::{currency, invalid, money, rank_rule, user_id};
use super::{Store, StoreError};
use crate::domain::{CampaignId, RankRule, Standing, Total, UserId};

/// Between two marks; without marks, a campaign has no more users than that.
pub const MARK_INTERVAL: usize = 1000;

/// What is known of the standings of a campaign that are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The version of the results.
    pub version: i64,
    /// How many users have purchases that count.
    pub users: u64,
    currency: Currency,
    ranks: RankRule,
}

/// A place in the order: the total, and what decides between equal ones.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
struct Key {
    total: Decimal,
    reached_at: UtcDateTime,
    arrival: i64,
    user_id: i64,
}

impl Store {
    /// Leaves the marks of a campaign: `marks` are every [`MARK_INTERVAL`]th total of the standings at `version`, from the first on. Whether the
    /// results are at that version still.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle(&self, id: CampaignId, version: i64, users: usize, marks: &[Total]) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin().await?;
        // The row is locked from here on: what raises the version waits.
        let settled =
            sqlx::query("UPDATE campaign_results SET settled_version = $2, settled_users = $3 WHERE campaign_id = $1 AND version = $2")
                .bind(id.get())
                .bind(version)
                .bind(i64::try_from(users).unwrap_or(i64::MAX))
                .execute(&mut *transaction)
                .await?;
        if settled.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM campaign_marks WHERE campaign_id = $1").bind(id.get()).execute(&mut *transaction).await?;
        sqlx::query(
            "INSERT INTO campaign_marks (campaign_id, minus_total, reached_at, arrival, user_id, place)
             SELECT $1, - mark.total, mark.reached_at, mark.arrival, mark.user_id, (mark.ordinal - 1) * $6
             FROM unnest($2::numeric[], $3::timestamptz[], $4::bigint[], $5::bigint[])
                 WITH ORDINALITY AS mark (total, reached_at, arrival, user_id, ordinal)",
        )
        .bind(id.get())
        .bind(marks.iter().map(|mark| mark.total).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.reached.at).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.reached.arrival).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.user_id.get()).collect::<Vec<_>>())
        .bind(MARK_INTERVAL as i64)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The first `count` standings of a campaign, if they are settled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settled_top(&self, id: CampaignId, count: u16) -> Result<Option<(Settled, Vec<Standing>)>, StoreError> {
        let Some((mut transaction, settled)) = self.settled(id).await? else { return Ok(None) };
        let rows: Vec<(i64, Decimal)> = sqlx::query_as(
            "SELECT user_id, total FROM campaign_totals WHERE campaign_id = $1
             ORDER BY total DESC, reached_at, arrival, user_id LIMIT $2",
        )
        .bind(id.get())
        .bind(i64::from(count))
        .fetch_all(&mut *transaction)
        .await?;
        let (mut better, mut last) = (0, None);
        let mut standings = Vec::with_capacity(rows.len());
        for ((user, total), before) in rows.into_iter().zip(0..) {
            if last.replace(total) != Some(total) {
                better = before;
            }
            standings.push(settled.standing(user, total, before, better)?);
        }
        Ok(Some((settled, standings)))
    }

    /// Where a user stands in a campaign, if its standings are settled; within, `None` without a purchase that counts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settled_standing(&self, id: CampaignId, user: UserId) -> Result<Option<(Settled, Option<Standing>)>, StoreError> {
        let Some((mut transaction, settled)) = self.settled(id).await? else { return Ok(None) };
        let own: Option<Key> =
            sqlx::query_as("SELECT total, reached_at, arrival, user_id FROM campaign_totals WHERE campaign_id = $1 AND user_id = $2")
                .bind(id.get())
                .bind(user.get())
                .fetch_optional(&mut *transaction)
                .await?;
        let Some(own) = own else { return Ok(Some((settled, None))) };
        let before = count_before(&mut transaction, id, own).await?;
        let better = match settled.ranks {
            RankRule::Strict => before,
            RankRule::Shared => {
                let first = UtcDateTime::from_unix_micros(FIRST_TIME).map_err(invalid("the first time there is"))?;
                count_before(&mut transaction, id, Key { reached_at: first, arrival: i64::MIN, user_id: 0, ..own }).await?
            }
        };
        Ok(Some((settled, Some(settled.standing(own.user_id, own.total, before, better)?))))
    }

    /// What is settled, in a transaction that goes on seeing just that.
    async fn settled(&self, id: CampaignId) -> Result<Option<(PgTransaction<'static>, Settled)>, StoreError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *transaction).await?;
        let row: Option<(i64, i64, String, String)> = sqlx::query_as(
            "SELECT results.version, results.settled_users, campaigns.currency, campaigns.ranks
             FROM campaign_results results JOIN campaigns ON campaigns.id = results.campaign_id
             WHERE results.campaign_id = $1 AND results.settled_version = results.version AND results.settled_users IS NOT NULL",
        )
        .bind(id.get())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((version, users, code, ranks)) = row else { return Ok(None) };
        let settled = Settled { version, users: users.unsigned_abs(), currency: currency(&code)?, ranks: rank_rule(&ranks)? };
        Ok(Some((transaction, settled)))
    }
}

/// The year 1, before which no purchase is.
const FIRST_TIME: i64 = -62_135_596_800_000_000;

impl Settled {
    fn standing(&self, user: i64, total: Decimal, before: u64, better: u64) -> Result<Standing, StoreError> {
        Ok(Standing {
            user_id: user_id(user)?,
            position: before,
            rank: self.ranks.rank(before, better),
            total: money(total, self.currency)?,
        })
    }
}

/// How many stand before `key`: those before the last mark that is not after it, and those in between. What is in between has the mark's total, or the key's,
/// or one in between: three ranges of the index, together no longer than from one mark to the next. The limits say so to the planner, which
/// would else expect long ones, and read the whole table.
const COUNT_BEFORE: &str = "
WITH mark AS MATERIALIZED (
    SELECT place, - minus_total AS total, reached_at, arrival, user_id FROM campaign_marks
    WHERE campaign_id = $1 AND (minus_total, reached_at, arrival, user_id) <= (- $2::numeric, $3::timestamptz, $4::bigint, $5::bigint)
    ORDER BY minus_total DESC, reached_at DESC, arrival DESC, user_id DESC LIMIT 1
), with_its_total AS MATERIALIZED (
    SELECT user_id FROM campaign_totals
    WHERE campaign_id = $1 AND total = (SELECT total FROM mark WHERE total > $2) AND (reached_at, arrival, user_id)
        >= ((SELECT reached_at FROM mark), (SELECT arrival FROM mark), (SELECT user_id FROM mark))
    ORDER BY total DESC, reached_at, arrival, user_id LIMIT $6
), with_totals_between AS MATERIALIZED (
    SELECT user_id FROM campaign_totals
    WHERE campaign_id = $1 AND total > $2 AND total < coalesce((SELECT total FROM mark), 'infinity')
    ORDER BY total DESC, reached_at, arrival, user_id LIMIT $6
), with_the_keys_total AS MATERIALIZED (
    SELECT user_id FROM campaign_totals
    WHERE campaign_id = $1 AND total = $2 AND (reached_at, arrival, user_id) < ($3, $4, $5) AND (reached_at, arrival, user_id)
        >= (
            coalesce((SELECT reached_at FROM mark WHERE total = $2), '-infinity'),
            coalesce((SELECT arrival FROM mark WHERE total = $2), 0),
            coalesce((SELECT user_id FROM mark WHERE total = $2), 0)
        )
    ORDER BY total DESC, reached_at, arrival, user_id LIMIT $6
)
SELECT coalesce((SELECT place FROM mark), 0) + (SELECT count(*) FROM with_its_total)
    + (SELECT count(*) FROM with_totals_between) + (SELECT count(*) FROM with_the_keys_total)";

async fn count_before(connection: &mut PgConnection, id: CampaignId, key: Key) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(COUNT_BEFORE)
        .bind(id.get())
        .bind(key.total)
        .bind(key.reached_at)
        .bind(key.arrival)
        .bind(key.user_id)
        .bind(MARK_INTERVAL as i64)
        .fetch_one(connection)
        .await?;
    Ok(count.unsigned_abs())
}
