//! Appending: in the caller's transaction, one statement however many events.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::PgConnection;

use super::{StreamError, Topic, partition_of};

/// An event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    key: String,
    payload: String,
}

impl NewEvent {
    /// An event whose content is `payload` as JSON. Events of the same key keep their order.
    ///
    /// # Errors
    /// When `payload` cannot be written as JSON.
    pub fn new(key: impl ToString, payload: &impl Serialize) -> Result<Self, StreamError> {
        Ok(Self { key: key.to_string(), payload: serde_json::to_string(payload)? })
    }
}

/// Locks the heads in the order of the partitions, so that two transactions never wait for each other, moves them, and
/// inserts the events at the positions that this gives.
const APPEND: &str = "
WITH counted AS (
    SELECT partition, count(*) AS events FROM unnest($2::integer[]) AS partition GROUP BY partition
), locked AS MATERIALIZED (
    SELECT partition FROM stream_partitions
    WHERE topic_id = $1 AND partition = ANY ($2) ORDER BY partition FOR UPDATE
), moved AS (
    UPDATE stream_partitions AS head SET head = head.head + counted.events
    FROM locked JOIN counted USING (partition)
    WHERE head.topic_id = $1 AND head.partition = locked.partition
    RETURNING head.partition, head.head - counted.events AS before
)
INSERT INTO stream_events (topic_id, partition, position, key, payload)
SELECT $1, event.partition, moved.before + event.ordinal, event.key, event.payload::json
FROM unnest($2::integer[], $3::bigint[], $4::text[], $5::text[]) AS event (partition, ordinal, key, payload)
JOIN moved USING (partition)";

/// Appends `events` to `topic` as part of the caller's transaction, which must be one: the partitions stay locked until it ends, so
/// append last and commit soon. Each event goes to its key's partition; within it, in the order given.
///
/// One transaction that appends twice, or to several topics, must do so in the same order as all others, or the database may
/// have to break a deadlock.
///
/// # Errors
/// When the topic is unknown or the database fails; the transaction is then to be rolled back.
pub async fn append(connection: &mut PgConnection, topic: &Topic, events: &[NewEvent]) -> Result<(), StreamError> {
    if events.is_empty() {
        return Ok(());
    }
    let known = topic.known(connection).await?;
    let mut partitions: Vec<i32> = Vec::with_capacity(events.len());
    let mut ordinals: Vec<i64> = Vec::with_capacity(events.len());
    let mut keys: Vec<&str> = Vec::with_capacity(events.len());
    let mut payloads: Vec<&str> = Vec::with_capacity(events.len());
    let mut counts: HashMap<i32, i64> = HashMap::new();
    for event in events {
        let partition = partition_of(&event.key, known.partitions).cast_signed();
        let ordinal = counts.entry(partition).or_default();
        *ordinal += 1;
        partitions.push(partition);
        ordinals.push(*ordinal);
        keys.push(&event.key);
        payloads.push(&event.payload);
    }
    let inserted = sqlx::query(APPEND)
        .bind(known.id)
        .bind(&partitions)
        .bind(&ordinals)
        .bind(&keys)
        .bind(&payloads)
        .execute(connection)
        .await?
        .rows_affected();
    debug_assert_eq!(inserted, events.len() as u64);
    Ok(())
}
