//! Streams in PostgreSQL: append-only topics, in partitions, read by consumer groups.
//!
//! - **Append** joins the caller's transaction: an event is there if and only if what it tells of is. Who appends to a partition
//!   holds its head until the transaction ends, so that positions become visible in order and without gaps, and a consumer
//!   never steps over an event that commits later.
//! - **Consuming** moves a group's position in the same transaction as the effect ([`Handler::handle`]): delivery repeats, the
//!   effect happens once. Workers share a topic's partitions; what a lost one held is free with its connection.
//! - **Polling** is the contract. There is no NOTIFY: committing one takes a lock on the whole server, other tenants included, and
//!   an adaptive interval is fast enough. Stages in one process wake each other ([`Wake`]).
//! - **Tailing** ([`Tail`]) is reading without a group, from a position that is the reader's own: for what every process keeps for itself.
//! - **Retention** deletes what is old and has been passed by all groups.
//!
//! Topics and groups are created by a service's migration (`stream_create_topic`, `stream_create_group`).

mod append;
mod consumer;
mod metrics;
mod partition;
mod retention;
mod tail;
mod topic;

pub use append::{NewEvent, append};
pub use consumer::{Consumer, Event, Handler, HandlerError, Wake};
pub use metrics::{PartitionLag, StreamMetrics, lag, observe_lag};
pub use partition::partition_of;
pub use retention::{Retention, delete_expired};
pub use tail::{Tail, TailError};
pub use topic::Topic;

/// A failure of a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The database's.
    #[error(transparent)]
    Database(#[from] crate::database::DatabaseError),
    /// No migration creates the topic.
    #[error("there is no topic {0}: a migration of the service must create it with stream_create_topic")]
    UnknownTopic(String),
    /// No migration creates the group.
    #[error("topic {topic} has no group {group}: a migration of the service must create it with stream_create_group")]
    UnknownGroup {
        /// The topic's name.
        topic: String,
        /// The group's name.
        group: String,
    },
    /// An event's content cannot be written as JSON.
    #[error("an event cannot be written as JSON: {0}")]
    Payload(#[from] serde_json::Error),
}

impl From<sqlx::Error> for StreamError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl StreamError {
    /// Whether the same call can succeed soon.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unavailable())
    }

    fn is_statement_timeout(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_statement_timeout())
    }
}
