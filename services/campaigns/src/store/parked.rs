//! Qualified purchases that wait for a rate.
//!
//! Nothing tells who waits that a rate has come: what is parked is compared with what is there, again and again, so that no order of commits
//! can leave a purchase behind. As the purchases of one day and one pair of currencies wait for the same, that is one look into an index for each such
//! group, however many wait. Planned each time: a plan that was made when nothing waited would read all that wait from end to end.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::currency::Currency;
use tenantry_kit::date::Date;
use tenantry_kit::time::UtcDateTime;

use super::events::QualifiedPurchaseEvent;
use super::rates::days;
use super::rows::{campaign_id, currency, event_id, money, user_id};
use super::{Store, StoreError};
use crate::domain::rates::{RateGap, RateKey};

/// The most groups that are looked up at once.
const GROUPS: i64 = 1000;
/// The most purchases that a gap counts.
const COUNTED: i64 = 100_000;

/// The purchases that wait for the same rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkedGroup {
    from: Currency,
    to: Currency,
    date: Date,
}

/// `parked`: each group once, found by leaping from one to the next in the index.
macro_rules! groups {
    () => {
        "WITH RECURSIVE parked AS (
            (SELECT currency, campaign_currency, date FROM parked_purchases ORDER BY currency, campaign_currency, date LIMIT 1)
            UNION ALL
            SELECT next.* FROM parked CROSS JOIN LATERAL (
                SELECT waiting.currency, waiting.campaign_currency, waiting.date FROM parked_purchases waiting
                WHERE (waiting.currency, waiting.campaign_currency, waiting.date) > (parked.currency, parked.campaign_currency, parked.date)
                ORDER BY waiting.currency, waiting.campaign_currency, waiting.date LIMIT 1
            ) next
         )"
    };
}

/// Whether a rate of `$currency` is there for a group.
macro_rules! there_is_a_rate {
    ($currency:literal) => {
        concat!(
            "(",
            $currency,
            " = 'EUR' OR EXISTS (SELECT FROM exchange_rates rate WHERE rate.currency = ",
            $currency,
            " AND rate.date <= parked.date AND rate.date >= parked.date - $1))"
        )
    };
}

impl Store {
    /// The groups whose rates are there, so that they can be released.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn releasable_groups(&self, max_rate_age_days: u32) -> Result<Vec<ParkedGroup>, StoreError> {
        const RELEASABLE: &str = concat!(
            groups!(),
            "SELECT currency, campaign_currency, date FROM parked WHERE ",
            there_is_a_rate!("parked.currency"),
            " AND ",
            there_is_a_rate!("parked.campaign_currency"),
            " LIMIT $2"
        );
        let mut connection = self.database.acquire().await?;
        let rows: Vec<(String, String, Date)> =
            sqlx::query_as(RELEASABLE).bind(days(max_rate_age_days)).bind(GROUPS).persistent(false).fetch_all(&mut *connection).await?;
        rows.into_iter().map(|(from, to, date)| Ok(ParkedGroup { from: currency(&from)?, to: currency(&to)?, date })).collect()
    }

    /// The rates that purchases wait for, by day and code; at most a thousand.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rate_gaps(&self, max_rate_age_days: u32) -> Result<Vec<RateGap>, StoreError> {
        const GAPS: &str = concat!(
            groups!(),
            "SELECT gap.currency, parked.date, sum(waiting.purchases)::bigint
             FROM parked
             CROSS JOIN LATERAL (
                 SELECT parked.currency WHERE NOT ",
            there_is_a_rate!("parked.currency"),
            "    UNION ALL
                 SELECT parked.campaign_currency WHERE NOT ",
            there_is_a_rate!("parked.campaign_currency"),
            ") gap (currency)
             CROSS JOIN LATERAL (
                 SELECT count(*) AS purchases FROM (
                     SELECT FROM parked_purchases own
                     WHERE own.currency = parked.currency AND own.campaign_currency = parked.campaign_currency AND own.date = parked.date
                     LIMIT $3
                 ) own
             ) waiting
             GROUP BY gap.currency, parked.date ORDER BY parked.date, gap.currency LIMIT $2"
        );
        let mut connection = self.database.acquire().await?;
        let rows: Vec<(String, Date, i64)> = sqlx::query_as(GAPS)
            .bind(days(max_rate_age_days))
            .bind(GROUPS)
            .bind(COUNTED)
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        rows.into_iter()
            .map(|(code, date, purchases)| {
                Ok(RateGap { key: RateKey { currency: currency(&code)?, date }, purchases: purchases.unsigned_abs() })
            })
            .collect()
    }
}

