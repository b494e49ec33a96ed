//! What the holder of a lock does with its message. Each answer is one statement, and takes effect with the caller's transaction.
//!
//! By id alone, and planned each time, as locking is: a plan that a session made when the table was empty would read a full one
//! from end to end.

use std::time::Duration;

use sqlx::PgConnection;

use super::dead_letters::bury;
use super::lock::{all_answered, columns};
use super::message::{seconds, stored_error};
use super::{DeadLetterReason, LockToken, MessageId, Queue, QueueError};

/// What became of a message that was abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// It is delivered again, after the delay.
    Again,
    /// That was its last delivery: it is a dead letter.
    DeadLettered,
}

const ABANDON: &str = concat!(
    "WITH dead AS (
        DELETE FROM queue_messages
        WHERE id = $1 AND lock_token = $2 AND visible_at > tenantry_now() AND deliveries >= $3
        RETURNING *, 'delivery_limit' AS reason, coalesce($5, last_error) AS error
     ), buried AS (",
    bury!(),
    " RETURNING true AS is_dead
     ), freed AS (
        UPDATE queue_messages SET
            lock_token = NULL, last_error = coalesce($5, last_error),
            visible_at = least(tenantry_now() + make_interval(secs => $4), expires_at)
        WHERE id = $1 AND lock_token = $2 AND visible_at > tenantry_now() AND deliveries < $3
        RETURNING false AS is_dead
     )
     SELECT is_dead FROM buried UNION ALL SELECT is_dead FROM freed"
);

const DEAD_LETTER: &str = concat!(
    "WITH dead AS (
        DELETE FROM queue_messages WHERE id = $1 AND lock_token = $2 AND visible_at > tenantry_now()
        RETURNING *, $3 AS reason, $4 AS error
     ) ",
    bury!()
);

impl Queue {
    /// Completes a message: it is gone. In the transaction of what was done for it, both happen exactly once.
    ///
    /// # Errors
    /// [`QueueError::StaleLock`], upon which a transaction is to be rolled back; or the database's.
    pub async fn complete(&self, connection: &mut PgConnection, token: LockToken) -> Result<(), QueueError> {
        let completed = sqlx::query("DELETE FROM queue_messages WHERE id = $1 AND lock_token = $2 AND visible_at > tenantry_now()")
            .bind(token.message)
            .bind(token.lock)
            .persistent(false)
            .execute(connection)
            .await?
            .rows_affected();
        if completed == 0 { Err(stale(token)) } else { Ok(()) }
    }

    /// Completes many messages.
    ///
    /// # Errors
    /// [`QueueError::StaleLock`] names the messages whose tokens are stale; the others are completed, unless the caller rolls back.
    pub async fn complete_all(&self, connection: &mut PgConnection, tokens: &[LockToken]) -> Result<(), QueueError> {
        const COMPLETE: &str = "
            DELETE FROM queue_messages
            WHERE id = ANY ($1) AND lock_token = ($2::uuid[])[array_position($1, id)] AND visible_at > tenantry_now()
            RETURNING id";
        let (messages, locks) = columns(tokens);
        let completed: Vec<MessageId> =
            sqlx::query_scalar(COMPLETE).bind(&messages).bind(&locks).persistent(false).fetch_all(connection).await?;
        all_answered(&messages, &completed)
    }

    /// Lets go of a message: it is delivered again after `delay`, or dead-lettered if it has been delivered as often as the queue allows. A delay
    /// ends with the message's time to live.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn abandon(
        &self,
        connection: &mut PgConnection,
        token: LockToken,
        delay: Duration,
        error: Option<&str>,
    ) -> Result<Abandoned, QueueError> {
        let is_dead: Option<bool> = sqlx::query_scalar(ABANDON)
            .bind(token.message)
            .bind(token.lock)
            .bind(self.delivery_limit())
            .bind(seconds(delay))
            .bind(error.map(stored_error))
            .persistent(false)
            .fetch_optional(connection)
            .await?;
        match is_dead {
            None => Err(stale(token)),
            Some(true) => Ok(Abandoned::DeadLettered),
            Some(false) => Ok(Abandoned::Again),
        }
    }

    /// Dead-letters a message: no other delivery can change what is wrong with it.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn dead_letter(
        &self,
        connection: &mut PgConnection,
        token: LockToken,
        reason: &DeadLetterReason,
        error: &str,
    ) -> Result<(), QueueError> {
        let buried = sqlx::query(DEAD_LETTER)
            .bind(token.message)
            .bind(token.lock)
            .bind(reason.as_str())
            .bind(stored_error(error))
            .persistent(false)
            .execute(connection)
            .await?
            .rows_affected();
        if buried == 0 { Err(stale(token)) } else { Ok(()) }
    }
}

fn stale(token: LockToken) -> QueueError {
    QueueError::StaleLock { messages: vec![token.message] }
}
