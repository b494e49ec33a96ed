//! What streams tell the outside. Labels are names from migrations and partition numbers: bounded.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::StreamError;
use crate::database::Database;
use crate::telemetry::Metrics;

/// The metrics of all streams of a process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct StreamMetrics {
    consumed: Family<GroupLabels, Counter>,
    failed: Family<GroupLabels, Counter>,
    lag: Family<PartitionLabels, Gauge>,
    oldest: Family<PartitionLabels, Gauge<f64, AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    topic: String,
    group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    group: String,
    partition: i32,
}

impl StreamMetrics {
    /// Registers the metrics; once a process.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let streams = Self::default();
        metrics.register(|registry| {
            registry.register("stream_events_consumed", "Events whose effect is committed", streams.consumed.clone());
            registry.register("stream_batches_failed", "Batches that were rolled back", streams.failed.clone());
            registry.register("stream_lag_events", "Events that a group has not processed", streams.lag.clone());
            registry.register(
                "stream_oldest_unprocessed_seconds",
                "For how long the oldest event that a group has not processed has been there",
                streams.oldest.clone(),
            );
        });
        streams
    }

    /// Tells of what [`lag`] has found.
    pub fn observe(&self, lags: &[PartitionLag]) {
        for PartitionLag { topic, consumer_group, partition, events, oldest_seconds } in lags {
            let labels = PartitionLabels { topic: topic.clone(), group: consumer_group.clone(), partition: *partition };
            self.lag.get_or_create(&labels).set(*events);
            self.oldest.get_or_create(&labels).set(*oldest_seconds);
        }
    }

    pub(super) fn of_group(&self, topic: &str, group: &str) -> GroupMetrics {
        let labels = GroupLabels { topic: topic.to_owned(), group: group.to_owned() };
        GroupMetrics { consumed: self.consumed.get_or_create_owned(&labels), failed: self.failed.get_or_create_owned(&labels) }
    }
}

/// The counters of one consumer.
#[derive(Debug)]
pub(super) struct GroupMetrics {
    consumed: Counter,
    failed: Counter,
}

impl GroupMetrics {
    pub(super) fn consumed(&self, events: u32) {
        self.consumed.inc_by(u64::from(events));
    }

    pub(super) fn failed(&self) {
        self.failed.inc();
    }
}

/// How far a group is behind in one partition.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct PartitionLag {
    /// The topic's name.
    pub topic: String,
    /// The group's name.
    pub consumer_group: String,
    /// Which partition.
    pub partition: i32,
    /// Events that the group has not processed.
    pub events: i64,
    /// For how many seconds the oldest of them has been there, by the database's clock; 0 if there is none.
    pub oldest_seconds: f64,
}

/// Asks the database how far each group is behind, in the order of topics, groups and partitions. The oldest event is one look into an index for each
/// partition that is behind.
///
/// # Errors
/// When the database fails.
pub async fn lag(database: &Database) -> Result<Vec<PartitionLag>, StreamError> {
    let mut connection = database.acquire().await?;
    Ok(sqlx::query_as(
        "SELECT topic.name AS topic, own.consumer_group, own.partition, head.head - own.position AS events,
             CASE WHEN head.head > own.position THEN coalesce(greatest(0, (
                 SELECT extract(epoch FROM tenantry_now() - event.appended_at)::double precision FROM stream_events event
                 WHERE event.topic_id = own.topic_id AND event.partition = own.partition AND event.position > own.position
                 ORDER BY event.position LIMIT 1
             )), 0) ELSE 0 END AS oldest_seconds
         FROM stream_positions own
         JOIN stream_partitions head USING (topic_id, partition)
         JOIN stream_topics topic ON topic.id = own.topic_id
         ORDER BY topic.name, own.consumer_group, own.partition",
    )
    .fetch_all(&mut *connection)
    .await?)
}

/// [`lag`], as metrics; to be called every few seconds.
///
/// # Errors
/// As [`lag`].
pub async fn observe_lag(database: &Database, metrics: &StreamMetrics) -> Result<(), StreamError> {
    metrics.observe(&lag(database).await?);
    Ok(())
}
