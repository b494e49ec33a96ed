//! Queues in PostgreSQL: messages that one of several consumers locks, works on, and answers.
//!
//! - **Enqueuing** joins the caller's transaction: a message is there if and only if what it tells of is. A deduplication id admits one
//!   message a day; a message can be delayed, and has a time to live.
//! - **Locking** takes visible messages, those that waited longest first, for a duration, and gives each a [`LockToken`]. Who holds
//!   it completes, abandons, extends or dead-letters the message. A token whose lock has ended, or that was answered with
//!   already, is refused ([`QueueError::StaleLock`]).
//! - **Each message ends once**: completed, or dead-lettered with a reason. Each lock counts as a delivery, answered or not, and deliveries are
//!   bounded; what has used them up, or outlived its time to live, goes to the dead letters, from where it can be redriven.
//! - **A [`Consumer`]** does all this for a [`Handler`]: what the handler records joins the transaction that completes the message and
//!   so happens exactly once; what it does elsewhere can happen again.
//! - **Time** is the database's, by its function `tenantry_now()`. **Polling** is the contract, as with streams.
//!
//! Queues are created by a service's migration (`queue_create`). Its chores call [`Queue::sweep`] and [`observe`] now and then.

mod answer;
mod consumer;
mod dead_letters;
mod enqueue;
mod handle;
mod lock;
mod message;
mod metrics;
mod reason;
mod sweep;

pub use answer::Abandoned;
pub use consumer::{Backoff, Consumer, Handler, HandlerError};
pub use dead_letters::{DeadLetter, DeadLetterKey, DeadLetterKeyError};
pub use enqueue::{Enqueued, NewMessage};
pub use handle::Queue;
pub use lock::{LockToken, LockedBatch, LockedMessage};
pub use message::MessageId;
pub use metrics::{QueueMetrics, observe};
pub use reason::{DeadLetterReason, ReasonError};
pub use sweep::{DEAD_LETTERS_KEPT, Swept};

use message::listed;

/// A failure of a queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database's.
    #[error(transparent)]
    Database(#[from] crate::database::DatabaseError),
    /// No migration creates the queue.
    #[error("there is no queue {0}: a migration of the service must create it with queue_create")]
    UnknownQueue(String),
    /// The lock has ended, or the message was answered with this token already. What was done for the message is another's to repeat.
    #[error("the lock of {} is over: it has run out, or the message was answered already", listed(.messages))]
    StaleLock {
        /// The messages whose tokens are stale.
        messages: Vec<MessageId>,
    },
    /// They were redriven or deleted meanwhile, or never dead-lettered.
    #[error("not among the dead letters of queue {queue}: {}", listed(.messages))]
    NoSuchDeadLetter {
        /// The queue's name.
        queue: String,
        /// The messages that are not there.
        messages: Vec<MessageId>,
    },
    /// A message's content cannot be written as JSON.
    #[error("a message cannot be written as JSON: {0}")]
    Payload(#[from] serde_json::Error),
    /// A message's content is too long.
    #[error(
        "a message of {bytes} bytes is too long: at most {}, keep what is larger elsewhere and enqueue where it is",
        NewMessage::MAX_PAYLOAD
    )]
    PayloadTooLong {
        /// Its length as JSON.
        bytes: usize,
    },
    /// A deduplication id has the wrong form.
    #[error("a deduplication id has 1 to {} bytes, and no zero byte", NewMessage::MAX_DEDUPLICATION_ID)]
    DeduplicationId,
}

impl From<sqlx::Error> for QueueError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl QueueError {
    /// Whether the same call can succeed soon.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unavailable())
    }
}
