//! Deleting events that are old and that every group of their topic has passed.

use std::time::Duration;

use super::StreamError;
use crate::database::Database;

/// How long events stay, and how many are deleted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// An event stays at least this long.
    pub age: Duration,
    /// The most events deleted per partition in one transaction.
    pub batch: u32,
}

/// Deletes one batch per partition; how many events in all. To be called again while it deletes. Where another process is at
/// it, it does nothing. Events without any group stay for their age alone.
///
/// # Errors
/// When the database fails.
pub async fn delete_expired(database: &Database, retention: Retention) -> Result<u64, StreamError> {
    let mut transaction = database.begin().await?;
    let is_alone: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended('tenantry stream retention ' || current_schema(), 0))")
            .fetch_one(&mut *transaction)
            .await?;
    if !is_alone {
        return Ok(0);
    }
    // Only the oldest events are looked at, so that the work is bounded also where nothing is to be deleted.
    let deleted = sqlx::query(
        "WITH passed AS (
            SELECT head.topic_id, head.partition, coalesce(min(own.position), head.head) AS position
            FROM stream_partitions head LEFT JOIN stream_positions own USING (topic_id, partition)
            GROUP BY head.topic_id, head.partition
         ), expired AS (
            SELECT oldest.topic_id, oldest.partition, max(oldest.position) AS position
            FROM passed CROSS JOIN LATERAL (
                SELECT event.* FROM stream_events event
                WHERE event.topic_id = passed.topic_id AND event.partition = passed.partition
                  AND event.position <= passed.position
                ORDER BY event.position LIMIT $2
            ) oldest
            WHERE oldest.appended_at < tenantry_now() - make_interval(secs => $1)
            GROUP BY oldest.topic_id, oldest.partition
         )
         DELETE FROM stream_events event USING expired
         WHERE event.topic_id = expired.topic_id AND event.partition = expired.partition
           AND event.position <= expired.position",
    )
    .bind(retention.age.as_secs_f64())
    .bind(i64::from(retention.batch))
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    Ok(deleted)
}
