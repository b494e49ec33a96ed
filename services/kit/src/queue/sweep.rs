//! What must be done now and then, whether or not a queue has consumers: expired messages, old deduplication records, old dead letters.

use std::time::Duration;

use super::dead_letters::bury;
use super::message::seconds;
use super::{DeadLetterReason, Queue, QueueError, QueueMetrics};
use crate::database::Database;

/// For how long dead letters are kept, unless a service decides otherwise.
pub const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many rows one statement deletes at most.
const BATCH: i64 = 1000;

/// What was swept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Messages that had outlived their time to live, and are dead letters now.
    pub expired: u64,
    /// Records of deduplication ids whose window has ended.
    pub deduplications: u64,
    /// Dead letters that were kept for long enough.
    pub dead_letters: u64,
}

impl Swept {
    /// Whether there was nothing to sweep.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// A message that is locked is its holder's, expired or not. Locked, that is to say that `visible_at` is in the future: one
/// that nobody holds is visible by the end of its time to live.
const EXPIRE: &str = concat!(
    "WITH dead AS (
        DELETE FROM queue_messages WHERE id = ANY (ARRAY(
            SELECT id FROM queue_messages
            WHERE queue_id = $1 AND expires_at <= tenantry_now() AND visible_at <= tenantry_now()
            ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
        RETURNING *, 'expired' AS reason, CASE WHEN lock_token IS NULL THEN last_error ELSE $3 END AS error
     ) ",
    bury!()
);

const FORGET: &str = "
    DELETE FROM queue_deduplications WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM queue_deduplications WHERE queue_id = $1 AND ends_at <= tenantry_now()
        ORDER BY ends_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

const DISCARD: &str = "
    DELETE FROM queue_dead_letters WHERE id = ANY (ARRAY(
        SELECT id FROM queue_dead_letters WHERE queue_id = $1 AND dead_lettered_at <= tenantry_now() - make_interval(secs => $3)
        ORDER BY dead_lettered_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

impl Queue {
    /// Dead-letters expired messages, forgets deduplication ids whose window has ended, and deletes dead letters older than
    /// `dead_letters_kept`: up to a thousand of each. To be called every few seconds, and again while it sweeps; several at once do not wait for each
    /// other.
    ///
    /// # Errors
    /// When the queue is unknown or the database fails.
    pub async fn sweep(&self, database: &Database, dead_letters_kept: Duration, metrics: &QueueMetrics) -> Result<Swept, QueueError> {
        let mut connection = database.acquire().await?;
        let queue = self.id(&mut connection).await?;
        let mut swept = Swept::default();
        let expire = sqlx::query(EXPIRE).bind(queue).bind(BATCH).bind(super::lock::NOT_ANSWERED).persistent(false);
        swept.expired = expire.execute(&mut *connection).await?.rows_affected();
        metrics.of_queue(self.name()).dead_lettered(&DeadLetterReason::EXPIRED, swept.expired);
        let forget = sqlx::query(FORGET).bind(queue).bind(BATCH).persistent(false);
        swept.deduplications = forget.execute(&mut *connection).await?.rows_affected();
        let discard = sqlx::query(DISCARD).bind(queue).bind(BATCH).bind(seconds(dead_letters_kept)).persistent(false);
        swept.dead_letters = discard.execute(&mut *connection).await?.rows_affected();
        Ok(swept)
    }
}
