//! The HTTP API: takes values out of requests, has the domain check them, calls the store, and shapes the answer.

mod campaigns;
mod clock;
mod problems;
mod purchases;
mod records;
mod scopes;

use std::sync::Arc;

use serde::Serialize;
use tenantry_kit::cache::Cache;
use tenantry_kit::http::{Operations, routes};
use tenantry_kit::service::{Context, ServiceError};
use tenantry_kit::time::UtcDateTime;
use utoipa::ToSchema;

use crate::settings::Settings;
use crate::store::Store;
use clock::DatabaseClock;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct ApiState {
    store: Store,
    cache: Cache,
    clock: Arc<DatabaseClock>,
    settings: Arc<Settings>,
}

impl ApiState {
    /// The state of an `api` process.
    ///
    /// # Errors
    /// When the process has no database or no cache.
    pub fn new(context: &Context<Settings>) -> Result<Self, ServiceError> {
        let store = Store::new(context.database()?.clone());
        Ok(Self {
            clock: Arc::new(DatabaseClock::new(store.clone())),
            store,
            cache: context.cache()?.clone(),
            settings: Arc::clone(&context.settings),
        })
    }
}

/// All operations, each with who may call it.
pub fn operations() -> Operations<ApiState> {
    Operations::new(
        "Campaigns",
        "Campaigns with a prize for one item, purchases of items, and who spent most. \
         Ids are decimal strings, money is exact, times are RFC 3339 in UTC. Of equal totals, who reached it first stands \
         first, by the purchases' own times and then by their arrival; then the smaller user id.",
        env!("CARGO_PKG_VERSION"),
    )
    .scoped(&[scopes::CAMPAIGNS_WRITE], routes!(campaigns::create))
    .open(routes!(campaigns::active))
    .scoped(&[scopes::CAMPAIGNS_READ], routes!(campaigns::read))
    .scoped(&[scopes::PURCHASES_WRITE], routes!(purchases::report))
    .open(routes!(records::top))
    .scoped(&[scopes::RECORDS_READ, scopes::RECORDS_READ_ALL], routes!(records::position))
    .issuing_credentials()
}

/// Of what state an answer tells.
#[derive(Debug, Serialize, ToSchema)]
struct AnswerHeaders {
    /// Grows whenever what the answer tells of changes; a decimal string.
    #[schema(example = "17")]
    version: String,
    /// The time of the answer, by the database's clock.
    time: UtcDateTime,
}

impl AnswerHeaders {
    fn new(version: i64, time: UtcDateTime) -> Self {
        Self { version: version.to_string(), time }
    }
}
