//! Enqueuing: in the caller's transaction, one statement however many messages.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;

use super::message::seconds;
use super::{MessageId, Queue, QueueError};

/// For how long a deduplication id admits no other message.
const DEDUPLICATION_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// A message to enqueue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    payload: String,
    deduplication_id: Option<String>,
    delay: Duration,
    time_to_live: Option<Duration>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue, once the transaction commits.
    New(MessageId),
    /// This other one had its deduplication id within the last day; it may be done with already.
    Duplicate(MessageId),
}

impl Enqueued {
    /// The message in the queue.
    #[must_use]
    pub fn id(self) -> MessageId {
        match self {
            Self::New(id) | Self::Duplicate(id) => id,
        }
    }
}

impl NewMessage {
    /// The longest content, in bytes of JSON.
    pub const MAX_PAYLOAD: usize = 256 * 1024;
    /// The longest deduplication id, in bytes.
    pub const MAX_DEDUPLICATION_ID: usize = 200;

    /// A message whose content is `payload` as JSON.
    ///
    /// # Errors
    /// When `payload` cannot be written as JSON, or is longer than [`Self::MAX_PAYLOAD`].
    pub fn new(payload: &impl Serialize) -> Result<Self, QueueError> {
        let payload = serde_json::to_string(payload)?;
        if payload.len() > Self::MAX_PAYLOAD {
            return Err(QueueError::PayloadTooLong { bytes: payload.len() });
        }
        Ok(Self { payload, deduplication_id: None, delay: Duration::ZERO, time_to_live: None })
    }

    /// Enqueues it only if no message with this id was enqueued within the last day.
    ///
    /// # Errors
    /// When `id` is empty, longer than [`Self::MAX_DEDUPLICATION_ID`], or has a zero byte.
    pub fn with_deduplication_id(mut self, id: impl ToString) -> Result<Self, QueueError> {
        let id = id.to_string();
        if id.is_empty() || id.len() > Self::MAX_DEDUPLICATION_ID || id.contains('\0') {
            return Err(QueueError::DeduplicationId);
        }
        self.deduplication_id = Some(id);
        Ok(self)
    }

    /// Delivers it not before `delay` has passed.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How long it lives, from when it is visible for the first time, instead of the queue's time to live.
    #[must_use]
    pub fn with_time_to_live(mut self, duration: Duration) -> Self {
        self.time_to_live = Some(duration);
        self
    }
}

/// Records the deduplication ids in their order, so that two transactions never wait for each other, and inserts the messages whose
/// id nobody else's message has. A record that is renewed names the message that it admits; one whose window has not ended stays as it is.
const ENQUEUE: &str = "
WITH incoming AS (
    SELECT id, payload, deduplication_id, tenantry_now() + make_interval(secs => delay) AS visible_at, make_interval(secs => life) AS life
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::double precision[], $6::double precision[])
        AS message (id, payload, deduplication_id, delay, life)
), recorded AS (
    INSERT INTO queue_deduplications AS known (queue_id, deduplication_id, message_id, ends_at)
    SELECT $1, deduplication_id, id, tenantry_now() + make_interval(secs => $7)
    FROM incoming WHERE deduplication_id IS NOT NULL ORDER BY deduplication_id
    ON CONFLICT (queue_id, deduplication_id) DO UPDATE SET
        message_id = CASE WHEN known.ends_at <= tenantry_now() THEN excluded.message_id ELSE known.message_id END,
        ends_at = CASE WHEN known.ends_at <= tenantry_now() THEN excluded.ends_at ELSE known.ends_at END
    RETURNING deduplication_id, message_id
), inserted AS (
    INSERT INTO queue_messages (id, queue_id, visible_at, expires_at, payload)
    SELECT id, $1, visible_at, visible_at + life, payload::json FROM incoming
    WHERE deduplication_id IS NULL OR id IN (SELECT message_id FROM recorded)
)
SELECT deduplication_id, message_id FROM recorded";

