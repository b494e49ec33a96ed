//! Announcing starts and ends, each once: the mark and the event are one transaction.

use std::time::Duration;

use sqlx::PgConnection;
use tenantry_kit::database::clock;
use tenantry_kit::stream::{NewEvent, append};

use super::campaigns::raise_catalogue_version;
use super::events::{CampaignLifecycleEvent, CampaignStatus};
use super::rows::campaign_id;
use super::{Store, StoreError};

/// The most campaigns announced in one transaction.
const BATCH: i64 = 200;

/// What was announced, and when there is something again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcements {
    /// How many events were appended.
    pub appended: usize,
    /// How long until a campaign that is known now starts or ends; `None` if none will.
    pub next_in: Option<Duration>,
}

impl Store {
    /// Appends `Start` and `End` of the campaigns whose time has come, by the database's clock. Those that another worker is
    /// announcing are left to it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn announce_due(&self) -> Result<Announcements, StoreError> {
        // Mostly nothing is due, which one statement says.
        let next_in = time_to_next(&mut *self.database.acquire().await?).await?;
        if next_in.is_none_or(|next| !next.is_zero()) {
            return Ok(Announcements { appended: 0, next_in });
        }
        let mut transaction = self.database.begin().await?;
        // One moment for all: what is marked below is what is chosen here. A row that was changed meanwhile is judged as it is now.
        let now = clock(&mut transaction).await?;
        let due: Vec<(i64, bool, bool)> = sqlx::query_as(
            "SELECT id, start_announced_at IS NULL, ends_at <= $2 FROM campaigns
             WHERE (start_announced_at IS NULL AND starts_at <= $2) OR (end_announced_at IS NULL AND ends_at <= $2)
             ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .bind(BATCH)
        .bind(now)
        .fetch_all(&mut *transaction)
        .await?;
        let events = events(&due)?;
        if !events.is_empty() {
            let ids: Vec<i64> = due.iter().map(|(id, ..)| *id).collect();
            sqlx::query(
                "UPDATE campaigns SET start_announced_at = coalesce(start_announced_at, $2),
                     end_announced_at = CASE WHEN ends_at <= $2 THEN $2 END
                 WHERE id = ANY ($1)",
            )
            .bind(&ids)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
            raise_catalogue_version(&mut transaction).await?;
            append(&mut transaction, &self.topics.campaigns_lifecycle, &events).await?;
        }
        let next_in = time_to_next(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Announcements { appended: events.len(), next_in })
    }
}

/// How long until the next start or end, nothing if one is due; `None` if none is known.
async fn time_to_next(connection: &mut PgConnection) -> Result<Option<Duration>, StoreError> {
    let seconds: Option<f64> = sqlx::query_scalar(
        "SELECT extract(epoch FROM least(
            (SELECT min(starts_at) FROM campaigns WHERE start_announced_at IS NULL),
            (SELECT min(ends_at) FROM campaigns WHERE end_announced_at IS NULL)
         ) - tenantry_now())::double precision",
    )
    .fetch_one(connection)
    .await?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

fn events(due: &[(i64, bool, bool)]) -> Result<Vec<NewEvent>, StoreError> {
    let mut events = Vec::with_capacity(due.len());
    for (id, starts, ends) in due {
        let campaign_id = campaign_id(*id)?;
        let statuses = [(*starts, CampaignStatus::Start), (*ends, CampaignStatus::End)];
        for (_, status) in statuses.into_iter().filter(|(is_due, _)| *is_due) {
            events.push(NewEvent::new(id, &CampaignLifecycleEvent { campaign_id, status })?);
        }
    }
    Ok(events)
}
