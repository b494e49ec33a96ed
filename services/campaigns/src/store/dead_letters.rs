//! Purchases that do not count for a campaign that they concern.

use std::time::Duration;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::queue::DeadLetterReason;
use tenantry_kit::time::UtcDateTime;

use super::rows::{campaign_id, currency, event_id, invalid, money, user_id};
use super::{Store, StoreError};
use crate::domain::dead_letter::{KeptDeadLetter, PurchaseDeadLetter};

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    reason: String,
    detail: String,
    campaign_id: i64,
    user_id: i64,
    event_id: Option<String>,
    amount: Decimal,
    currency: String,
    purchased_at: UtcDateTime,
    arrival: i64,
    dead_lettered_at: UtcDateTime,
}

impl TryFrom<Row> for KeptDeadLetter {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            at: row.dead_lettered_at,
            letter: PurchaseDeadLetter {
                reason: row.reason.parse().map_err(invalid("a reason"))?,
                detail: row.detail,
                campaign_id: campaign_id(row.campaign_id)?,
                event_id: row.event_id.as_deref().map(event_id).transpose()?,
                user_id: user_id(row.user_id)?,
                amount: money(row.amount, currency(&row.currency)?)?,
                timestamp: row.purchased_at,
                arrival: row.arrival,
            },
        })
    }
}

impl Store {
    /// At most `limit` dead letters, the latest first: all, or those of a reason; from the latest on, or those before number `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purchase_dead_letters(
        &self,
        reason: Option<&DeadLetterReason>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<KeptDeadLetter>, StoreError> {
        let mut connection = self.database.acquire().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, reason, detail, campaign_id, user_id, event_id, amount, currency, purchased_at, arrival, dead_lettered_at
             FROM purchase_dead_letters WHERE id < $1 AND ($2::text IS NULL OR reason = $2) ORDER BY id DESC LIMIT $3",
        )
        .bind(before.unwrap_or(i64::MAX))
        .bind(reason.map(DeadLetterReason::as_str))
        .bind(i64::from(limit))
        .persistent(false)
        .fetch_all(&mut *connection)
        .await?;
        rows.into_iter().map(KeptDeadLetter::try_from).collect()
    }

    /// Deletes dead letters that are older than `age`, by the database's clock, the oldest first and at most `limit` of them; how many. Only the oldest are
    /// looked at, so that the work is bounded also where nothing is to be deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_dead_letters(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        let mut connection = self.database.acquire().await?;
        Ok(sqlx::query(
            "DELETE FROM purchase_dead_letters WHERE id = ANY (ARRAY(
                 SELECT oldest.id FROM (SELECT id, dead_lettered_at FROM purchase_dead_letters ORDER BY id LIMIT $2) oldest
                 WHERE oldest.dead_lettered_at < tenantry_now() - make_interval(secs => $1)))",
        )
        .bind(age.as_secs_f64())
        .bind(i64::from(limit))
        .persistent(false)
        .execute(&mut *connection)
        .await?
        .rows_affected())
    }
}

/// Keeps dead letters.
pub(crate) async fn bury(connection: &mut PgConnection, letters: &[PurchaseDeadLetter]) -> Result<(), StoreError> {
    if letters.is_empty() {
        return Ok(());
    }
    let numbers = |value: fn(&PurchaseDeadLetter) -> i64| letters.iter().map(value).collect::<Vec<i64>>();
    let texts = |value: fn(&PurchaseDeadLetter) -> &str| letters.iter().map(value).collect::<Vec<&str>>();
    let events: Vec<Option<&str>> = letters.iter().map(|letter| letter.event_id.as_ref().map(|id| id.as_str())).collect();
    let amounts: Vec<Decimal> = letters.iter().map(|letter| letter.amount.value()).collect();
    let times: Vec<UtcDateTime> = letters.iter().map(|letter| letter.timestamp).collect();
    sqlx::query(
        "INSERT INTO purchase_dead_letters
             (reason, detail, campaign_id, user_id, event_id, amount, currency, purchased_at, arrival)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::numeric[], $7::text[],
             $8::timestamptz[], $9::bigint[])",
    )
    .bind(texts(|letter| letter.reason.as_str()))
    .bind(texts(|letter| &letter.detail))
    .bind(numbers(|letter| letter.campaign_id.get()))
    .bind(numbers(|letter| letter.user_id.get()))
    .bind(&events)
    .bind(&amounts)
    .bind(texts(|letter| letter.amount.currency().code()))
    .bind(&times)
    .bind(numbers(|letter| letter.arrival))
    .execute(connection)
    .await?;
    Ok(())
}
