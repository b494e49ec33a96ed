//! Locking: taking messages for a time, and taking more time for them.

use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use uuid::Uuid;

use super::dead_letters::bury;
use super::message::{missing, seconds};
use super::{DeadLetterReason, HandlerError, MessageId, Queue, QueueError};
use crate::time::UtcDateTime;

/// The proof of holding a message's lock. It is stale once the lock has run out or the message was answered, also where nobody else
/// has locked the message since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockToken {
    pub(super) message: MessageId,
    pub(super) lock: Uuid,
}

impl LockToken {
    /// The message that is locked.
    #[must_use]
    pub fn message(self) -> MessageId {
        self.message
    }
}

/// A message that the caller holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedMessage {
    /// What the caller answers with.
    pub token: LockToken,
    /// How often it has been delivered, this time included.
    pub deliveries: u32,
    /// When it was enqueued.
    pub enqueued_at: UtcDateTime,
    /// When it was delivered: this lock's beginning.
    pub delivered_at: UtcDateTime,
    /// When its lock ends, unless it is extended.
    pub locked_until: UtcDateTime,
    /// What went wrong with the delivery before, if it is known.
    pub last_error: Option<String>,
    /// Its content, as JSON.
    pub payload: String,
}

impl LockedMessage {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.token.message
    }

    /// The content as `T`.
    ///
    /// # Errors
    /// When it is not one: for a handler, a failure that no other delivery changes.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        serde_json::from_str(&self.payload).map_err(|error| HandlerError::permanent(DeadLetterReason::UNREADABLE, error))
    }
}

/// What locking gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedBatch {
    /// The messages, those first that have been visible for longest.
    pub messages: Vec<LockedMessage>,
    /// Messages that would have been delivered but for their time to live or the delivery limit, and are dead letters now.
    pub dead_lettered: Vec<(MessageId, DeadLetterReason)>,
    /// Whether there may be more: as many were found as were asked for.
    pub is_full: bool,
    /// Since when the first of them was visible, or when none was: what other transactions had not under way is not before it.
    pub(super) front: UtcDateTime,
}

/// A row of [`LOCK`]: a candidate, which is either dead-lettered (`reason`) or locked (the rest), or neither when somebody else was faster. Without
/// candidates, one row without an id.
#[derive(sqlx::FromRow)]
struct Candidate {
    front: UtcDateTime,
    id: Option<MessageId>,
    reason: Option<String>,
    deliveries: Option<i32>,
    enqueued_at: Option<UtcDateTime>,
    delivered_at: Option<UtcDateTime>,
    visible_at: Option<UtcDateTime>,
    last_error: Option<String>,
    payload: Option<String>,
}

/// Takes the candidates from the front of the index by visibility, passing over those that another transaction is at. They
/// are changed by their ids alone then, so that no other index can be thought to serve.
const LOCK: &str = concat!(
    "WITH candidates AS MATERIALIZED (
        SELECT id, visible_at FROM queue_messages
        WHERE queue_id = $1 AND visible_at <= tenantry_now() AND visible_at >= coalesce($7, '-infinity')
        ORDER BY visible_at, id LIMIT $2 FOR UPDATE SKIP LOCKED
     ), dead AS (
        DELETE FROM queue_messages
        WHERE id = ANY (ARRAY(SELECT id FROM candidates)) AND (expires_at <= tenantry_now() OR deliveries >= $3)
        RETURNING *, CASE WHEN expires_at <= tenantry_now() THEN 'expired' ELSE 'delivery_limit' END AS reason,
            CASE WHEN lock_token IS NULL THEN last_error ELSE $6 END AS error
     ), buried AS (",
    bury!(),
    " RETURNING id, reason
     ), locked AS (
        UPDATE queue_messages SET
            lock_token = $4, visible_at = tenantry_now() + make_interval(secs => $5),
            deliveries = deliveries + 1, delivered_at = tenantry_now(),
            last_error = CASE WHEN lock_token IS NULL THEN last_error ELSE $6 END
        WHERE id = ANY (ARRAY(SELECT id FROM candidates)) AND expires_at > tenantry_now() AND deliveries < $3
        RETURNING id, deliveries, enqueued_at, delivered_at, visible_at, last_error, payload
     )
     SELECT coalesce(candidates.visible_at, clock.now) AS front, id, buried.reason, locked.deliveries, locked.enqueued_at, locked.delivered_at, locked.visible_at, locked.last_error,
         locked.payload::text AS payload
     FROM (SELECT tenantry_now() AS now) AS clock
     LEFT JOIN (candidates LEFT JOIN buried USING (id) LEFT JOIN locked USING (id)) ON true
     ORDER BY candidates.visible_at, id"
);