/// Parks purchases, each with the currency of its campaign.
pub(crate) async fn park(connection: &mut PgConnection, purchases: &[(QualifiedPurchaseEvent, Currency)]) -> Result<(), StoreError> {
    if purchases.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&QualifiedPurchaseEvent) -> i64| purchases.iter().map(|(purchase, _)| value(purchase)).collect::<Vec<i64>>();
    let events: Vec<Option<&str>> = purchases.iter().map(|(purchase, _)| purchase.event_id.as_ref().map(|id| id.as_str())).collect();
    let amounts: Vec<Decimal> = purchases.iter().map(|(purchase, _)| purchase.amount.value()).collect();
    let currencies: Vec<&str> = purchases.iter().map(|(purchase, _)| purchase.amount.currency().code()).collect();
    let campaign_currencies: Vec<&str> = purchases.iter().map(|(_, currency)| currency.code()).collect();
    let dates: Vec<Date> = purchases.iter().map(|(purchase, _)| purchase.timestamp.date()).collect();
    let times: Vec<UtcDateTime> = purchases.iter().map(|(purchase, _)| purchase.timestamp).collect();
    sqlx::query(
        "INSERT INTO parked_purchases
             (campaign_id, user_id, event_id, amount, currency, campaign_currency, date, purchased_at, arrival)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::numeric[], $5::text[], $6::text[], $7::date[],
             $8::timestamptz[], $9::bigint[])",
    )
    .bind(column(|purchase| purchase.campaign_id.get()))
    .bind(column(|purchase| purchase.user_id.get()))
    .bind(&events)
    .bind(&amounts)
    .bind(&currencies)
    .bind(&campaign_currencies)
    .bind(&dates)
    .bind(&times)
    .bind(column(|purchase| purchase.arrival))
    .execute(connection)
    .await?;
    Ok(())
}

/// A parked purchase.
#[derive(sqlx::FromRow)]
struct ParkedRow {
    campaign_id: i64,
    user_id: i64,
    event_id: Option<String>,
    amount: Decimal,
    purchased_at: UtcDateTime,
    arrival: i64,
}

/// Takes at most `limit` purchases of a group out: they are the caller's to count, in the same transaction. Those that another
/// transaction has taken are left to it.
pub(crate) async fn take_parked(
    connection: &mut PgConnection,
    group: ParkedGroup,
    limit: u32,
) -> Result<Vec<QualifiedPurchaseEvent>, StoreError> {
    let rows: Vec<ParkedRow> = sqlx::query_as(
        "DELETE FROM parked_purchases WHERE id = ANY (ARRAY(
             SELECT id FROM parked_purchases WHERE currency = $1 AND campaign_currency = $2 AND date = $3
             ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED))
         RETURNING campaign_id, user_id, event_id, amount, purchased_at, arrival",
    )
    .bind(group.from.code())
    .bind(group.to.code())
    .bind(group.date)
    .bind(i64::from(limit))
    .persistent(false)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(QualifiedPurchaseEvent {
                event_id: row.event_id.as_deref().map(event_id).transpose()?,
                user_id: user_id(row.user_id)?,
                campaign_id: campaign_id(row.campaign_id)?,
                amount: money(row.amount, group.from)?,
                timestamp: row.purchased_at,
                arrival: row.arrival,
            })
        })
        .collect()
}
