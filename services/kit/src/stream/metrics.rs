//! What streams tell the outside. Labels are names from migrations and partition numbers: bounded.

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
        });
        streams
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

/// Asks the database how far each group is behind, per partition; to be called every few seconds.
///
/// # Errors
/// When the database fails.
pub async fn observe_lag(database: &Database, metrics: &StreamMetrics) -> Result<(), StreamError> {
    let mut connection = database.acquire().await?;
    let rows: Vec<(String, String, i32, i64)> = sqlx::query_as(
        "SELECT topic.name, own.consumer_group, own.partition, head.head - own.position
         FROM stream_positions own
         JOIN stream_partitions head USING (topic_id, partition)
         JOIN stream_topics topic ON topic.id = own.topic_id",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (topic, group, partition, lag) in rows {
        metrics.lag.get_or_create(&PartitionLabels { topic, group, partition }).set(lag);
    }
    Ok(())
}
