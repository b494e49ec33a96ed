//! The leaderboard: the first positions of a campaign, and one user's.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tenantry_kit::auth::{Principal, insufficient_scope};
use tenantry_kit::http::PathParameters;
use tenantry_kit::money::Money;
use tenantry_kit::problem::{INVALID_PARAMETER, Problem};
use utoipa::ToSchema;

use super::problems::{NO_PURCHASES, unknown_campaign};
use super::scopes::RECORDS_READ_ALL;
use super::{AnswerHeaders, ApiState};
use crate::domain::{CampaignId, PositionAnswer, Standing, Top, TopCount, TopCountError, UserId};

/// How long the first positions of one version stay in the cache.
const CACHED_FOR: Duration = Duration::from_secs(60);

/// The first positions of a campaign.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopBody {
    headers: AnswerHeaders,
    records: Records,
}

/// A campaign's positions, from first to last.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Records {
    campaign_id: CampaignId,
    positions: Vec<Position>,
}

/// A user's place.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Position {
    user_id: UserId,
    /// Counted from 0.
    position: u64,
    /// Counted from 1.
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
struct Record {
    campaign_id: CampaignId,
    #[serde(flatten)]
    position: Position,
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
    ),
    responses((status = 200, description = "At most n positions, from first to last.", body = TopBody)),
)]
pub(super) async fn top(
    State(api): State<ApiState>,
    PathParameters((n, id)): PathParameters<(String, CampaignId)>,
) -> Result<Json<TopBody>, Problem> {
    let n: TopCount = n.parse()?;
    let version = api.store.results_version(id).await?.ok_or_else(|| unknown_campaign(id))?;
    let (version, records) = match cached(&api, id, n, version).await {
        Some(records) => (version, records),
        None => read_top(&api, id, n).await?,
    };
    Ok(Json(TopBody { headers: AnswerHeaders::new(version, api.clock.now().await?), records }))
}

fn cache_key(id: CampaignId, n: TopCount, version: i64) -> String {
    format!("top/{id}/{}/{version}", n.get())
}

async fn cached(api: &ApiState, id: CampaignId, n: TopCount, version: i64) -> Option<Records> {
    let json = api.cache.get(&cache_key(id, n, version)).await?;
    serde_json::from_slice(&json).ok()
}

/// From the database, and into the cache under the version that was read with it.
async fn read_top(api: &ApiState, id: CampaignId, n: TopCount) -> Result<(i64, Records), Problem> {
    let Top { campaign_id, version, standings } = api.store.top(id, n).await?.ok_or_else(|| unknown_campaign(id))?;
    let records = Records { campaign_id, positions: standings.into_iter().map(Position::from).collect() };
    if let Ok(json) = serde_json::to_vec(&records) {
        api.cache.set(&cache_key(id, n, version), &json, CACHED_FOR).await;
    }
    Ok((version, records))
}

/// Reads where a user stands.
///
/// One's own position, the user being the one that the credential names; with the scope `records:read:all` everybody's.
#[utoipa::path(
    get, path = "/records/position/{campaignId}/{userId}", tag = "records", operation_id = "readPosition",
    params(("campaignId" = CampaignId, Path), ("userId" = UserId, Path)),
    responses((status = 200, description = "The user's position.", body = PositionBody)),
)]
pub(super) async fn position(
    State(api): State<ApiState>,
    principal: Principal,
    PathParameters((id, user_id)): PathParameters<(CampaignId, UserId)>,
) -> Result<Json<PositionBody>, Problem> {
    require_own_or_all(&principal, user_id)?;
    match api.store.position(id, user_id).await? {
        PositionAnswer::UnknownCampaign => Err(unknown_campaign(id)),
        PositionAnswer::NoPurchases => {
            Err(Problem::new(NO_PURCHASES, format!("user {user_id} has no purchase that counts for campaign {id} yet")))
        }
        PositionAnswer::Found { version, standing } => Ok(Json(PositionBody {
            headers: AnswerHeaders::new(version, api.clock.now().await?),
            record: Record { campaign_id: id, position: standing.into() },
        })),
    }
}

/// Refuses to tell of others whoever may only ask for himself.
fn require_own_or_all(principal: &Principal, user_id: UserId) -> Result<(), Problem> {
    if principal.has(RECORDS_READ_ALL) {
        return Ok(());
    }
    let detail = match principal.user_id().map(str::parse::<UserId>) {
        Some(Ok(own)) if own == user_id => return Ok(()),
        Some(Ok(own)) => format!("the credential is user {own}'s, who may read the own position alone: ask for /records/position/…/{own}"),
        Some(Err(_)) => "the credential names a user whose id is none of this shop's: it must be a decimal number".to_owned(),
        None => "the credential names no user, whose own position this would be".to_owned(),
    };
    Err(insufficient_scope(&[RECORDS_READ_ALL], format!("{detail}; or use one with the scope {}", RECORDS_READ_ALL.name())))
}
