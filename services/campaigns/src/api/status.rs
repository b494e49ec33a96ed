//! How the service is doing, for people and for what watches over it: a page, or JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use tenantry_contract::Identity;
use tenantry_kit::currency::Currency;
use tenantry_kit::date::Date;
use tenantry_kit::http::asks_for_page;
use tenantry_kit::problem::Problem;
use tenantry_kit::time::UtcDateTime;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::ApiState;
use super::pages::page;
use crate::domain::CampaignId;
use crate::domain::operations::{Backlog, Operations, in_words};
use crate::domain::payment::UnpaidPrizes;
use crate::domain::rates::RateGap;
use crate::live::Holdings;
use crate::settings::Settings;
use crate::store::{Store, StoreError};

/// How long a reading is shown: many who ask at once cost no more than one.
const MAX_AGE: Duration = Duration::from_secs(2);
/// The most that is listed of what can be many.
const LISTED: usize = 20;
/// A process whose standings are older is said to be behind.
const STANDINGS_LIMIT: Duration = Duration::from_secs(10);

/// Reads how the service is doing, at most once in a while. Clones share the reading.
#[derive(Debug, Clone)]
pub(super) struct StatusReader {
    store: Store,
    settings: Arc<Settings>,
    identity: Arc<Identity>,
    last: Arc<Mutex<Option<Reading>>>,
}

/// What was read, and when; nothing when the database did not answer.
#[derive(Debug, Clone)]
struct Reading {
    taken: Instant,
    operations: Option<Arc<Operations>>,
}

impl StatusReader {
    pub(super) fn new(store: Store, settings: Arc<Settings>, identity: Arc<Identity>) -> Self {
        Self { store, settings, identity, last: Arc::default() }
    }

    /// `None` while the database does not answer, which is asked no more often then.
    async fn read(&self) -> Result<Option<Arc<Operations>>, StoreError> {
        let mut last = self.last.lock().await;
        if let Some(reading) = last.as_ref().filter(|reading| reading.taken.elapsed() < MAX_AGE) {
            return Ok(reading.operations.clone());
        }
        let operations = self.store.operations(self.settings.late_purchase_grace_seconds, self.settings.max_rate_age_days).await;
        let operations = match operations {
            Ok(operations) => Some(Arc::new(operations)),
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "the status is shown without the database");
                None
            }
            Err(error) => return Err(error),
        };
        *last = Some(Reading { taken: Instant::now(), operations: operations.clone() });
        Ok(operations)
    }
}

/// How the service is doing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Status)]
struct StatusBody {
    /// What needs somebody, in plain words; empty when all is well.
    attention: Vec<String>,
    /// The release that this process is of.
    release: String,
    /// The group and the slot.
    group: String,
    slot: String,
    /// What this process holds in memory.
    standings: StandingsBody,
    /// What the database says; absent while it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    operations: Option<OperationsBody>,
}

/// What this process holds in memory.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfStandings)]
struct StandingsBody {
    campaigns: usize,
    users: usize,
    /// Events of changed totals that it has not applied.
    behind_events: u64,
    /// For how many seconds it has not had all of them; absent if it never had.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind_seconds: Option<u64>,
}

/// What the database says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfOperations)]
struct OperationsBody {
    /// When, by the database's clock.
    as_of: UtcDateTime,
    /// The version of the schema, if a migration has recorded one.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_version: Option<i32>,
    /// What follows the streams.
    stages: Vec<StageBody>,
    /// Starts and ends that are due and not announced.
    unannounced: BacklogBody,
    running: RunningBody,
    /// Campaigns whose end and grace are over and that have no winner yet.
    awaiting_completion: AwaitingListBody,
    parked: ParkedBody,
    /// How many purchases do not count, by reason, as far as 100,000: see `GET /purchases/dead-letters`.
    dead_letters: BTreeMap<String, u64>,
    unpaid_prizes: UnpaidPrizesBody,
}

/// Prizes that are not paid, each as far as 100,000.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfUnpaidPrizes)]
struct UnpaidPrizesBody {
    /// Nobody has asked for their payment: see `POST /campaigns/{campaignId}/payments`.
    held: i64,
    /// They are tried until they succeed.
    waiting: i64,
    /// They are tried no more: see `GET /payments/dead-letters`.
    dead: i64,
}

/// How far a stage is behind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfStage)]
struct StageBody {
    stage: String,
    topic: String,
    /// Events that it has not processed.
    events: u64,
    /// For how many seconds the oldest of them has been there.
    oldest_seconds: u64,
    partitions_behind: usize,
    partitions: usize,
}

/// What waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfBacklog)]
struct BacklogBody {
    count: u64,
    /// For how many seconds the oldest has waited.
    oldest_seconds: u64,
}

/// Campaigns that run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfRunning)]
struct RunningBody {
    /// As far as 1000.
    count: u64,
    /// Those that end first.
    next: Vec<RunningCampaignBody>,
}

/// A campaign that runs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfRunningCampaign)]
struct RunningCampaignBody {
    campaign_id: CampaignId,
    end_date_time: UtcDateTime,
}

/// Campaigns without a winner.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfAwaiting)]
struct AwaitingListBody {
    /// As far as 1000.
    count: usize,
    /// Those that have waited longest.
    longest: Vec<AwaitingBody>,
}

