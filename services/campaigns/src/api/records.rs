//! The leaderboard: the first positions of a campaign, and one user's.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tenantry_kit::auth::Principal;
use tenantry_kit::http::{PathParameters, QueryParameters};
use tenantry_kit::money::Money;
use tenantry_kit::problem::{INTERNAL, INVALID_PARAMETER, Problem};
use utoipa::{IntoParams, ToSchema};

use super::problems::NO_PURCHASES;
use super::scopes::require_own_or_all;
use super::{AnswerHeaders, ApiState};
use crate::domain::{CampaignId, Standing, TopCount, TopCountError, UserId};
use crate::live::Top;

/// Room for what stands before the records.
const HEADERS_BYTES: usize = 128;

/// How old an answer may be.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AsOf {
    /// The version of the results that the answer must have at least, as an earlier answer named it. Waits a moment for it.
    #[param(value_type = Option<String>, example = "17")]
    min_version: Option<i64>,
}

/// The first positions of a campaign.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopBody {
    headers: AnswerHeaders,
    // Written once for all who ask for as many of a version.
    #[schema(value_type = Records)]
    records: Arc<RawValue>,
}

/// A campaign's positions, from first to last.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Records {
    campaign_id: CampaignId,
    /// How many users have purchases that count.
    users: u64,
    positions: Vec<Position>,
}

/// A user's place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Position {
    user_id: UserId,
    /// Counted from 0; everybody has another one.
    position: u64,
    /// Counted from 1; equal totals share one if the campaign says so.
    rank: u64,
    /// What the user has spent, in the campaign's currency.
    total: Money,
}

/// Where one user stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PositionBody {
    headers: AnswerHeaders,
    record: Record,
}

/// One user's place in one campaign.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
// Without `flatten`, which writes by way of a map, for each request.
struct Record {
    campaign_id: CampaignId,
    user_id: UserId,
    /// Counted from 0; everybody has another one.
    position: u64,
    /// Counted from 1; equal totals share one if the campaign says so.
    rank: u64,
    /// What the user has spent, in the campaign's currency.
    total: Money,
}

impl Records {
    fn new(campaign_id: CampaignId, top: &Top) -> Self {
        Self { campaign_id, users: top.users, positions: top.standings.iter().copied().map(Position::from).collect() }
    }

    fn write(&self) -> Result<Arc<RawValue>, Problem> {
        to_raw_value(self).map(Arc::from).map_err(|error| unwritable(&error))
    }
}

fn unwritable(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "records cannot be written");
    Problem::new(INTERNAL, "the service has a defect; its logs have this request's id")
}

impl From<Standing> for Position {
    fn from(standing: Standing) -> Self {
        let Standing { user_id, position, rank, total } = standing;
        Self { user_id, position, rank, total }
    }
}

impl From<TopCountError> for Problem {
    fn from(error: TopCountError) -> Self {
        Problem::new(INVALID_PARAMETER, error.to_string())
    }
}

/// Reads the first positions of a campaign.
#[utoipa::path(
    get, path = "/records/top/{n}/{campaignId}", tag = "records", operation_id = "readTop",
    params(
        ("n" = u16, Path, description = "How many positions.", minimum = 1, maximum = 1000),
        ("campaignId" = CampaignId, Path),
        AsOf,
    ),
    responses((status = 200, description = "At most n positions, from first to last.", body = TopBody)),
)]
pub(super) async fn top(
    State(api): State<ApiState>,
    PathParameters((n, id)): PathParameters<(String, CampaignId)>,
    QueryParameters(as_of): QueryParameters<AsOf>,
) -> Result<Response, Problem> {
    let n: TopCount = n.parse()?;
    let (version, records) = api.standings.written_top(id, n, as_of.min_version, |top| Records::new(id, top).write()).await?;
    let body = TopBody { headers: AnswerHeaders::new(version, api.clock.now().await?), records };
    let mut json = Vec::with_capacity(HEADERS_BYTES + body.records.get().len());
    serde_json::to_writer(&mut json, &body).map_err(|error| unwritable(&error))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response())
}

/// Reads where a user stands.
///
/// One's own position, the user being the one that the credential names; with the scope `records:read:all` everybody's.
#[utoipa::path(
    get, path = "/records/position/{campaignId}/{userId}", tag = "records", operation_id = "readPosition",
    params(("campaignId" = CampaignId, Path), ("userId" = UserId, Path), AsOf),
    responses((status = 200, description = "The user's position.", body = PositionBody)),
)]
pub(super) async fn position(
    State(api): State<ApiState>,
    principal: Principal,
    PathParameters((id, user_id)): PathParameters<(CampaignId, UserId)>,
    QueryParameters(as_of): QueryParameters<AsOf>,
) -> Result<Json<PositionBody>, Problem> {
    require_own_or_all(&principal, user_id)?;
    let (version, standing) = api.standings.position(id, user_id, as_of.min_version).await?;
    let standing = standing.ok_or_else(|| {
        Problem::new(NO_PURCHASES, format!("user {user_id} has no purchase that counts for campaign {id} at version {version}"))
    })?;
    let Standing { user_id, position, rank, total } = standing;
    Ok(Json(PositionBody {
        headers: AnswerHeaders::new(version, api.clock.now().await?),
        record: Record { campaign_id: id, user_id, position, rank, total },
    }))
}
