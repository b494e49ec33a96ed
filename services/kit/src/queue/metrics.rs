//! What queues tell the outside. Labels are names from migrations and reasons from code: bounded.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{DeadLetterReason, Queue, QueueError};
use crate::database::Database;
use crate::telemetry::Metrics;

/// The metrics of all queues of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct QueueMetrics {
    delivered: Family<QueueLabels, Counter>,
    completed: Family<QueueLabels, Counter>,
    abandoned: Family<QueueLabels, Counter>,
    dead_lettered: Family<ReasonLabels, Counter>,
    handling: Family<QueueLabels, Histogram>,
    visible: Family<QueueLabels, Gauge>,
    locked: Family<QueueLabels, Gauge>,
    delayed: Family<QueueLabels, Gauge>,
    dead_letters: Family<QueueLabels, Gauge>,
    oldest_visible: Family<QueueLabels, Gauge<f64, AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    queue: String,
    reason: String,
}

impl QueueMetrics {
    /// Registers the metrics; once a process.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        const BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];
        let queues = Self {
            delivered: Family::default(),
            completed: Family::default(),
            abandoned: Family::default(),
            dead_lettered: Family::default(),
            handling: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            visible: Family::default(),
            locked: Family::default(),
            delayed: Family::default(),
            dead_letters: Family::default(),
            oldest_visible: Family::default(),
        };
        metrics.register(|registry| {
            registry.register("queue_messages_delivered", "Messages that were locked to be handled", queues.delivered.clone());
            registry.register("queue_messages_completed", "Messages whose effect is committed", queues.completed.clone());
            registry.register("queue_messages_abandoned", "Messages that are to be delivered again", queues.abandoned.clone());
            registry.register("queue_messages_dead_lettered", "Messages that went to the dead letters", queues.dead_lettered.clone());
            registry.register("queue_handler_duration_seconds", "Time that a handler took for a message", queues.handling.clone());
            registry.register("queue_visible_messages", "Messages that wait for a consumer, as far as 100000", queues.visible.clone());
            registry.register("queue_locked_messages", "Messages that a consumer holds", queues.locked.clone());
            registry.register(
                "queue_delayed_messages",
                "Messages that are to be delivered later, as far as 100000",
                queues.delayed.clone(),
            );
            registry.register("queue_dead_letters", "Dead letters, as far as 100000", queues.dead_letters.clone());
            registry.register(
                "queue_oldest_visible_age_seconds",
                "For how long the message that waited longest has waited for a consumer",
                queues.oldest_visible.clone(),
            );
        });
        queues
    }

    pub(super) fn of_queue(&self, queue: &str) -> Counters {
        let labels = QueueLabels { queue: queue.to_owned() };
        Counters {
            delivered: self.delivered.get_or_create_owned(&labels),
            completed: self.completed.get_or_create_owned(&labels),
            abandoned: self.abandoned.get_or_create_owned(&labels),
            handling: self.handling.get_or_create_owned(&labels),
            dead_lettered: self.dead_lettered.clone(),
            queue: labels.queue,
        }
    }
}

/// What is counted of one queue.
#[derive(Debug)]
pub(super) struct Counters {
    queue: String,
    delivered: Counter,
    completed: Counter,
    abandoned: Counter,
    handling: Histogram,
    dead_lettered: Family<ReasonLabels, Counter>,
}

impl Counters {
    pub(super) fn delivered(&self, messages: usize) {
        self.delivered.inc_by(messages as u64);
    }

    pub(super) fn completed(&self) {
        self.completed.inc();
    }

    pub(super) fn abandoned(&self) {
        self.abandoned.inc();
    }

    pub(super) fn dead_lettered(&self, reason: &DeadLetterReason, messages: u64) {
        if messages > 0 {
            let labels = ReasonLabels { queue: self.queue.clone(), reason: reason.to_string() };
            self.dead_lettered.get_or_create(&labels).inc_by(messages);
        }
    }

    pub(super) fn handled(&self, took: Duration) {
        self.handling.observe(took.as_secs_f64());
    }
}

/// Each count ends at its limit, so that a queue with millions is not read through every few seconds. Who holds a lock is before
/// those who are delayed for longer than a lock lasts.
const OBSERVE: &str = "
    SELECT
        (SELECT count(*) FROM (
            SELECT FROM queue_messages WHERE queue_id = $1 AND visible_at <= tenantry_now() LIMIT $2) AS visible),
        (SELECT extract(epoch FROM tenantry_now() - min(visible_at))::double precision
            FROM queue_messages WHERE queue_id = $1 AND visible_at <= tenantry_now()),
        count(*) FILTER (WHERE lock_token IS NOT NULL),
        count(*) FILTER (WHERE lock_token IS NULL),
        (SELECT count(*) FROM (SELECT FROM queue_dead_letters WHERE queue_id = $1 LIMIT $2) AS dead)
    FROM (SELECT lock_token FROM queue_messages WHERE queue_id = $1 AND visible_at > tenantry_now() ORDER BY visible_at LIMIT $2) AS invisible";

/// Asks the database how full a queue is; to be called every few seconds.
///
/// # Errors
/// When the queue is unknown or the database fails.
pub async fn observe(database: &Database, queue: &Queue, metrics: &QueueMetrics) -> Result<(), QueueError> {
    const COUNTED: i64 = 100_000;
    let mut connection = database.acquire().await?;
    let id = queue.id(&mut connection).await?;
    let (visible, age, locked, delayed, dead): (i64, Option<f64>, i64, i64, i64) =
        sqlx::query_as(OBSERVE).bind(id).bind(COUNTED).persistent(false).fetch_one(&mut *connection).await?;
    let labels = QueueLabels { queue: queue.name().to_owned() };
    metrics.visible.get_or_create(&labels).set(visible);
    metrics.oldest_visible.get_or_create(&labels).set(age.unwrap_or(0.0));
    metrics.locked.get_or_create(&labels).set(locked);
    metrics.delayed.get_or_create(&labels).set(delayed);
    metrics.dead_letters.get_or_create(&labels).set(dead);
    Ok(())
}
