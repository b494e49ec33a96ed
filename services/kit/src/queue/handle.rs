//! A queue's handle: its name, its limits, and what the database knows of it, looked up once.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::OnceCell;

use super::QueueError;

/// A queue of the service's schema. Cheap to keep, looked up when it is first used. The limits are the code's: all processes
/// of a service should agree on them.
#[derive(Debug)]
pub struct Queue {
    name: &'static str,
    delivery_limit: u32,
    lock_duration: Duration,
    time_to_live: Duration,
    id: OnceCell<i32>,
}

impl Queue {
    /// The queue `name`, which a migration creates: at most 10 deliveries, locks of 5 minutes, a time to live of 14 days.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        const MINUTE: u64 = 60;
        const DAY: u64 = 24 * 60 * MINUTE;
        Self {
            name,
            delivery_limit: 10,
            lock_duration: Duration::from_secs(5 * MINUTE),
            time_to_live: Duration::from_secs(14 * DAY),
            id: OnceCell::const_new(),
        }
    }

    /// Delivers a message at most `deliveries` times, at least once.
    #[must_use]
    pub const fn with_delivery_limit(mut self, deliveries: u32) -> Self {
        self.delivery_limit = if deliveries == 0 { 1 } else { deliveries };
        self
    }

    /// Locks last for `duration`, unless one is asked for otherwise.
    #[must_use]
    pub const fn with_lock_duration(mut self, duration: Duration) -> Self {
        self.lock_duration = duration;
        self
    }

    /// Messages live for `duration`, unless one says otherwise ([`super::NewMessage::with_time_to_live`]).
    #[must_use]
    pub const fn with_time_to_live(mut self, duration: Duration) -> Self {
        self.time_to_live = duration;
        self
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How long a lock lasts.
    #[must_use]
    pub fn lock_duration(&self) -> Duration {
        self.lock_duration
    }

    /// How long a message lives.
    #[must_use]
    pub fn time_to_live(&self) -> Duration {
        self.time_to_live
    }

    /// How often a message is delivered, as the database counts.
    pub(super) fn delivery_limit(&self) -> i32 {
        i32::try_from(self.delivery_limit).unwrap_or(i32::MAX)
    }

    pub(super) async fn id(&self, connection: &mut PgConnection) -> Result<i32, QueueError> {
        self.id
            .get_or_try_init(async || {
                sqlx::query_scalar("SELECT id FROM queue_names WHERE name = $1")
                    .bind(self.name)
                    .fetch_optional(connection)
                    .await?
                    .ok_or_else(|| QueueError::UnknownQueue(self.name.to_owned()))
            })
            .await
            .copied()
    }
}
