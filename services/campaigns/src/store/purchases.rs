//! Accepting purchases: once for each event id, together with the event, and durable before the answer.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::stream::{NewEvent, append};
use tenantry_kit::time::UtcDateTime;

use super::events::PurchaseEvent;
use super::{Store, StoreError};
use crate::domain::{Purchase, PurchaseAcceptance};

impl Store {
    /// Accepts a purchase, unless its event id is known.
    ///
    /// # Errors
    /// When the database fails. Whether the purchase was accepted is then unknown: report it again.
    pub async fn accept_purchase(&self, purchase: &Purchase) -> Result<PurchaseAcceptance, StoreError> {
        let mut transaction = self.database.begin().await?;
        let Some(arrival) = insert(&mut transaction, purchase).await? else {
            return compare(&mut transaction, purchase).await;
        };
        let event = NewEvent::new(purchase.user_id.get(), &PurchaseEvent::new(purchase, arrival))?;
        append(&mut transaction, &self.topics.purchase_events, &[event]).await?;
        transaction.commit().await?;
        Ok(PurchaseAcceptance::Accepted)
    }
}

/// The purchase's number in the order of acceptance; `None` if its event id is taken. Waits for a transaction that is taking it.
async fn insert(connection: &mut PgConnection, purchase: &Purchase) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO purchases (event_id, user_id, item_id, amount, currency, purchased_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (event_id) DO NOTHING RETURNING arrival",
    )
    .bind(purchase.event_id.as_str())
    .bind(purchase.user_id.get())
    .bind(purchase.item_id.get())
    .bind(purchase.amount.value())
    .bind(purchase.amount.currency().code())
    .bind(purchase.timestamp)
    .fetch_optional(connection)
    .await
}

async fn compare(connection: &mut PgConnection, purchase: &Purchase) -> Result<PurchaseAcceptance, StoreError> {
    let known: (i64, i64, Decimal, String, UtcDateTime) =
        sqlx::query_as("SELECT user_id, item_id, amount, currency, purchased_at FROM purchases WHERE event_id = $1")
            .bind(purchase.event_id.as_str())
            .fetch_one(connection)
            .await?;
    let given = (
        purchase.user_id.get(),
        purchase.item_id.get(),
        purchase.amount.value(),
        purchase.amount.currency().code().to_owned(),
        purchase.timestamp,
    );
    Ok(if known == given { PurchaseAcceptance::Repeated } else { PurchaseAcceptance::Conflict })
}