impl Queue {
    /// Enqueues a message as part of the caller's transaction, if `connection` is in one.
    ///
    /// # Errors
    /// When the queue is unknown or the database fails; a transaction is then to be rolled back.
    pub async fn enqueue(&self, connection: &mut PgConnection, message: NewMessage) -> Result<Enqueued, QueueError> {
        let id = MessageId::generate();
        let admitted = self.insert(connection, &[(id, &message)]).await?;
        Ok(became(id, &message, &admitted))
    }

    /// Enqueues messages, all or none; what became of each, in their order. They are delivered in this order as far as one consumer
    /// takes them. Of several with one deduplication id, the first counts.
    ///
    /// Where another transaction has enqueued one of the deduplication ids and not ended yet, this waits for it.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_all(&self, connection: &mut PgConnection, messages: &[NewMessage]) -> Result<Vec<Enqueued>, QueueError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<MessageId> = messages.iter().map(|_| MessageId::generate()).collect();
        let mut first_of = HashSet::new();
        let incoming: Vec<(MessageId, &NewMessage)> = ids
            .iter()
            .copied()
            .zip(messages)
            .filter(|(_, message)| message.deduplication_id.as_deref().is_none_or(|id| first_of.insert(id)))
            .collect();
        let admitted = self.insert(connection, &incoming).await?;
        Ok(ids.into_iter().zip(messages).map(|(id, message)| became(id, message, &admitted)).collect())
    }

    /// Inserts what is admitted; which message each deduplication id stands for.
    async fn insert(
        &self,
        connection: &mut PgConnection,
        messages: &[(MessageId, &NewMessage)],
    ) -> Result<HashMap<String, MessageId>, QueueError> {
        let queue = self.id(connection).await?;
        let ids: Vec<MessageId> = messages.iter().map(|(id, _)| *id).collect();
        let payloads: Vec<&str> = messages.iter().map(|(_, message)| message.payload.as_str()).collect();
        let deduplication_ids: Vec<Option<&str>> = messages.iter().map(|(_, message)| message.deduplication_id.as_deref()).collect();
        let delays: Vec<f64> = messages.iter().map(|(_, message)| seconds(message.delay)).collect();
        let lives: Vec<f64> =
            messages.iter().map(|(_, message)| seconds(message.time_to_live.unwrap_or_else(|| self.time_to_live()))).collect();
        let recorded: Vec<(String, MessageId)> = sqlx::query_as(ENQUEUE)
            .bind(queue)
            .bind(&ids)
            .bind(&payloads)
            .bind(&deduplication_ids)
            .bind(&delays)
            .bind(&lives)
            .bind(seconds(DEDUPLICATION_WINDOW))
            .fetch_all(connection)
            .await?;
        Ok(recorded.into_iter().collect())
    }
}

fn became(id: MessageId, message: &NewMessage, admitted: &HashMap<String, MessageId>) -> Enqueued {
    let stands_for = message.deduplication_id.as_deref().and_then(|key| admitted.get(key)).copied();
    match stands_for {
        Some(other) if other != id => Enqueued::Duplicate(other),
        _ => Enqueued::New(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_deduplication_ids_that_are_too_long_are_refused() {
        assert!(NewMessage::new(&"a".repeat(NewMessage::MAX_PAYLOAD - 2)).is_ok());
        assert!(matches!(NewMessage::new(&"a".repeat(NewMessage::MAX_PAYLOAD)), Err(QueueError::PayloadTooLong { .. })));
        let message = NewMessage::new(&1).unwrap();
        for id in ["", "a\0b", &"a".repeat(201)] {
            assert!(matches!(message.clone().with_deduplication_id(id), Err(QueueError::DeduplicationId)), "{id:?}");
        }
        message.with_deduplication_id("a".repeat(200)).unwrap();
    }
}
