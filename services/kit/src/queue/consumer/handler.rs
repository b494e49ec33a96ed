//! What a service does with messages, and how it fails.

use std::future::Future;
use std::time::Duration;

use sqlx::PgConnection;

use crate::database::DatabaseError;
use crate::queue::{DeadLetterReason, LockedMessage, QueueError};
use crate::stream::StreamError;

/// What a consumer does with a message, in two parts.
pub trait Handler: Send + Sync + 'static {
    /// What [`Self::handle`] found or did, for [`Self::record`].
    type Effect: Send + Sync;

    /// Works on a message, outside of any transaction: calls others, computes. It can happen again, at worst up to the queue's delivery limit, so
    /// that others must be told with the message's id that it is the same. While it runs the lock is extended; if the lock is lost
    /// nonetheless, or the process stops, it is dropped wherever it waits.
    ///
    /// # Errors
    /// Or a panic: the message is delivered again after a while, unless the error is [permanent](HandlerError::permanent).
    fn handle(&self, message: &LockedMessage) -> impl Future<Output = Result<Self::Effect, HandlerError>> + Send;

    /// Records what was done, in the transaction that completes the message: what happens *through `transaction`* happens exactly once. While the
    /// database is not available, this alone is tried again.
    ///
    /// # Errors
    /// Rolls the transaction back, and is like an error of [`Self::handle`] otherwise.
    fn record(
        &self,
        transaction: &mut PgConnection,
        message: &LockedMessage,
        effect: &Self::Effect,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send {
        let _ = (transaction, message, effect);
        std::future::ready(Ok(()))
    }
}

/// Why a message was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The database's failure; the message is delivered again.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The message is delivered again.
    #[error("{error}")]
    Again {
        /// What went wrong.
        error: String,
        /// After which time, instead of the consumer's back-off.
        after: Option<Duration>,
    },
    /// No other delivery can change it: the message is a dead letter.
    #[error("{error}")]
    Permanent {
        /// Why, in a word.
        reason: DeadLetterReason,
        /// What went wrong.
        error: String,
    },
}

impl HandlerError {
    /// A failure that can pass.
    pub fn again(error: impl ToString) -> Self {
        Self::Again { error: error.to_string(), after: None }
    }

    /// A failure that can pass, but not before `after`, as a server says with Retry-After.
    pub fn again_after(error: impl ToString, after: Duration) -> Self {
        Self::Again { error: error.to_string(), after: Some(after) }
    }

    /// A failure that cannot pass.
    pub fn permanent(reason: DeadLetterReason, error: impl ToString) -> Self {
        Self::Permanent { reason, error: error.to_string() }
    }

    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unavailable())
    }
}

impl From<sqlx::Error> for HandlerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// For handlers that enqueue or append in their turn.
impl From<QueueError> for HandlerError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Database(error) => error.into(),
            other => Self::again(other),
        }
    }
}

impl From<StreamError> for HandlerError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Database(error) => error.into(),
            other => Self::again(other),
        }
    }
}
