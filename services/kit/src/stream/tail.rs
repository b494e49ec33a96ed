//! Reading a topic without a group: each reader has a position of its own, which it does not store. For what every process keeps in
//! memory for itself, built from the tables and kept current from the stream.

use std::sync::Arc;

use super::{Event, StreamError, Topic};
use crate::database::Database;
use crate::time::UtcDateTime;

/// The most events of a partition that are read at once, unless [`Tail::with_batch`] says otherwise.
const DEFAULT_BATCH: u32 = 100;

/// Reads a topic from where it stood when the reading began. Retention does not wait for it.
#[derive(Debug)]
pub struct Tail {
    database: Database,
    topic: Arc<Topic>,
    batch: u32,
    /// The position of the last event that was read, per partition.
    positions: Vec<i64>,
    lag: u64,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The database's or the stream's failure.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Events were deleted before they were read.
    #[error("events of topic {topic}, partition {partition}, were deleted after position {position} before they were read")]
    Passed {
        /// The topic's name.
        topic: &'static str,
        /// Which partition.
        partition: i32,
        /// The last event that was read.
        position: i64,
    },
}

impl From<sqlx::Error> for TailError {
    fn from(error: sqlx::Error) -> Self {
        Self::Stream(error.into())
    }
}

/// A partition that has events after a position: its head, and an event, if that is still there.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    partition: i32,
    head: i64,
    position: Option<i64>,
    appended_at: Option<UtcDateTime>,
    key: Option<String>,
    payload: Option<String>,
}

impl Row {
    fn event(self) -> Option<Event> {
        Some(Event {
            partition: self.partition,
            position: self.position?,
            appended_at: self.appended_at?,
            key: self.key?,
            payload: self.payload?,
        })
    }
}

impl Tail {
    /// Begins after the last event that is committed now. What is read from the database after this has the effects of all events before.
    ///
    /// # Errors
    /// When the topic is unknown or the database fails.
    pub async fn begin(database: Database, topic: Arc<Topic>) -> Result<Self, StreamError> {
        let mut tail = Self { database, topic, batch: DEFAULT_BATCH, positions: Vec::new(), lag: 0 };
        tail.skip_to_end().await?;
        Ok(tail)
    }

    /// Reads at most `events` of each partition at once, instead of 100.
    #[must_use]
    pub fn with_batch(mut self, events: u32) -> Self {
        self.batch = events.max(1);
        self
    }

    /// Goes on after the last event that is committed now, as [`Self::begin`] did.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn skip_to_end(&mut self) -> Result<(), StreamError> {
        let mut connection = self.database.acquire().await?;
        let topic = self.topic.known(&mut connection).await?;
        self.positions = sqlx::query_scalar("SELECT head FROM stream_partitions WHERE topic_id = $1 ORDER BY partition")
            .bind(topic.id)
            .fetch_all(&mut *connection)
            .await?;
        self.lag = 0;
        Ok(())
    }

    /// The next events, those of a key in their order; none if there are none yet.
    ///
    /// # Errors
    /// [`TailError::Passed`] when retention was faster: what is kept from the events must be built anew, after [`Self::skip_to_end`].
    pub async fn next(&mut self) -> Result<Vec<Event>, TailError> {
        let mut connection = self.database.acquire().await.map_err(StreamError::from)?;
        let topic = self.topic.known(&mut connection).await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT head.partition, head.head, event.position, event.appended_at, event.key, event.payload::text AS payload
             FROM unnest($2::bigint[]) WITH ORDINALITY AS own (position, ordinal)
             JOIN stream_partitions head ON head.topic_id = $1 AND head.partition = own.ordinal - 1 AND head.head > own.position
             LEFT JOIN LATERAL (
                 SELECT * FROM stream_events
                 WHERE topic_id = $1 AND partition = head.partition AND position > own.position ORDER BY position LIMIT $3
             ) event ON true
             ORDER BY head.partition, event.position",
        )
        .bind(topic.id)
        .bind(&self.positions)
        .bind(i64::from(self.batch))
        .fetch_all(&mut *connection)
        .await?;
        self.advance(rows)
    }

    /// Moves on over `rows`, which must begin right after the positions.
    fn advance(&mut self, rows: Vec<Row>) -> Result<Vec<Event>, TailError> {
        let mut positions = self.positions.clone();
        let mut events = Vec::with_capacity(rows.len());
        let mut heads = positions.clone();
        for row in rows {
            let partition = row.partition;
            let index = usize::try_from(partition).unwrap_or(usize::MAX);
            let (Some(own), Some(head)) = (positions.get_mut(index), heads.get_mut(index)) else { continue };
            *head = row.head;
            match row.event() {
                Some(event) if event.position == *own + 1 => {
                    *own = event.position;
                    events.push(event);
                }
                _ => return Err(TailError::Passed { topic: self.topic.name(), partition, position: *own }),
            }
        }
        self.lag = heads.iter().zip(&positions).map(|(head, own)| head.abs_diff(*own)).sum();
        self.positions = positions;
        Ok(events)
    }

    /// How many events there were that the last reading did not reach.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lag
    }
}
