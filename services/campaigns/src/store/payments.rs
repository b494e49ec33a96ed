//! Payments of prizes: from winner to message, and back to what became of it.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgConnection;
use tenantry_kit::queue::{DeadLetter, DeadLetterKey, DeadLetterReason, MessageId, NewMessage, Queue, QueueError, QueueMetrics, observe};
use tenantry_kit::time::UtcDateTime;

use super::rows::{invalid, user_id};
use super::winners::winners_unpaid;
use super::{Store, StoreError};
use crate::domain::payment::{PaymentOrder, PaymentState, REASONS, UnpaidPrizes};
use crate::domain::{CampaignId, UserId, Winner};

/// How many messages are enqueued, or redriven, by one statement.
const BATCH: usize = 1000;
/// A prize is owed until it is paid: its dead letter stays.
const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The most that a metric counts.
const COUNTED: i64 = 100_000;

/// The queue of payments: a killed worker's are delivered again after a minute.
pub(crate) fn queue() -> Queue {
    Queue::new("prize_payments").with_lock_duration(Duration::from_secs(60))
}

impl Store {
    /// Has the winners of a campaign paid whose prizes were held; how many. `None` until they are fixed, or if there is no such campaign.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pay_held(&self, campaign: CampaignId) -> Result<Option<usize>, StoreError> {
        let mut transaction = self.database.begin().await?;
        // Locked, so that two who ask at the same time do not enqueue for the same winners.
        let won_at: Option<UtcDateTime> =
            sqlx::query_scalar("SELECT completed_at FROM campaigns WHERE id = $1 AND completed_at IS NOT NULL FOR NO KEY UPDATE")
                .bind(campaign.get())
                .fetch_optional(&mut *transaction)
                .await?;
        let Some(won_at) = won_at else { return Ok(None) };
        let winners = winners_unpaid(&mut transaction, campaign).await?;
        enqueue(&mut transaction, &self.prize_payments, campaign, won_at, &winners).await?;
        transaction.commit().await?;
        Ok(Some(winners.len()))
    }

    /// How far the payments of a campaign's winners are; those that are held are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn payments(&self, campaign: CampaignId) -> Result<HashMap<UserId, PaymentState>, StoreError> {
        let mut connection = self.database.acquire().await?;
        let rows: Vec<(i64, MessageId, Option<UtcDateTime>, Option<String>)> = sqlx::query_as(
            "SELECT payment.user_id, payment.message_id, payment.paid_at, letter.reason
             FROM prize_payments payment LEFT JOIN queue_dead_letters letter ON letter.id = payment.message_id
             WHERE payment.campaign_id = $1",
        )
        .bind(campaign.get())
        .fetch_all(&mut *connection)
        .await?;
        let state = |(user, message, paid_at, reason): (i64, MessageId, Option<UtcDateTime>, Option<String>)| {
            let state = match (paid_at, reason) {
                (Some(at), _) => PaymentState::Paid(message, at),
                (None, Some(reason)) => PaymentState::DeadLettered(message, reason.parse().map_err(invalid("a reason"))?),
                (None, None) => PaymentState::Waiting(message),
            };
            Ok((user_id(user)?, state))
        };
        rows.into_iter().map(state).collect()
    }

    /// At most `limit` payments that are tried no more, the latest first; all, or those of a reason; from the latest on, or those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn payment_dead_letters(
        &self,
        reason: Option<&DeadLetterReason>,
        after: Option<DeadLetterKey>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut connection = self.database.acquire().await?;
        Ok(self.prize_payments.dead_letters(&mut connection, reason, after, limit).await?)
    }

    /// Has a payment tried again that was tried no more, under its id; whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn redrive_payment(&self, payment: MessageId) -> Result<bool, StoreError> {
        let mut connection = self.database.acquire().await?;
        match self.prize_payments.redrive(&mut connection, &[payment]).await {
            Ok(()) => Ok(true),
            Err(QueueError::NoSuchDeadLetter { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Self::redrive_payment`], of all, or those of a reason; how many.
    ///
    /// # Errors
    /// When the database fails; some may have been put back.
    pub async fn redrive_payments(&self, reason: Option<&DeadLetterReason>) -> Result<u64, StoreError> {
        let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
        let mut redriven = 0;
        for reason in REASONS.iter().filter(|known| reason.is_none_or(|reason| reason == *known)) {
            loop {
                let mut connection = self.database.acquire().await?;
                let batch = self.prize_payments.redrive_by_reason(&mut connection, reason, limit).await?.len();
                redriven += batch as u64;
                if batch < BATCH {
                    break;
                }
            }
        }
        Ok(redriven)
    }

    /// Dead-letters payments that nobody could make in time, and observes the queue. To be called every few seconds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tend_payments(&self, metrics: &QueueMetrics) -> Result<(), StoreError> {
        while !self.prize_payments.sweep(&self.database, DEAD_LETTERS_KEPT, metrics).await?.is_empty() {}
        Ok(observe(&self.database, &self.prize_payments, metrics).await?)
    }

    /// Counts the prizes that are not paid.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unpaid_prizes(&self) -> Result<UnpaidPrizes, StoreError> {
        let mut connection = self.database.acquire().await?;
        let (held, waiting, dead) = sqlx::query_as(
            "WITH unpaid AS (SELECT message_id FROM prize_payments WHERE paid_at IS NULL LIMIT $1)
             SELECT
                 (SELECT count(*) FROM (
                     SELECT FROM campaigns JOIN campaign_winners winner ON winner.campaign_id = campaigns.id
                     WHERE campaigns.completed_at IS NOT NULL AND campaigns.payments_enqueued_at IS NULL LIMIT $1) AS held),
                 (SELECT count(*) FROM unpaid WHERE NOT EXISTS (SELECT FROM queue_dead_letters WHERE id = message_id)),
                 (SELECT count(*) FROM unpaid WHERE EXISTS (SELECT FROM queue_dead_letters WHERE id = message_id))",
        )
        .bind(COUNTED)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
        Ok(UnpaidPrizes { held, waiting, dead })
    }
}

/// Enqueues a payment for each of these winners, none of whom has one: all of a campaign who have none. The campaign's row is locked.
pub(super) async fn enqueue(
    connection: &mut PgConnection,
    queue: &Queue,
    campaign: CampaignId,
    won_at: UtcDateTime,
    winners: &[Winner],
) -> Result<(), StoreError> {
    for winners in winners.chunks(BATCH) {
        let message = |winner: &Winner| {
            let order = PaymentOrder::new(campaign, won_at, winner);
            NewMessage::new(&order)?.with_deduplication_id(format!("{campaign}/{}", winner.user_id))
        };
        let messages = winners.iter().map(message).collect::<Result<Vec<_>, QueueError>>()?;
        let ids: Vec<MessageId> = queue.enqueue_all(connection, &messages).await?.into_iter().map(|enqueued| enqueued.id()).collect();
        // The primary key keeps a winner from a second payment for ever, the deduplication id for a day.
        sqlx::query("INSERT INTO prize_payments (campaign_id, user_id, message_id) SELECT $1, * FROM unnest($2::bigint[], $3::uuid[])")
            .bind(campaign.get())
            .bind(winners.iter().map(|winner| winner.user_id.get()).collect::<Vec<_>>())
            .bind(&ids)
            .execute(&mut *connection)
            .await?;
    }
    let enqueued = sqlx::query("UPDATE campaigns SET payments_enqueued_at = tenantry_now() WHERE id = $1").bind(campaign.get());
    enqueued.execute(connection).await?;
    Ok(())
}

/// Records that a payment was taken, in the transaction that completes its message; whether there is such a payment, unpaid.
pub(crate) async fn record_paid(connection: &mut PgConnection, payment: MessageId) -> Result<bool, StoreError> {
    let paid = sqlx::query("UPDATE prize_payments SET paid_at = tenantry_now() WHERE message_id = $1 AND paid_at IS NULL").bind(payment);
    Ok(paid.execute(connection).await?.rows_affected() == 1)
}
