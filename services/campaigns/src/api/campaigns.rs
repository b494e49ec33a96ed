//! The catalogue: create a campaign, read, change and cancel it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use tenantry_kit::currency::Currency;
use tenantry_kit::http::{EntityTag, IfMatch, JsonBody, PathParameters, RequiredIfMatch};
use tenantry_kit::money::Money;
use tenantry_kit::problem::Problem;
use tenantry_kit::time::UtcDateTime;
use utoipa::ToSchema;

use super::ApiState;
use super::problems::{CAMPAIGN_CONFLICT, item_to_put_first, unknown_campaign};
use super::ties::{PrizeRuleName, RankRuleName, tie_rule_names, tie_rules};
use crate::domain::{
    Campaign, CampaignContent, CampaignCreation, CampaignError, CampaignId, CampaignState, CampaignTimes, CatalogueEntry, ItemId,
    NewCampaign,
};
use crate::store::CampaignUpdate;

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

/// What is written of a campaign that is changed: all of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CampaignContentBody {
    /// The item whose purchases count. Fixed once the campaign has started.
    item_id: ItemId,
    /// What the winner gets: more than zero. Fixed once the campaign has started.
    prize: Money,
    /// When it starts, inclusive. Fixed once that has passed.
    start_date_time: UtcDateTime,
    /// When it ends, exclusive: in the future.
    end_date_time: UtcDateTime,
    /// How equal totals are ranked. Fixed once the campaign has started.
    #[serde(default)]
    ranks: RankRuleName,
    /// Who gets the prize. Fixed once the campaign has started.
    #[serde(default)]
    prize_rule: PrizeRuleName,
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
    /// Where it is in its life.
    state: StateBody,
    /// When it was cancelled. While it ran, that is its end too; before its start, it never ran. It has no winner.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<UtcDateTime>,
}

/// Where a campaign is in its life.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CampaignState)]
pub(super) enum StateBody {
    /// It has not started.
    Scheduled,
    /// It runs.
    Active,
    /// It ran to its end.
    Ended,
    /// It was cancelled.
    Cancelled,
}

impl From<CampaignState> for StateBody {
    fn from(state: CampaignState) -> Self {
        match state {
            CampaignState::Scheduled => Self::Scheduled,
            CampaignState::Active => Self::Active,
            CampaignState::Ended => Self::Ended,
            CampaignState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<StateBody> for CampaignState {
    fn from(state: StateBody) -> Self {
        match state {
            StateBody::Scheduled => Self::Scheduled,
            StateBody::Active => Self::Active,
            StateBody::Ended => Self::Ended,
            StateBody::Cancelled => Self::Cancelled,
        }
    }
}

impl CampaignBody {
    /// The campaign as it is at `now`.
    pub(super) fn of(entry: &CatalogueEntry, now: UtcDateTime) -> Self {
        let Campaign { id, item_id, prize, currency, times, ties } = entry.campaign.clone();
        let (ranks, prize_rule) = tie_rule_names(ties);
        Self {
            campaign_id: id,
            item_id,
            prize,
            currency,
            start_date_time: times.start(),
            end_date_time: times.end(),
            ranks,
            prize_rule,
            state: entry.state(now).into(),
            cancelled_at: entry.cancelled_at,
        }
    }
}

/// The tag of a campaign as it is at `now`. Its state is part of it, since it is part of the answer: who read a campaign before its start,
/// and changes it after, is told.
fn tag(entry: &CatalogueEntry, now: UtcDateTime) -> EntityTag {
    EntityTag::new(format_args!("{}.{}", entry.version, entry.state(now)))
}

fn tagged(entry: &CatalogueEntry, now: UtcDateTime) -> (EntityTag, Json<CampaignBody>) {
    (tag(entry, now), Json(CampaignBody::of(entry, now)))
}

/// Creates a campaign.
///
/// With a `campaignId` the request can be repeated: the same content is answered alike, other content is refused. The item must exist.
#[utoipa::path(
    post, path = "/campaigns", tag = "campaigns", operation_id = "createCampaign", request_body = NewCampaignBody,
    responses(
        (status = 201, description = "It is created.", body = CampaignBody,
            headers(("Location" = String, description = "Its path."), ("ETag" = String, description = "Its version."))),
        (status = 200, description = "It existed already, with the same content.", body = CampaignBody,
            headers(("ETag" = String, description = "Its version."))),
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
    let now = api.clock.now().await?;
    if let Err(error) = new.content().check(now) {
        return repeated(&api, &new, error).await;
    }
    match api.store.create_campaign(&new).await? {
        CampaignCreation::Created(entry) => {
            let location = format!("/campaigns/{}", entry.campaign.id);
            Ok((StatusCode::CREATED, [(header::LOCATION, location)], tagged(&entry, now)).into_response())
        }
        CampaignCreation::Existing(entry) => Ok(tagged(&entry, now).into_response()),
        CampaignCreation::Conflict(CatalogueEntry { campaign, .. }) => {
            Err(Problem::new(CAMPAIGN_CONFLICT, format!("campaign {} exists with other content: read it, or take another id", campaign.id)))
        }
        CampaignCreation::UnknownItem(id) => Err(item_to_put_first(id)),
    }
}

/// A request that is refused now may be the repetition of one that was not: of a campaign that has ended since.
async fn repeated(api: &ApiState, new: &NewCampaign, error: CampaignError) -> Result<Response, Problem> {
    if let Some(id) = new.id
        && let Some((entry, now)) = api.store.campaign(id).await?
        && new.is_same_as(&entry.campaign)
    {
        return Ok(tagged(&entry, now).into_response());
    }
    Err(error.into())
}

/// Reads one campaign.
#[utoipa::path(
    get, path = "/campaigns/{campaignId}", tag = "campaigns", operation_id = "readCampaign",
    params(("campaignId" = CampaignId, Path)),
    responses((status = 200, description = "The campaign.", body = CampaignBody, headers(("ETag" = String, description = "Its version.")))),
)]
pub(super) async fn read(State(api): State<ApiState>, PathParameters(id): PathParameters<CampaignId>) -> Result<Response, Problem> {
    let (entry, now) = api.store.campaign(id).await?.ok_or_else(|| unknown_campaign(id))?;
    Ok(tagged(&entry, now).into_response())
}

/// Changes a campaign: the body is what it is from now on, all of it.
///
/// Before its start everything can be changed, what is done with ties too: `ranks` and `prizeRule` that are left out are `strict` and `first`, as
/// when a campaign is created. Once it has started, only the end can be moved, to an earlier or a later time in the future; once
/// it has ended or was cancelled, nothing. Purchases that were reported before count by the new end where it is later; a start that is moved to an earlier
/// time, and an end, take back nothing and add nothing otherwise: those times hold for what is reported from then on. Send the ETag of the campaign as it was read in `If-Match`: it changes with every change, and when
/// the campaign starts and ends; with an older one the request is refused with 412, without one with 428. A change that is made already is
/// answered alike, so that the request can be repeated.
#[utoipa::path(
    put, path = "/campaigns/{campaignId}", tag = "campaigns", operation_id = "changeCampaign", request_body = CampaignContentBody,
    params(("campaignId" = CampaignId, Path), ("If-Match" = String, Header, description = "The ETag of the version to change.")),
    responses(
        (status = 200, description = "It is so.", body = CampaignBody, headers(("ETag" = String, description = "Its version."))),
    ),
)]
pub(super) async fn change(
    State(api): State<ApiState>,
    PathParameters(id): PathParameters<CampaignId>,
    RequiredIfMatch(condition): RequiredIfMatch,
    JsonBody(body): JsonBody<CampaignContentBody>,
) -> Result<Response, Problem> {
    let times = CampaignTimes::new(body.start_date_time, body.end_date_time)?;
    let content = CampaignContent { item_id: body.item_id, prize: body.prize, times, ties: tie_rules(body.ranks, body.prize_rule) };
    update(&api, id, |entry, now| {
        if entry.campaign.content() != content {
            check(&condition, entry, now)?;
        }
        Ok(entry.changed(content, now)?)
    })
    .await
}

