//! The HTTP API: takes values out of requests, has the domain check them, calls the store, and shapes the answer.

mod batch;
mod campaigns;
mod clock;
mod dead_letters;
mod intake;
mod intake_metrics;
mod items;
mod leaderboards;
mod lists;
mod pages;
mod payments;
mod problems;
mod purchases;
mod rates;
mod records;
mod scopes;
mod status;
mod ties;
mod users;
mod winners;

use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use tenantry_kit::http::{Operations, routes};
use tenantry_kit::service::{Context, ServiceError};
use tenantry_kit::time::UtcDateTime;
use utoipa::ToSchema;

use crate::leaderboards::{LeaderboardMetrics, Leaderboards};
use crate::live::{LiveLimits, LiveMetrics, LiveStandings};
use crate::settings::Settings;
use crate::store::Store;
use clock::DatabaseClock;
use intake::Intake;
use intake_metrics::IntakeMetrics;
use scopes::{
    CAMPAIGNS_READ, CAMPAIGNS_WRITE, OPERATIONS_READ, PAYMENTS_READ, PAYMENTS_WRITE, PURCHASES_WRITE, RATES_WRITE, RECORDS_READ,
    RECORDS_READ_ALL, USERS_WRITE,
};
use status::StatusReader;

/// What the handlers share. Clones are made several times for each request.
#[derive(Debug, Clone)]
pub struct ApiState(Arc<Parts>);

/// The parts of an API process.
#[derive(Debug)]
pub struct Parts {
    store: Store,
    standings: LiveStandings,
    leaderboards: Leaderboards,
    clock: DatabaseClock,
    intake: Intake,
    settings: Arc<Settings>,
    status: StatusReader,
}

impl Deref for ApiState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl ApiState {
    /// The state of an `api` process, in a Tokio runtime. It is ready when it holds the standings of the campaigns that run.
    ///
    /// # Errors
    /// When the process has no database.
    pub fn new(context: &Context<Settings>) -> Result<Self, ServiceError> {
        let store = Store::new(context.database()?.clone());
        let limits = LiveLimits::of_users(usize::try_from(context.settings.standings_users).unwrap_or(usize::MAX));
        let standings = LiveStandings::new(store.clone(), limits, LiveMetrics::register(&context.metrics));
        tokio::spawn(standings.run(Some(context.readiness.gate("standings")), context.shutdown.token().clone()));
        Ok(Self(Arc::new(Parts {
            clock: DatabaseClock::new(store.clone()),
            intake: Intake::new(&store, IntakeMetrics::register(&context.metrics)),
            status: StatusReader::new(store.clone(), Arc::clone(&context.settings), Arc::clone(&context.identity)),
            leaderboards: Leaderboards::new(
                standings.clone(),
                store.clone(),
                LeaderboardMetrics::register(&context.metrics),
                context.shutdown.token().clone(),
            ),
            store,
            standings,
            settings: Arc::clone(&context.settings),
        })))
    }
}

/// All operations, each with who may call it.
pub fn operations() -> Operations<ApiState> {
    Operations::new(
        "Campaigns",
        "Campaigns with a prize for one item, purchases of items, and who spent most. \
         Ids are decimal strings, money is exact, times are RFC 3339 in UTC. Of equal totals, who reached it first stands \
         first, by the purchases' own times and then by their arrival; then the smaller user id: so everybody has a position of their own. \
         A campaign whose `ranks` are `shared` gives equal totals the same rank all the same (1, 2, 2, 4), and one whose `prizeRule` is \
         `shared` divides the prize between all whose total is the highest, to the last decimal of the currency; what does not divide goes \
         to those who stand first. Answers about records carry the version of the campaign's results: whatever process answers, the same \
         version is the same answer, and `min_version` asks for no older one.",
        env!("CARGO_PKG_VERSION"),
    )
    .scoped(&[CAMPAIGNS_WRITE], routes!(items::put))
    .scoped(&[CAMPAIGNS_READ], routes!(items::read))
    .scoped(&[CAMPAIGNS_READ], routes!(items::list))
    .scoped(&[CAMPAIGNS_WRITE], routes!(campaigns::create))
    .open(routes!(lists::active))
    .scoped(&[CAMPAIGNS_READ], routes!(lists::history))
    .scoped(&[CAMPAIGNS_READ], routes!(lists::list))
    .scoped(&[CAMPAIGNS_READ], routes!(campaigns::read))
    .scoped(&[CAMPAIGNS_WRITE], routes!(campaigns::change))
    .scoped(&[CAMPAIGNS_WRITE], routes!(campaigns::cancel))
    .scoped(&[CAMPAIGNS_READ], routes!(winners::read))
    .scoped(&[PAYMENTS_WRITE], routes!(payments::pay))
    .scoped(&[PAYMENTS_READ, PAYMENTS_WRITE], routes!(payments::dead_letters))
    .scoped(&[PAYMENTS_WRITE], routes!(payments::redrive))
    .scoped(&[PAYMENTS_WRITE], routes!(payments::redrive_all))
    .scoped(&[PURCHASES_WRITE], routes!(purchases::report))
    .scoped(&[OPERATIONS_READ], routes!(status::show))
    .scoped(&[OPERATIONS_READ], routes!(dead_letters::list))
    .scoped(&[RATES_WRITE], routes!(rates::put))
    .scoped(&[CAMPAIGNS_READ, RATES_WRITE], routes!(rates::read))
    .scoped(&[OPERATIONS_READ, RATES_WRITE], routes!(rates::gaps))
    .open(routes!(records::top))
    .scoped(&[RECORDS_READ, RECORDS_READ_ALL], routes!(records::position))
    .scoped(&[USERS_WRITE], routes!(users::put))
    .open(routes!(pages::leaderboards))
    .open(routes!(pages::leaderboard))
    .open(routes!(leaderboards::events))
    .scoped(&[RECORDS_READ, RECORDS_READ_ALL], routes!(leaderboards::position_events))
    .open(routes!(pages::script))
    .open(routes!(pages::style))
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
