//! Lists of campaigns: those that are active, all by state and item, and the history.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tenantry_kit::http::{PageLimit, QueryParameters};
use tenantry_kit::money::Money;
use tenantry_kit::problem::Problem;
use tenantry_kit::time::UtcDateTime;
use utoipa::{IntoParams, ToSchema};

use super::campaigns::{CampaignBody, StateBody};
use super::problems::invalid_parameter;
use super::{AnswerHeaders, ApiState};
use crate::domain::{CampaignId, EndedCampaign, HistoryKey, ItemId, Leader, UserId};
use crate::store::CampaignFilter;

type ListLimit = PageLimit<100, 1000>;
type HistoryLimit = PageLimit<20, 100>;

/// The campaigns that are active now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActiveCampaignsBody {
    headers: AnswerHeaders,
    campaigns: Vec<CampaignBody>,
}

/// A page of campaigns.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CampaignsBody {
    campaigns: Vec<CampaignBody>,
    /// What to send as `after` for the next page; not there at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<CampaignId>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CampaignsQuery {
    /// Only campaigns in this state.
    #[param(inline)]
    state: Option<StateBody>,
    /// Only campaigns for this item.
    item_id: Option<ItemId>,
    /// Only campaigns with a greater id.
    after: Option<CampaignId>,
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: ListLimit,
}

/// A page of the history.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryBody {
    campaigns: Vec<EndedCampaignBody>,
    /// What to send as `after` for the next page; not there at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A campaign that has ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndedCampaign)]
pub(super) struct EndedCampaignBody {
    #[serde(flatten)]
    campaign: CampaignBody,
    /// When it ended, or was cancelled.
    ended_at: UtcDateTime,
    /// What came of it.
    outcome: OutcomeBody,
}

/// What came of a campaign so far: purchases that are accepted late may still count.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Outcome)]
pub(super) struct OutcomeBody {
    /// How many users have a purchase that counts.
    participants: u64,
    /// What all of them have spent.
    total: Money,
    /// Who stands first; not there without participants.
    #[serde(skip_serializing_if = "Option::is_none")]
    top_user: Option<TopUser>,
}

/// The user who stands first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopUser {
    user_id: UserId,
    /// What the user has spent.
    total: Money,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: HistoryLimit,
}

impl EndedCampaignBody {
    fn of(ended: &EndedCampaign, now: UtcDateTime) -> Self {
        let outcome = ended.outcome;
        let top_user = outcome.leader.map(|Leader { user_id, total }| TopUser { user_id, total });
        Self {
            campaign: CampaignBody::of(&ended.entry, now),
            ended_at: ended.entry.ends_at(),
            outcome: OutcomeBody { participants: outcome.participants, total: outcome.total, top_user },
        }
    }
}

/// Lists the campaigns that are active now.
#[utoipa::path(
    get, path = "/campaigns/active", tag = "campaigns", operation_id = "listActiveCampaigns",
    responses((status = 200, description = "In the order of their ids.", body = ActiveCampaignsBody)),
)]
pub(super) async fn active(State(api): State<ApiState>) -> Result<Json<ActiveCampaignsBody>, Problem> {
    let active = api.store.active_campaigns().await?;
    Ok(Json(ActiveCampaignsBody {
        headers: AnswerHeaders::new(active.version, active.as_of),
        campaigns: active.campaigns.iter().map(|entry| CampaignBody::of(entry, active.as_of)).collect(),
    }))
}

/// Lists campaigns in the order of their ids.
#[utoipa::path(
    get, path = "/campaigns", tag = "campaigns", operation_id = "listCampaigns", params(CampaignsQuery),
    responses((status = 200, description = "A page.", body = CampaignsBody)),
)]
pub(super) async fn list(
    State(api): State<ApiState>,
    QueryParameters(query): QueryParameters<CampaignsQuery>,
) -> Result<Json<CampaignsBody>, Problem> {
    let CampaignsQuery { state, item_id, after, limit } = query;
    let now = api.store.now().await?;
    let filter = CampaignFilter { state: state.map(Into::into), item_id };
    let (entries, next) = limit.page(api.store.campaigns(filter, after, limit.rows(), now).await?, |entry| entry.campaign.id);
    Ok(Json(CampaignsBody { campaigns: entries.iter().map(|entry| CampaignBody::of(entry, now)).collect(), next }))
}

/// Lists the campaigns that have ended or were cancelled, the latest first, with what came of each.
#[utoipa::path(
    get, path = "/campaigns/history", tag = "campaigns", operation_id = "listCampaignHistory", params(HistoryQuery),
    responses((status = 200, description = "A page.", body = HistoryBody)),
)]
pub(super) async fn history(
    State(api): State<ApiState>,
    QueryParameters(query): QueryParameters<HistoryQuery>,
) -> Result<Json<HistoryBody>, Problem> {
    let after: Option<HistoryKey> = query
        .after
        .map(|text| text.parse())
        .transpose()
        .map_err(|error: crate::domain::HistoryKeyError| invalid_parameter(error.to_string()))?;
    let now = api.store.now().await?;
    let (ended, next) = query.limit.page(api.store.history(after, query.limit.rows(), now).await?, |ended| ended.key().to_string());
    Ok(Json(HistoryBody { campaigns: ended.iter().map(|ended| EndedCampaignBody::of(ended, now)).collect(), next }))
}
