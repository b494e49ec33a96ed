//! The HTTP API: takes values out of requests, has the domain check them, calls the store, and shapes the answer.

mod batch;
mod campaigns;
mod clock;
mod intake;
mod items;
mod lists;
mod problems;
mod purchases;
mod records;

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
use intake::Intake;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct ApiState {
    store: Store,
    cache: Cache,
    clock: Arc<DatabaseClock>,
    intake: Intake,
    settings: Arc<Settings>,
}

impl ApiState {
    /// The state of an `api` process. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// When the process has no database or no cache.
    pub fn new(context: &Context<Settings>) -> Result<Self, ServiceError> {
        let store = Store::new(context.database()?.clone());
        Ok(Self {
            clock: Arc::new(DatabaseClock::new(store.clone())),
            intake: Intake::new(&store),
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
    .authenticated(routes!(items::put))
    .authenticated(routes!(items::read))
    .authenticated(routes!(items::list))
    .authenticated(routes!(campaigns::create))
    .open(routes!(lists::active))
    .authenticated(routes!(lists::history))
    .authenticated(routes!(lists::list))
    .authenticated(routes!(campaigns::read))
    .authenticated(routes!(campaigns::change))
    .authenticated(routes!(campaigns::cancel))
    .authenticated(routes!(purchases::report))
    .open(routes!(records::top))
    .authenticated(routes!(records::position))
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
