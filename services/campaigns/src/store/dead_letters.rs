//! Purchases that do not count for a campaign that they concern.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::queue::DeadLetterReason;
use tenantry_kit::time::UtcDateTime;

use super::rows::{campaign_id, currency, event_id, invalid, money, user_id};
use super::{Store, StoreError};
use crate::domain::dead_letter::{KeptDeadLetter, PurchaseDeadLetter};

/// The most that a metric counts for each reason.
const COUNTED: i64 = 100_000;

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

    /// How many dead letters a reason has, as far as 100,000.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_purchase_dead_letters(&self, reason: &DeadLetterReason) -> Result<i64, StoreError> {
        let mut connection = self.database.acquire().await?;
        Ok(sqlx::query_scalar("SELECT count(*) FROM (SELECT FROM purchase_dead_letters WHERE reason = $1 LIMIT $2) counted")
            .bind(reason.as_str())
            .bind(COUNTED)
            .fetch_one(&mut *connection)
            .await?)
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
