//! Listing the catalogue, in the order of ids.

use tenantry_kit::time::UtcDateTime;

use super::rows::{EntryRow, entry_columns};
use super::{Store, StoreError};
use crate::domain::{CampaignId, CampaignState, CatalogueEntry, ItemId};

/// Which campaigns are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CampaignFilter {
    /// Only those in this state.
    pub state: Option<CampaignState>,
    /// Only those for this item.
    pub item_id: Option<ItemId>,
}

macro_rules! listing {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            entry_columns!(),
            " FROM campaigns WHERE ($1::bigint IS NULL OR item_id = $1) AND id > $2 AND $3::timestamptz IS NOT NULL AND (",
            $condition,
            ") ORDER BY id LIMIT $4"
        )
    };
}

/// As [`CatalogueEntry::state`].
fn statement(state: Option<CampaignState>) -> &'static str {
    match state {
        None => listing!("true"),
        Some(CampaignState::Cancelled) => listing!("cancelled_at IS NOT NULL"),
        Some(CampaignState::Ended) => listing!("cancelled_at IS NULL AND (end_announced_at IS NOT NULL OR ends_at <= $3)"),
        Some(CampaignState::Active) => listing!(
            "cancelled_at IS NULL AND end_announced_at IS NULL AND ends_at > $3 AND (start_announced_at IS NOT NULL OR starts_at <= $3)"
        ),
        Some(CampaignState::Scheduled) => {
            listing!("cancelled_at IS NULL AND end_announced_at IS NULL AND start_announced_at IS NULL AND starts_at > $3")
        }
    }
}

impl Store {
    /// Campaigns in the order of their ids, after this one: at most `limit`, as they are at `now`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn campaigns(
        &self,
        filter: CampaignFilter,
        after: Option<CampaignId>,
        limit: u32,
        now: UtcDateTime,
    ) -> Result<Vec<CatalogueEntry>, StoreError> {
        let mut connection = self.database.acquire().await?;
        // planned for each call: whether to go by item, by id or by what is not announced yet depends on the filter
        let rows: Vec<EntryRow> = sqlx::query_as(statement(filter.state))
            .bind(filter.item_id.map(ItemId::get))
            .bind(after.map_or(0, CampaignId::get))
            .bind(now)
            .bind(i64::from(limit))
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        rows.into_iter().map(CatalogueEntry::try_from).collect()
    }
}