/// Cancels a campaign: it has no winner.
///
/// Before its start, it never runs, and nothing is announced. While it runs, it ends now. One that has ended is not cancelled any more. Send the
/// ETag of the campaign as it was read in `If-Match`; with an older one the request is refused with 412, without one with 428. One that is
/// cancelled already is answered alike, so that the request can be repeated.
#[utoipa::path(
    post, path = "/campaigns/{campaignId}/cancel", tag = "campaigns", operation_id = "cancelCampaign",
    params(("campaignId" = CampaignId, Path), ("If-Match" = String, Header, description = "The ETag of the version to cancel.")),
    responses(
        (status = 200, description = "It is cancelled.", body = CampaignBody, headers(("ETag" = String, description = "Its version."))),
    ),
)]
pub(super) async fn cancel(
    State(api): State<ApiState>,
    PathParameters(id): PathParameters<CampaignId>,
    RequiredIfMatch(condition): RequiredIfMatch,
) -> Result<Response, Problem> {
    update(&api, id, |entry, now| {
        if entry.cancelled_at.is_none() {
            check(&condition, entry, now)?;
        }
        Ok(entry.cancelled(now)?)
    })
    .await
}

async fn update(
    api: &ApiState,
    id: CampaignId,
    decide: impl FnOnce(&CatalogueEntry, UtcDateTime) -> Result<CatalogueEntry, Problem>,
) -> Result<Response, Problem> {
    match api.store.update_campaign(id, decide).await? {
        CampaignUpdate::Unknown => Err(unknown_campaign(id)),
        CampaignUpdate::UnknownItem(item) => Err(item_to_put_first(item)),
        CampaignUpdate::Refused(problem) => Err(problem),
        CampaignUpdate::Done(entry, now) => Ok(tagged(&entry, now).into_response()),
    }
}

fn check(condition: &IfMatch, entry: &CatalogueEntry, now: UtcDateTime) -> Result<(), Problem> {
    let tag = tag(entry, now);
    if condition.holds_for(&tag) { Ok(()) } else { Err(IfMatch::failed(&tag)) }
}
