//! Exchange rates: put by day, and found for a day.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::currency::Currency;
use tenantry_kit::date::Date;

use super::rows::{currency, invalid};
use super::{Store, StoreError};
use crate::domain::rates::{DatedRate, Rate, RateKey, Rates};

/// The most rates in one statement.
const BATCH: usize = 10_000;

/// What came of putting rates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RatesPut {
    /// How many were not there.
    pub new: u64,
    /// How many were there with another value.
    pub changed: u64,
    /// How many were there already.
    pub unchanged: u64,
}

impl Store {
    /// Puts rates, all or none; `rates` names each day and currency once. What was converted already stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_rates(&self, rates: &[DatedRate]) -> Result<RatesPut, StoreError> {
        let mut rates = rates.to_vec();
        // In one order everywhere, so that two transactions do not wait for each other in a circle.
        rates.sort_by_key(|rate| (rate.currency.code(), rate.date));
        let mut transaction = self.database.begin().await?;
        let mut put = RatesPut::default();
        for batch in rates.chunks(BATCH) {
            for (is_new, count) in upsert(&mut transaction, batch).await? {
                *(if is_new { &mut put.new } else { &mut put.changed }) += count.unsigned_abs();
            }
        }
        transaction.commit().await?;
        put.unchanged = rates.len() as u64 - put.new - put.changed;
        Ok(put)
    }

    /// For each currency that has one, the rate by which a purchase of that day is converted, in the order of the codes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rates_on(&self, date: Date, max_age_days: u32) -> Result<Vec<DatedRate>, StoreError> {
        let mut connection = self.database.acquire().await?;
        let rows: Vec<(String, Date, Decimal)> = sqlx::query_as(
            "SELECT wanted.currency, found.date, found.per_euro
             FROM unnest($1::text[]) AS wanted (currency) CROSS JOIN LATERAL (
                 SELECT date, per_euro FROM exchange_rates rate
                 WHERE rate.currency = wanted.currency AND rate.date <= $2 AND rate.date >= $2 - $3
                 ORDER BY rate.date DESC LIMIT 1
             ) found
             ORDER BY wanted.currency",
        )
        .bind(Currency::codes())
        .bind(date)
        .bind(days(max_age_days))
        .fetch_all(&mut *connection)
        .await?;
        rows.into_iter().map(|(code, date, per_euro)| Ok(DatedRate { date, currency: currency(&code)?, rate: rate(per_euro)? })).collect()
    }
}

async fn upsert(connection: &mut PgConnection, rates: &[DatedRate]) -> Result<Vec<(bool, i64)>, sqlx::Error> {
    let currencies: Vec<&str> = rates.iter().map(|rate| rate.currency.code()).collect();
    let dates: Vec<Date> = rates.iter().map(|rate| rate.date).collect();
    let values: Vec<Decimal> = rates.iter().map(|rate| rate.rate.per_euro()).collect();
    // xmax is 0 in a row that was inserted: no transaction has replaced a former one.
    sqlx::query_as(
        "WITH put AS (
             INSERT INTO exchange_rates AS known (currency, date, per_euro)
             SELECT * FROM unnest($1::text[], $2::date[], $3::numeric[])
             ON CONFLICT (currency, date) DO UPDATE SET per_euro = excluded.per_euro, changed_at = tenantry_now()
             WHERE known.per_euro <> excluded.per_euro
             RETURNING known.xmax = 0 AS is_new
         )
         SELECT is_new, count(*) FROM put GROUP BY is_new",
    )
    .bind(&currencies)
    .bind(&dates)
    .bind(&values)
    .fetch_all(connection)
    .await
}

/// For each of `needed`, the rate of that day, or the last one before that is at most `max_age_days` older, if there is one.
pub(crate) async fn rates_for(connection: &mut PgConnection, needed: &[RateKey], max_age_days: u32) -> Result<Rates, StoreError> {
    if needed.is_empty() {
        return Ok(Rates::default());
    }
    let currencies: Vec<&str> = needed.iter().map(|key| key.currency.code()).collect();
    let dates: Vec<Date> = needed.iter().map(|key| key.date).collect();
    let rows: Vec<(String, Date, Decimal)> = sqlx::query_as(
        "SELECT needed.currency, needed.date, found.per_euro
         FROM unnest($1::text[], $2::date[]) AS needed (currency, date) CROSS JOIN LATERAL (
             SELECT per_euro FROM exchange_rates rate
             WHERE rate.currency = needed.currency AND rate.date <= needed.date AND rate.date >= needed.date - $3
             ORDER BY rate.date DESC LIMIT 1
         ) found",
    )
    .bind(&currencies)
    .bind(&dates)
    .bind(days(max_age_days))
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|(code, date, per_euro)| Ok((RateKey { currency: currency(&code)?, date }, rate(per_euro)?))).collect()
}

fn rate(per_euro: Decimal) -> Result<Rate, StoreError> {
    Rate::new(per_euro).map_err(invalid("a rate"))
}

/// As PostgreSQL takes days off a date.
pub(super) fn days(days: u32) -> i32 {
    i32::try_from(days).unwrap_or(i32::MAX)
}
