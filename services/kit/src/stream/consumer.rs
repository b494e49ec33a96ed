//! A consumer of one topic for one group: claims partitions, reads a batch, lets the handler act, moves the positions, commits.
//!
//! How many partitions it claims follows from what it finds: twice as many while its batches are not full, so that little work is few transactions, and
//! half as many when they are, so that under load each consumer holds no more than it works on, and the others find theirs.

mod batch;
mod trouble;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::metrics::GroupMetrics;
use super::topic::Known;
use super::{StreamError, StreamMetrics, Topic};
use crate::database::{Database, DatabaseError};
use crate::time::UtcDateTime;
use batch::Batch;
use trouble::Troubles;

/// Without events, a consumer looks again after the shortest interval, then after a quarter of the time that it has waited, up to the longest.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_millis(500);
/// While the database is not available, a consumer asks again after at most this.
const LONGEST_OUTAGE_INTERVAL: Duration = Duration::from_secs(3);
/// The longest that a batch may take, from claim to commit.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_BATCH: u32 = 1000;
/// The most partitions that are claimed at once: what one that hangs holds, no other gets until the database ends its transaction.
const MOST_PARTITIONS: u32 = 8;

/// What the consumer does with events.
pub trait Handler: Send {
    /// Acts on `events`, partition after partition and in each its next events in their order, *through `transaction` only*: what is done
    /// elsewhere is done again when the batch is delivered again.
    ///
    /// # Errors
    /// Rolls the batch back; it is delivered again, by partition and in smaller parts, so that only the event that cannot be processed
    /// holds its partition.
    fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// An event as it is delivered.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Event {
    /// Its partition, counted from 0.
    pub partition: i32,
    /// Position in its partition, counted from 1, without gaps.
    pub position: i64,
    /// When it was appended, by the database's clock.
    pub appended_at: UtcDateTime,
    /// Its key.
    pub key: String,
    /// Its content, as JSON.
    pub payload: String,
}

impl Event {
    /// The content as `T`.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        serde_json::from_str(&self.payload).map_err(|error| self.refuse(error))
    }

    /// The error that this event cannot be processed.
    pub fn refuse(&self, reason: impl ToString) -> HandlerError {
        HandlerError::Event { partition: self.partition, position: self.position, reason: reason.to_string() }
    }
}

/// Why a batch was not processed.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The database's or a stream's failure.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// One event cannot be processed.
    #[error("the event at position {position} of partition {partition} cannot be processed: {reason}")]
    Event {
        /// Its partition.
        partition: i32,
        /// Its position there.
        position: i64,
        /// Why.
        reason: String,
    },
}

impl From<sqlx::Error> for HandlerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Stream(error.into())
    }
}

impl From<DatabaseError> for HandlerError {
    fn from(error: DatabaseError) -> Self {
        Self::Stream(error.into())
    }
}

/// Lets stages in one process wake each other before the polling interval has passed. Missing one costs nothing but that.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Wakes one that waits, or the next that is going to.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Waits to be woken.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

/// Consumes one topic for one group. Several, in one process or many, share the partitions.
#[derive(Debug)]
pub struct Consumer {
    database: Database,
    topic: Arc<Topic>,
    group: &'static str,
    batch: u32,
    /// How many partitions are claimed next.
    partitions: u32,
    woken_by: Wake,
    wakes: Option<Wake>,
    metrics: GroupMetrics,
    troubles: Troubles,
}

/// A batch that was rolled back.
#[derive(Debug)]
struct Failure {
    /// What was in it, once that is known.
    batch: Option<Batch>,
    error: HandlerError,
}

impl<E: Into<HandlerError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { batch: None, error: error.into() }
    }
}

impl Consumer {
    /// A consumer of `topic` for `group`; both are created by a migration.
    #[must_use]
    pub fn new(database: Database, topic: Arc<Topic>, group: &'static str, metrics: &StreamMetrics) -> Self {
        let metrics = metrics.of_group(topic.name(), group);
        Self {
            database,
            topic,
            group,
            batch: DEFAULT_BATCH,
            partitions: 1,
            woken_by: Wake::default(),
            wakes: None,
            metrics,
            troubles: Troubles::default(),
        }
    }

    /// Processes at most `events` in one transaction, instead of 1000.
    #[must_use]
    pub fn with_batch(mut self, events: u32) -> Self {
        self.batch = events.max(1);
        self
    }

    /// Looks for events when `wake` says so, and not only after its interval.
    #[must_use]
    pub fn woken_by(mut self, wake: Wake) -> Self {
        self.woken_by = wake;
        self
    }