/// A campaign without a winner.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfAwaitingCampaign)]
struct AwaitingBody {
    campaign_id: CampaignId,
    end_date_time: UtcDateTime,
    /// For how many seconds it could have been completed, by its times alone.
    waiting_seconds: u64,
    /// What is missing: `announcement`, `rates` or `counting`.
    waits_for: &'static str,
    /// In plain words.
    why: &'static str,
}

/// Purchases that wait for an exchange rate.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatusOfParked)]
struct ParkedBody {
    /// As far as 100,000.
    count: u64,
    oldest_seconds: u64,
    /// What they wait for; all of it is in `GET /rates/gaps`.
    missing_rates: Vec<MissingRateBody>,
}

/// A rate that purchases wait for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusOfMissingRate)]
struct MissingRateBody {
    #[schema(value_type = String)]
    currency: Currency,
    #[schema(value_type = String, format = "date")]
    date: Date,
    purchases: u64,
}

impl StatusBody {
    fn new(identity: &Identity, held: Holdings, operations: Option<&Operations>) -> Self {
        let mut attention = operations.map(Operations::attention).unwrap_or_default();
        if operations.is_none() {
            attention.push("The database does not answer: nothing is accepted or counted until it does.".to_owned());
        }
        match held.behind {
            None => attention.push("This process has never followed the totals: positions are not served.".to_owned()),
            Some(behind) if behind > STANDINGS_LIMIT => attention.push(format!(
                "The positions that this process serves are those of {} ago: it does not keep up, or the database does not answer.",
                in_words(behind)
            )),
            Some(_) => {}
        }
        let Identity { group, slot, release, .. } = identity.clone();
        let standings = StandingsBody {
            campaigns: held.campaigns,
            users: held.users,
            behind_events: held.behind_events,
            behind_seconds: held.behind.map(|behind| behind.as_secs()),
        };
        Self { attention, release, group, slot, standings, operations: operations.map(OperationsBody::from) }
    }
}

impl From<&Operations> for OperationsBody {
    fn from(operations: &Operations) -> Self {
        let stages = operations.stages().into_iter().map(|lag| StageBody {
            stage: lag.stage,
            topic: lag.topic,
            events: lag.events,
            oldest_seconds: lag.oldest.as_secs(),
            partitions_behind: lag.partitions_behind,
            partitions: lag.partitions,
        });
        let next = operations.next_ends.iter().map(|next| RunningCampaignBody { campaign_id: next.id, end_date_time: next.ends_at });
        let longest = operations.awaiting_completion.iter().take(LISTED).map(|awaiting| AwaitingBody {
            campaign_id: awaiting.id,
            end_date_time: awaiting.ended_at,
            waiting_seconds: awaiting.waiting.as_secs(),
            waits_for: awaiting.waits_for.word(),
            why: awaiting.waits_for.sentence(),
        });
        let missing = operations.rate_gaps.iter().take(LISTED).map(|RateGap { key, purchases }| MissingRateBody {
            currency: key.currency,
            date: key.date,
            purchases: *purchases,
        });
        let UnpaidPrizes { held, waiting, dead } = operations.unpaid;
        Self {
            as_of: operations.as_of,
            schema_version: operations.schema_version,
            stages: stages.collect(),
            unannounced: operations.unannounced.into(),
            running: RunningBody { count: operations.running, next: next.collect() },
            awaiting_completion: AwaitingListBody { count: operations.awaiting_completion.len(), longest: longest.collect() },
            parked: ParkedBody {
                count: operations.parked.count,
                oldest_seconds: operations.parked.oldest.as_secs(),
                missing_rates: missing.collect(),
            },
            dead_letters: operations.dead_letters.iter().map(|(reason, count)| (reason.to_string(), *count)).collect(),
            unpaid_prizes: UnpaidPrizesBody { held, waiting, dead },
        }
    }
}

impl From<Backlog> for BacklogBody {
    fn from(Backlog { count, oldest }: Backlog) -> Self {
        Self { count, oldest_seconds: oldest.as_secs() }
    }
}

/// The status as a page.
#[derive(Template)]
#[template(path = "status.html")]
struct Page<'a> {
    /// Where `/leaderboards` is, seen from the page.
    leaderboards: &'static str,
    status: &'a StatusBody,
}

impl Page<'_> {
    /// Seconds as people say them.
    fn words(&self, seconds: &u64) -> String {
        in_words(Duration::from_secs(*seconds))
    }
}

/// Shows how the service is doing.
///
/// As JSON; or as a page where `Accept` asks for `text/html`, as browsers do, which ask for the credential as a password. How far the stages are
/// behind, which campaigns run and which wait for their winner and why, which purchases do not count or wait for an exchange rate, what this
/// process holds, and what of all this needs somebody. It is answered while the database does not answer, too, and then says so. Read from
/// the database at most every two seconds.
#[utoipa::path(
    get, path = "/status", tag = "operations", operation_id = "showStatus",
    responses((status = 200, description = "The status.", content((StatusBody = "application/json"), (String = "text/html")))),
)]
pub(super) async fn show(State(api): State<ApiState>, headers: HeaderMap) -> Result<Response, Problem> {
    let operations = api.status.read().await?;
    let status = StatusBody::new(&api.status.identity, api.standings.holdings(), operations.as_deref());
    let mut response = if asks_for_page(&headers) {
        page(&Page { leaderboards: "leaderboards", status: &status })?
    } else {
        ([(header::CACHE_CONTROL, "no-store")], Json(status)).into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}
