//! Accepting purchases: once for each event id, together with the events, and durable before the answer.

use std::collections::HashMap;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::stream::{NewEvent, append};
use tenantry_kit::time::UtcDateTime;

use super::events::PurchaseEvent;
use super::{Store, StoreError};
use crate::domain::{Purchase, PurchaseAcceptance};

/// Numbers what is given in its order, and inserts it in the order of the event ids: transactions that have some in common wait for each
/// other, but never in a circle.
const INSERT: &str = r#"
WITH numbered AS MATERIALIZED (
    SELECT given.*, nextval(pg_get_serial_sequence('purchases', 'arrival')) AS arrival
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::numeric[], $5::text[], $6::timestamptz[])
        AS given (event_id, user_id, item_id, amount, currency, purchased_at)
)
INSERT INTO purchases (event_id, user_id, item_id, amount, currency, purchased_at, arrival) OVERRIDING SYSTEM VALUE
SELECT event_id, user_id, item_id, amount, currency, purchased_at, arrival FROM numbered ORDER BY event_id COLLATE "C"
ON CONFLICT (event_id) DO NOTHING RETURNING event_id, arrival"#;

impl Store {
    /// Accepts purchases whose event ids are not known, all in one transaction; what becomes of each, in the order given. Of several with one
    /// event id, the first is taken.
    ///
    /// # Errors
    /// When the database fails. Whether they were accepted is then unknown: report them again.
    pub async fn accept_purchases(&self, purchases: &[Purchase]) -> Result<Vec<PurchaseAcceptance>, StoreError> {
        let mut transaction = self.database.begin().await?;
        let mut first_of: HashMap<&str, usize> = HashMap::with_capacity(purchases.len());
        let mut firsts: Vec<&Purchase> = Vec::with_capacity(purchases.len());
        for (index, purchase) in purchases.iter().enumerate() {
            first_of.entry(purchase.event_id.as_str()).or_insert_with(|| {
                firsts.push(purchase);
                index
            });
        }
        let arrivals = insert(&mut transaction, &firsts).await?;
        let accepted = |purchase: &Purchase| arrivals.get(purchase.event_id.as_str()).copied();
        let known = if arrivals.len() == firsts.len() {
            HashMap::new()
        } else {
            let taken: Vec<&str> =
                firsts.iter().filter(|purchase| accepted(purchase).is_none()).map(|purchase| purchase.event_id.as_str()).collect();
            known(&mut transaction, &taken).await?
        };
        let mut events: Vec<(i64, &Purchase)> = firsts.iter().filter_map(|purchase| Some((accepted(purchase)?, *purchase))).collect();
        events.sort_unstable_by_key(|(arrival, _)| *arrival);
        let events: Vec<NewEvent> = events
            .into_iter()
            .map(|(arrival, purchase)| NewEvent::new(purchase.user_id.get(), &PurchaseEvent::new(purchase, arrival)))
            .collect::<Result<_, _>>()?;
        append(&mut transaction, &self.topics.purchase_events, &events).await?;
        transaction.commit().await?;

        let acceptance = |(index, purchase): (usize, &Purchase)| {
            let event_id = purchase.event_id.as_str();
            let first = first_of.get(event_id).copied().unwrap_or(index);
            let is_accepted = accepted(purchase).is_some();
            if is_accepted && first == index {
                return PurchaseAcceptance::Accepted;
            }
            let is_same = match known.get(event_id) {
                Some(content) => *content == Content::of(purchase),
                None => purchases.get(first).is_some_and(|first| Content::of(first) == Content::of(purchase)),
            };
            if is_same { PurchaseAcceptance::Repeated } else { PurchaseAcceptance::Conflict }
        };
        Ok(purchases.iter().enumerate().map(acceptance).collect())
    }

    /// [`Self::accept_purchases`], of one.
    ///
    /// # Errors
    /// As [`Self::accept_purchases`].
    pub async fn accept_purchase(&self, purchase: &Purchase) -> Result<PurchaseAcceptance, StoreError> {
        let acceptances = self.accept_purchases(std::slice::from_ref(purchase)).await?;
        Ok(acceptances.first().copied().unwrap_or(PurchaseAcceptance::Conflict))
    }
}

/// Everything of a purchase but its event id: what must be the same when it is reported again.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    user_id: i64,
    item_id: i64,
    amount: Decimal,
    currency: String,
    timestamp: UtcDateTime,
}

impl Content {
    fn of(purchase: &Purchase) -> Self {
        Self {
            user_id: purchase.user_id.get(),
            item_id: purchase.item_id.get(),
            amount: purchase.amount.value(),
            currency: purchase.amount.currency().code().to_owned(),
            timestamp: purchase.timestamp,
        }
    }
}

/// The numbers, in the order of acceptance, of the purchases whose event ids were not taken. Waits for a transaction that is taking one.
async fn insert(connection: &mut PgConnection, purchases: &[&Purchase]) -> Result<HashMap<String, i64>, sqlx::Error> {
    let event_ids: Vec<&str> = purchases.iter().map(|purchase| purchase.event_id.as_str()).collect();
    let users: Vec<i64> = purchases.iter().map(|purchase| purchase.user_id.get()).collect();
    let items: Vec<i64> = purchases.iter().map(|purchase| purchase.item_id.get()).collect();
    let amounts: Vec<Decimal> = purchases.iter().map(|purchase| purchase.amount.value()).collect();
    let currencies: Vec<&str> = purchases.iter().map(|purchase| purchase.amount.currency().code()).collect();
    let times: Vec<UtcDateTime> = purchases.iter().map(|purchase| purchase.timestamp).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(INSERT)
        .bind(&event_ids)
        .bind(&users)
        .bind(&items)
        .bind(&amounts)
        .bind(&currencies)
        .bind(&times)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().collect())
}

/// What is known under these event ids. In a statement of its own, which sees what others have committed since the insert began.
async fn known(connection: &mut PgConnection, event_ids: &[&str]) -> Result<HashMap<String, Content>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, Decimal, String, UtcDateTime)> =
        sqlx::query_as("SELECT event_id, user_id, item_id, amount, currency, purchased_at FROM purchases WHERE event_id = ANY ($1)")
            .bind(event_ids)
            .fetch_all(connection)
            .await?;
    let content =
        |(event_id, user_id, item_id, amount, currency, timestamp)| (event_id, Content { user_id, item_id, amount, currency, timestamp });
    Ok(rows.into_iter().map(content).collect())
}