    /// Says so through `wake` whenever a batch is committed.
    #[must_use]
    pub fn waking(mut self, wake: Wake) -> Self {
        self.wakes = Some(wake);
        self
    }

    /// Consumes until `shutdown`; the batch in work is finished first. Failures are logged and counted, and tried again.
    pub async fn run(mut self, mut handler: impl Handler, shutdown: CancellationToken) {
        let mut interval = SHORTEST_INTERVAL;
        let mut is_idle = false;
        while !shutdown.is_cancelled() {
            // Whoever was idle looks first, which is one statement instead of a transaction.
            let outcome = match is_idle {
                true => match self.has_events().await {
                    Ok(false) => Ok(0),
                    Ok(true) => self.consume(&mut handler).await,
                    Err(error) => Err(error.into()),
                },
                false => self.consume(&mut handler).await,
            };
            is_idle = matches!(outcome, Ok(0));
            match outcome {
                Ok(0) => {
                    self.wait(interval, &shutdown).await;
                    interval = (interval * 5 / 4).min(LONGEST_INTERVAL);
                }
                Ok(_) => interval = SHORTEST_INTERVAL,
                Err(error) if is_outage(&error) => {
                    tracing::warn!(topic = self.topic.name(), group = self.group, %error, "waiting for the database");
                    let jitter = Duration::from_millis(rand::random_range(0..100));
                    self.wait(interval + jitter, &shutdown).await;
                    interval = (interval * 2).min(LONGEST_OUTAGE_INTERVAL);
                }
                // The partition is left alone for a time; the others go on.
                Err(_) => interval = SHORTEST_INTERVAL,
            }
        }
    }

