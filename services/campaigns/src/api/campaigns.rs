//! The catalogue: create a campaign, read one, list those that are active.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use tenantry_kit::currency::Currency;
use tenantry_kit::http::{JsonBody, PathParameters};
use tenantry_kit::money::Money;
use tenantry_kit::problem::Problem;
use tenantry_kit::time::UtcDateTime;
use utoipa::ToSchema;

use super::problems::{CAMPAIGN_CONFLICT, unknown_campaign};
use super::{AnswerHeaders, ApiState};
use crate::domain::{
    Campaign, CampaignCreation, CampaignError, CampaignId, CampaignTimes, ItemId, NewCampaign, PrizeRule, RankRule, TieRules,
};

/// A campaign to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewCampaignBody {
    /// An id of the caller's choosing, with which the request can be repeated; made here when it is left out.
    campaign_id: Option<CampaignId>,
    /// The item whose purchases count.
    item_id: ItemId,
    /// What the winner gets: more than zero.
    prize: Money,
    /// When it starts, inclusive.
    start_date_time: UtcDateTime,
    /// When it ends, exclusive.
    end_date_time: UtcDateTime,
    /// How equal totals are ranked.
    #[serde(default)]
    ranks: RankRuleName,
    /// Who gets the prize.
    #[serde(default)]
    prize_rule: PrizeRuleName,
}

/// How equal totals are ranked: `strict`, by who reached the total first (1, 2, 3, 4); `shared`, alike (1, 2, 2, 4). Positions are the same in
/// both.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RankRule)]
enum RankRuleName {
    #[default]
    Strict,
    Shared,
}

/// Who gets the prize: `first`, the user at the first position; `shared`, in equal parts, all whose total is the highest.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PrizeRule)]
enum PrizeRuleName {
    #[default]
    First,
    Shared,
}

fn tie_rules(ranks: RankRuleName, prize: PrizeRuleName) -> TieRules {
    TieRules {
        ranks: match ranks {
            RankRuleName::Strict => RankRule::Strict,
            RankRuleName::Shared => RankRule::Shared,
        },
        prize: match prize {
            PrizeRuleName::First => PrizeRule::First,
            PrizeRuleName::Shared => PrizeRule::Shared,
        },
    }
}

fn tie_rule_names(ties: TieRules) -> (RankRuleName, PrizeRuleName) {
    let ranks = match ties.ranks {
        RankRule::Strict => RankRuleName::Strict,
        RankRule::Shared => RankRuleName::Shared,
    };
    let prize = match ties.prize {
        PrizeRule::First => PrizeRuleName::First,
        PrizeRule::Shared => PrizeRuleName::Shared,
    };
    (ranks, prize)
}

/// A campaign.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Campaign)]
pub(super) struct CampaignBody {
    campaign_id: CampaignId,
    /// The item whose purchases count.
    item_id: ItemId,
    /// What the winner gets.
    prize: Money,
    /// The currency of its totals.
    currency: Currency,
    /// When it starts, inclusive.
    start_date_time: UtcDateTime,
    /// When it ends, exclusive.
    end_date_time: UtcDateTime,
    /// How equal totals are ranked.
    ranks: RankRuleName,
    /// Who gets the prize.
    prize_rule: PrizeRuleName,
}

impl From<Campaign> for CampaignBody {
    fn from(campaign: Campaign) -> Self {
        let Campaign { id, item_id, prize, currency, times, ties } = campaign;
        let (start_date_time, end_date_time) = (times.start(), times.end());
        let (ranks, prize_rule) = tie_rule_names(ties);
        Self { campaign_id: id, item_id, prize, currency, start_date_time, end_date_time, ranks, prize_rule }
    }
}

/// The campaigns that are active now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActiveCampaignsBody {
    headers: AnswerHeaders,
    campaigns: Vec<CampaignBody>,
}

/// Creates a campaign.
///
/// With a `campaignId` the request can be repeated: the same content is answered alike, other content is refused.
#[utoipa::path(
    post, path = "/campaigns", tag = "campaigns", operation_id = "createCampaign", request_body = NewCampaignBody,
    responses(
        (status = 201, description = "It is created.", body = CampaignBody, headers(("Location" = String, description = "Its path."))),
        (status = 200, description = "It existed already, with the same content.", body = CampaignBody),
    ),
)]
pub(super) async fn create(State(api): State<ApiState>, JsonBody(body): JsonBody<NewCampaignBody>) -> Result<Response, Problem> {
    let new = NewCampaign {
        id: body.campaign_id,
        item_id: body.item_id,
        prize: body.prize,
        currency: api.settings.base_currency,
        times: CampaignTimes::new(body.start_date_time, body.end_date_time)?,
        ties: tie_rules(body.ranks, body.prize_rule),
    };
    if let Err(error) = new.check(api.clock.now().await?) {
        return Ok(repeated(&api, &new, error).await?.into_response());
    }
    match api.store.create_campaign(&new).await? {
        CampaignCreation::Created(campaign) => {
            let location = format!("/campaigns/{}", campaign.id);
            Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(CampaignBody::from(campaign))).into_response())
        }
        CampaignCreation::Existing(campaign) => Ok(Json(CampaignBody::from(campaign)).into_response()),
        CampaignCreation::Conflict(campaign) => {
            Err(Problem::new(CAMPAIGN_CONFLICT, format!("campaign {} exists with other content: read it, or take another id", campaign.id)))
        }
    }
}

/// A request that is refused now may be the repetition of one that was not: of a campaign that has ended since.
async fn repeated(api: &ApiState, new: &NewCampaign, error: CampaignError) -> Result<Json<CampaignBody>, Problem> {
    if let Some(id) = new.id
        && let Some(campaign) = api.store.campaign(id).await?
        && new.is_same_as(&campaign)
    {
        return Ok(Json(campaign.into()));
    }
    Err(error.into())
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
        campaigns: active.campaigns.into_iter().map(CampaignBody::from).collect(),
    }))
}

/// Reads one campaign.
#[utoipa::path(
    get, path = "/campaigns/{campaignId}", tag = "campaigns", operation_id = "readCampaign",
    params(("campaignId" = CampaignId, Path)),
    responses((status = 200, description = "The campaign.", body = CampaignBody)),
)]
pub(super) async fn read(
    State(api): State<ApiState>,
    PathParameters(id): PathParameters<CampaignId>,
) -> Result<Json<CampaignBody>, Problem> {
    let campaign = api.store.campaign(id).await?.ok_or_else(|| unknown_campaign(id))?;
    Ok(Json(campaign.into()))
}
