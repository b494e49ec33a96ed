//! The kinds of problem that are this service's own.

use http::StatusCode;
use tenantry_kit::problem::{INTERNAL, INVALID_PARAMETER, OVERLOADED, Problem, ProblemKind, UNAVAILABLE};

use crate::domain::{CampaignError, CampaignId, ChangeError, ItemId, PurchaseError};
use crate::leaderboards::ViewError;
use crate::live::LiveError;
use crate::store::StoreError;

pub(super) const INVALID_CAMPAIGN: ProblemKind =
    ProblemKind::new("invalid-campaign", StatusCode::UNPROCESSABLE_ENTITY, "The campaign is not valid");
pub(super) const CAMPAIGN_CONFLICT: ProblemKind =
    ProblemKind::new("campaign-conflict", StatusCode::CONFLICT, "The campaign id belongs to another campaign");
pub(super) const UNKNOWN_CAMPAIGN: ProblemKind = ProblemKind::new("unknown-campaign", StatusCode::NOT_FOUND, "There is no such campaign");
pub(super) const CAMPAIGN_STARTED: ProblemKind =
    ProblemKind::new("campaign-started", StatusCode::CONFLICT, "The campaign has started, which fixes what would change");
pub(super) const CAMPAIGN_ENDED: ProblemKind = ProblemKind::new("campaign-ended", StatusCode::CONFLICT, "The campaign is over");
pub(super) const UNKNOWN_ITEM: ProblemKind = ProblemKind::new("unknown-item", StatusCode::NOT_FOUND, "There is no such item");
pub(super) const BATCH_TOO_LARGE: ProblemKind =
    ProblemKind::new("batch-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The batch has too many purchases");
pub(super) const INVALID_PURCHASE: ProblemKind =
    ProblemKind::new("invalid-purchase", StatusCode::UNPROCESSABLE_ENTITY, "The purchase is not valid");
pub(super) const PURCHASE_CONFLICT: ProblemKind =
    ProblemKind::new("purchase-conflict", StatusCode::CONFLICT, "The event id belongs to another purchase");
pub(super) const NO_PURCHASES: ProblemKind =
    ProblemKind::new("no-purchases", StatusCode::NOT_FOUND, "The user has no purchase that counts for the campaign");

pub(super) const INVALID_USERS: ProblemKind =
    ProblemKind::new("invalid-users", StatusCode::UNPROCESSABLE_ENTITY, "The batch of users is not valid");
pub(super) const STANDINGS_BEING_READ: ProblemKind =
    ProblemKind::new("standings-being-read", StatusCode::SERVICE_UNAVAILABLE, "The campaign's standings are being read");
pub(super) const VERSION_NOT_REACHED: ProblemKind = ProblemKind::new(
    "version-not-reached",
    StatusCode::SERVICE_UNAVAILABLE,
    "The campaign's results have not come to the version asked for",
);

/// A parameter that is refused for this.
pub(super) fn invalid_parameter(detail: impl Into<String>) -> Problem {
    Problem::new(INVALID_PARAMETER, detail)
}

impl From<LiveError> for Problem {
    fn from(error: LiveError) -> Self {
        let kind = match error {
            LiveError::Unknown(id) => return unknown_campaign(id),
            LiveError::BeingRead(_) => STANDINGS_BEING_READ,
            LiveError::Behind { .. } => VERSION_NOT_REACHED,
            LiveError::Unavailable(_) => UNAVAILABLE,
        };
        Problem::new(kind, format!("{error}: send the request again")).with_retry_after(1)
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Standings(error) => error.into(),
            ViewError::TooMany => Problem::new(OVERLOADED, format!("{error}: try again after the time in Retry-After")).with_retry_after(5),
        }
    }
}

pub(super) fn unknown_campaign(id: CampaignId) -> Problem {
    Problem::new(UNKNOWN_CAMPAIGN, format!("there is no campaign {id}: see GET /campaigns/active"))
}

pub(super) fn unknown_item(id: ItemId) -> Problem {
    Problem::new(UNKNOWN_ITEM, format!("there is no item {id}: see GET /items, or put it with PUT /items/{id}"))
}

/// A campaign that refers to an item that does not exist.
pub(super) fn item_to_put_first(id: ItemId) -> Problem {
    let detail = format!("the catalogue has no item {id}: put it first, with PUT /items/{id}");
    Problem::new(INVALID_CAMPAIGN, detail.clone()).with_error("/itemId", detail)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        of_store(&error)
    }
}

/// A failure of the store, which may be several requests' at once.
pub(super) fn of_store(error: &StoreError) -> Problem {
    if error.is_unavailable() {
        tracing::warn!(%error, "the store is not available");
        Problem::new(UNAVAILABLE, "the database is not available at the moment: send the request again").with_retry_after(1)
    } else {
        tracing::error!(%error, "the store failed");
        Problem::new(INTERNAL, "the service has a defect; its logs have this request's id")
    }
}

impl From<PurchaseError> for Problem {
    fn from(error: PurchaseError) -> Self {
        Problem::new(INVALID_PURCHASE, error.to_string()).with_error(error.pointer(), error.to_string())
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Invalid(error) => error.into(),
            ChangeError::Started(_) => Problem::new(CAMPAIGN_STARTED, error.to_string()),
            ChangeError::Ended | ChangeError::Cancelled => Problem::new(CAMPAIGN_ENDED, error.to_string()),
        }
    }
}

impl From<CampaignError> for Problem {
    fn from(error: CampaignError) -> Self {
        let pointer = match error {
            CampaignError::EndsBeforeStart | CampaignError::EndedAlready => "/endDateTime",
            CampaignError::PrizeNotPositive => "/prize/value",
        };
        Problem::new(INVALID_CAMPAIGN, error.to_string()).with_error(pointer, error.to_string())
    }
}