    /// Processes one batch, if there is one to be had; how many events.
    ///
    /// # Errors
    /// The handler's or the database's; the batch is rolled back, and the partition at fault avoided for a time unless the database was
    /// not available.
    pub async fn consume(&mut self, handler: &mut impl Handler) -> Result<u32, HandlerError> {
        let outcome = match tokio::time::timeout(BATCH_TIMEOUT, self.transact(handler)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DatabaseError::timed_out("a batch took too long from claim to commit").into()),
        };
        match outcome {
            Ok(None) => Ok(0),
            Ok(Some(batch)) => {
                for part in batch.parts() {
                    self.troubles.succeeded(part.partition, self.batch);
                }
                let events = batch.events();
                self.partitions =
                    if events < self.batch { (self.partitions * 2).min(MOST_PARTITIONS) } else { (self.partitions / 2).max(1) };
                self.metrics.consumed(events);
                if let Some(wake) = &self.wakes {
                    wake.wake();
                }
                Ok(events)
            }
            Err(failure) => {
                self.note(&failure);
                Err(failure.error)
            }
        }
    }

    async fn wait(&self, duration: Duration, shutdown: &CancellationToken) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.woken_by.woken() => {}
            () = shutdown.cancelled() => {}
        }
    }

    fn note(&mut self, failure: &Failure) {
        self.metrics.failed();
        // A batch that takes too long is made smaller, as one that is refused.
        let concerns_batch = !is_outage(&failure.error) || is_timeout(&failure.error);
        let (Some(batch), true) = (&failure.batch, concerns_batch) else { return };
        let known = match &failure.error {
            HandlerError::Event { partition, .. } => batch.part(*partition),
            HandlerError::Stream(_) => batch.only(),
        };
        let pause = match known {
            Some(part) => self.troubles.failed(part.partition, part.events),
            // Each is tried by itself, which shows whose it is.
            None => {
                batch.parts().iter().for_each(|part| self.troubles.suspected(part.partition, self.batch));
                Duration::ZERO
            }
        };
        tracing::error!(
            topic = self.topic.name(),
            group = self.group,
            partition = known.map(|part| part.partition),
            first_position = known.map(|part| part.first),
            events = batch.events(),
            pause_seconds = pause.as_secs_f64(),
            error = %failure.error,
            "a batch was rolled back"
        );
    }

    async fn transact(&self, handler: &mut impl Handler) -> Result<Option<Batch>, Failure> {
        let mut transaction = self.database.begin().await?;
        let topic = self.topic.known(&mut transaction).await?;
        let events = self.together(self.claim(&mut transaction, topic).await?);
        let Some(batch) = Batch::of(&events) else { return Ok(None) };
        let processed = async {
            handler.handle(&mut transaction, &events).await?;
            self.advance(&mut transaction, topic, &batch).await?;
            Ok(transaction.commit().await?)
        };
        match processed.await {
            Ok(()) => Ok(Some(batch)),
            Err(error) => Err(Failure { batch: Some(batch), error }),
        }
    }

    /// What of the claimed events is processed together: a partition in trouble by itself, and no more of it than it may be.
    fn together(&self, mut events: Vec<Event>) -> Vec<Event> {
        let Some(first) = events.first().map(|event| event.partition) else { return events };
        match self.troubles.limit(first) {
            Some(limit) => {
                let own = events.iter().take_while(|event| event.partition == first).count();
                events.truncate(own.min(limit as usize));
            }
            None => events.retain(|event| self.troubles.limit(event.partition).is_none()),
        }
        events
    }

    /// Whether there are events that the group has not processed, whoever works on them.
    async fn has_events(&self) -> Result<bool, StreamError> {
        let mut connection = self.database.acquire().await?;
        let topic = self.topic.known(&mut connection).await?;
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT FROM stream_positions own JOIN stream_partitions head USING (topic_id, partition)
                 WHERE own.topic_id = $1 AND own.consumer_group = $2 AND head.head > own.position)",
        )
        .bind(topic.id)
        .bind(self.group)
        .fetch_one(&mut *connection)
        .await?)
    }

    /// Locks the positions of partitions that have events and that nobody else works on, those that waited longest first, and reads what comes next in
    /// them, all together at most a batch.
    async fn claim(&self, connection: &mut PgConnection, topic: Known) -> Result<Vec<Event>, sqlx::Error> {
        // Events are read as of before the lock: then some of the last may be missing, and none in between.
        sqlx::query_as(
            "WITH own AS MATERIALIZED (
                 SELECT own.partition, own.position, own.served_at
                 FROM stream_positions own JOIN stream_partitions head USING (topic_id, partition)
                 WHERE own.topic_id = $1 AND own.consumer_group = $2 AND head.head > own.position
                   AND own.partition <> ALL ($3)
                 ORDER BY own.served_at LIMIT $4 FOR UPDATE OF own SKIP LOCKED
             )
             SELECT own.partition, event.position, event.appended_at, event.key, event.payload::text AS payload
             FROM own CROSS JOIN LATERAL (
                 SELECT position, appended_at, key, payload FROM stream_events
                 WHERE topic_id = $1 AND partition = own.partition AND position > own.position ORDER BY position LIMIT $5
             ) event
             ORDER BY own.served_at, own.partition, event.position LIMIT $5",
        )
        .bind(topic.id)
        .bind(self.group)
        .bind(self.troubles.avoided())
        .bind(i64::from(self.partitions))
        .bind(i64::from(self.batch))
        .fetch_all(connection)
        .await
    }

    async fn advance(&self, connection: &mut PgConnection, topic: Known, batch: &Batch) -> Result<(), sqlx::Error> {
        let partitions: Vec<i32> = batch.parts().iter().map(|part| part.partition).collect();
        let positions: Vec<i64> = batch.parts().iter().map(|part| part.last).collect();
        sqlx::query(
            "UPDATE stream_positions own SET position = new.position, served_at = tenantry_now()
             FROM unnest($3::integer[], $4::bigint[]) AS new (partition, position)
             WHERE own.topic_id = $1 AND own.consumer_group = $2 AND own.partition = new.partition",
        )
        .bind(topic.id)
        .bind(self.group)
        .bind(partitions)
        .bind(positions)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Whether the group exists: a consumer of one that does not would wait for ever.
    ///
    /// # Errors
    /// [`StreamError::UnknownTopic`], [`StreamError::UnknownGroup`], or the database's.
    pub async fn check(&self) -> Result<(), StreamError> {
        let mut connection = self.database.acquire().await?;
        let topic = self.topic.known(&mut connection).await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM stream_positions WHERE topic_id = $1 AND consumer_group = $2)")
            .bind(topic.id)
            .bind(self.group)
            .fetch_one(&mut *connection)
            .await?;
        if exists {
            return Ok(());
        }
        Err(StreamError::UnknownGroup { topic: self.topic.name().to_owned(), group: self.group.to_owned() })
    }
}

fn is_outage(error: &HandlerError) -> bool {
    matches!(error, HandlerError::Stream(error) if error.is_unavailable())
}

fn is_timeout(error: &HandlerError) -> bool {
    matches!(error, HandlerError::Stream(error) if error.is_statement_timeout())
}
