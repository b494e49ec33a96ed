//! The SQL of campaigns, all of it. Tables are in `migrations/`; names are unqualified, the login's search path decides.

mod campaigns;
mod dead_letters;
pub mod events;
mod history;
mod items;
mod lifecycle;
mod listing;
mod operations;
mod parked;
mod past_end;
mod payments;
mod purchases;
mod rates;
mod results;
mod rows;
mod settled;
mod users;
mod winners;

use std::sync::Arc;

use tenantry_kit::database::{Database, DatabaseError};
use tenantry_kit::migration::Schema;
use tenantry_kit::queue::{Queue, QueueError};
use tenantry_kit::stream::{HandlerError, StreamError, Topic};
use tenantry_kit::time::UtcDateTime;

pub use campaigns::CampaignUpdate;
pub(crate) use campaigns::{currencies_of, qualifying_campaigns};
pub(crate) use dead_letters::bury;
pub use items::ItemUpdate;
pub use lifecycle::Announcements;
pub use listing::CampaignFilter;
pub use parked::ParkedGroup;
pub(crate) use parked::{park, take_parked};
pub(crate) use past_end::{keep_past_end, lock_ends};
pub(crate) use payments::{queue as prize_payments_queue, record_paid};
pub use rates::RatesPut;
pub(crate) use rates::rates_for;
pub(crate) use results::{Addition, add_to_totals, raise_versions};
pub use settled::{MARK_INTERVAL, Settled};

/// The consumer group that qualifies purchases.
pub const QUALIFICATION_GROUP: &str = "qualification";
/// The consumer group that adds them up.
pub const RESULTS_GROUP: &str = "results";

/// The schema version ([`Schema::versions`]) of the oldest code that still runs on this schema: the first that converts currencies (the kit's 3 and
/// this service's 8). Older code adds up, or leaves out, a purchase in a foreign currency that newer code beside it has accepted.
const RUNS_ON_FROM: u32 = 11;

/// The service's migrations.
#[must_use]
pub fn schema() -> Schema {
    Schema::new(sqlx::migrate!("./migrations"), RUNS_ON_FROM)
}

/// Campaigns, purchases and totals in the database. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    topics: Topics,
    prize_payments: Arc<Queue>,
}

/// The topics of the service, by their names in the document.
#[derive(Debug, Clone)]
pub struct Topics {
    /// A campaign starts or ends.
    pub campaigns_lifecycle: Arc<Topic>,
    /// A purchase was accepted.
    pub purchase_events: Arc<Topic>,
    /// A purchase counts for a campaign.
    pub qualified_purchase_events: Arc<Topic>,
    /// A campaign's totals changed.
    pub results_calculation_update_events: Arc<Topic>,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            campaigns_lifecycle: Arc::new(Topic::new("campaigns_lifecycle")),
            purchase_events: Arc::new(Topic::new("purchase_events")),
            qualified_purchase_events: Arc::new(Topic::new("qualified_purchase_events")),
            results_calculation_update_events: Arc::new(Topic::new("results_calculation_update_events")),
        }
    }
}

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database's.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A stream's.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A queue's.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The database holds what this version of the service cannot read.
    #[error("the database holds a value for {what} that is not valid: {reason}")]
    Row {
        /// What it is.
        what: &'static str,
        /// Why it is not valid.
        reason: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<StoreError> for HandlerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => error.into(),
            StoreError::Stream(error) => error.into(),
            StoreError::Queue(QueueError::Database(error)) => error.into(),
            StoreError::Queue(error) => DatabaseError::Statement(sqlx::Error::Encode(error.into())).into(),
            StoreError::Row { .. } => DatabaseError::Statement(sqlx::Error::Decode(error.into())).into(),
        }
    }
}

impl StoreError {
    /// Whether the same call can succeed soon.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_unavailable(),
            Self::Stream(error) => error.is_unavailable(),
            Self::Queue(error) => error.is_unavailable(),
            Self::Row { .. } => false,
        }
    }
}

impl Store {
    /// The store in `database`, whose schema is migrated.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database, topics: Topics::default(), prize_payments: Arc::new(payments::queue()) }
    }

    /// The topics.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The database's clock.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn now(&self) -> Result<UtcDateTime, StoreError> {
        Ok(self.database.now().await?)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn code_that_adds_currencies_up_unconverted_is_said_not_to_run_on_the_schema() {
        let without_rates = 3 + 7;
        assert!(super::schema().versions().runs_on_from > without_rates);
    }

    #[test]
    fn the_schema_runs_with_its_own_code() {
        let versions = super::schema().versions();
        assert!(versions.runs_on_from <= versions.version, "{versions:?}");
    }
}
