//! A topic's handle: its name, and what the database knows of it, looked up once.

use sqlx::PgConnection;
use tokio::sync::OnceCell;

use super::StreamError;

/// A topic of the service's schema. Cheap to keep, looked up when it is first used.
#[derive(Debug)]
pub struct Topic {
    name: &'static str,
    known: OnceCell<Known>,
}

/// What never changes about a topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) id: i32,
    pub(super) partitions: u32,
}

impl Topic {
    /// The topic `name`, which a migration creates.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, known: OnceCell::const_new() }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(super) async fn known(&self, connection: &mut PgConnection) -> Result<Known, StreamError> {
        self.known
            .get_or_try_init(async || {
                let row: Option<(i32, i32)> = sqlx::query_as("SELECT id, partitions FROM stream_topics WHERE name = $1")
                    .bind(self.name)
                    .fetch_optional(connection)
                    .await?;
                let (id, partitions) = row.ok_or_else(|| StreamError::UnknownTopic(self.name.to_owned()))?;
                Ok(Known { id, partitions: partitions.unsigned_abs() })
            })
            .await
            .copied()
    }
}