/// What is recorded of a delivery whose consumer went away.
pub(super) const NOT_ANSWERED: &str = "the delivery before was not answered until its lock ran out";

impl Queue {
    /// Locks at most `limit` visible messages for the queue's lock duration, the one that has been visible for longest first. Each is delivered
    /// by that, whether it is answered or not. Several consumers get different messages, and none waits for another.
    ///
    /// What has outlived its time to live or used up its deliveries is dead-lettered instead.
    ///
    /// # Errors
    /// When the queue is unknown or the database fails. A failure without an answer may have locked messages; they are free again when their
    /// lock runs out.
    pub async fn lock(&self, connection: &mut PgConnection, limit: u32) -> Result<LockedBatch, QueueError> {
        self.lock_for(connection, limit, self.lock_duration()).await
    }

    /// [`Self::lock`], for `duration`.
    ///
    /// # Errors
    /// As [`Self::lock`].
    pub async fn lock_for(&self, connection: &mut PgConnection, limit: u32, duration: Duration) -> Result<LockedBatch, QueueError> {
        self.lock_from(connection, limit, duration, None).await
    }

    /// [`Self::lock_for`], only among what has been visible since `from`.
    pub(super) async fn lock_from(
        &self,
        connection: &mut PgConnection,
        limit: u32,
        duration: Duration,
        from: Option<UtcDateTime>,
    ) -> Result<LockedBatch, QueueError> {
        let queue = self.id(connection).await?;
        let lock = Uuid::new_v4();
        // Planned each time: a plan that was made when the table was nearly empty would read a full one from end to end.
        let candidates: Vec<Candidate> = sqlx::query_as(LOCK)
            .bind(queue)
            .bind(i64::from(limit))
            .bind(self.delivery_limit())
            .bind(lock)
            .bind(seconds(duration))
            .bind(NOT_ANSWERED)
            .bind(from)
            .persistent(false)
            .fetch_all(connection)
            .await?;
        let front = candidates.first().ok_or(sqlx::Error::RowNotFound)?.front;
        let is_full = candidates.iter().filter(|candidate| candidate.id.is_some()).count() >= limit as usize;
        let mut batch = LockedBatch { messages: Vec::with_capacity(candidates.len()), dead_lettered: Vec::new(), is_full, front };
        for candidate in candidates {
            if let (Some(id), Some(reason)) = (candidate.id, &candidate.reason) {
                let reason = if reason == "expired" { DeadLetterReason::EXPIRED } else { DeadLetterReason::DELIVERY_LIMIT };
                batch.dead_lettered.push((id, reason));
            } else if let Some(message) = candidate.locked_with(lock) {
                batch.messages.push(message);
            }
        }
        Ok(batch)
    }

    /// Extends locks: they end `duration` from now.
    ///
    /// # Errors
    /// [`QueueError::StaleLock`] names the messages whose tokens are stale; the others' locks are extended, unless the caller rolls back.
    pub async fn extend(&self, connection: &mut PgConnection, tokens: &[LockToken], duration: Duration) -> Result<(), QueueError> {
        const EXTEND: &str = "
            UPDATE queue_messages SET visible_at = tenantry_now() + make_interval(secs => $3)
            WHERE id = ANY ($1) AND lock_token = ($2::uuid[])[array_position($1, id)] AND visible_at > tenantry_now()
            RETURNING id";
        let (messages, locks) = columns(tokens);
        let extended: Vec<MessageId> =
            sqlx::query_scalar(EXTEND).bind(&messages).bind(&locks).bind(seconds(duration)).persistent(false).fetch_all(connection).await?;
        all_answered(&messages, &extended)
    }
}

impl Candidate {
    fn locked_with(self, lock: Uuid) -> Option<LockedMessage> {
        Some(LockedMessage {
            token: LockToken { message: self.id?, lock },
            deliveries: self.deliveries?.unsigned_abs(),
            enqueued_at: self.enqueued_at?,
            delivered_at: self.delivered_at?,
            locked_until: self.visible_at?,
            last_error: self.last_error,
            payload: self.payload?,
        })
    }
}

/// The tokens as two arrays for the database.
pub(super) fn columns(tokens: &[LockToken]) -> (Vec<MessageId>, Vec<Uuid>) {
    tokens.iter().map(|token| (token.message, token.lock)).unzip()
}

/// An error that names the messages that are not among those done, if there are any.
pub(super) fn all_answered(asked: &[MessageId], done: &[MessageId]) -> Result<(), QueueError> {
    let stale = missing(asked, done);
    if stale.is_empty() { Ok(()) } else { Err(QueueError::StaleLock { messages: stale }) }
}
