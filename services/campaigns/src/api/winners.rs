//! Who has won a campaign.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use tenantry_kit::http::PathParameters;
use tenantry_kit::money::Money;
use tenantry_kit::problem::{Problem, ProblemKind};
use utoipa::ToSchema;

use super::ApiState;
use super::payments::PaymentBody;
use super::problems::unknown_campaign;
use crate::domain::payment::PaymentState;
use crate::domain::{CampaignId, UserId, Winner};

const NOT_COMPLETED: ProblemKind = ProblemKind::new("not-completed", StatusCode::CONFLICT, "The campaign is not completed");

/// The winners of a campaign.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WinnersBody {
    /// In the order of their positions; empty if nobody bought anything, or the campaign was cancelled.
    winners: Vec<WinnerBody>,
}

/// Somebody who has won.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Winner)]
struct WinnerBody {
    user_id: UserId,
    /// Counted from 0.
    position: usize,
    /// What the user has spent, in the campaign's currency.
    total: Money,
    /// What the user gets.
    prize: Money,
    /// How far the payment is.
    payment: PaymentBody,
}

impl WinnerBody {
    fn new(Winner { user_id, position, total, prize }: Winner, payment: PaymentState) -> Self {
        Self { user_id, position, total, prize, payment: payment.into() }
    }
}

/// Reads who has won a campaign.
///
/// Winners are fixed for ever when the campaign has ended, the grace for late purchases is over, and none that counts waits for an exchange rate.
/// Who they are if totals are equal, and what each gets, says the campaign's `prizeRule`.
#[utoipa::path(
    get, path = "/campaigns/{campaignId}/winners", tag = "campaigns", operation_id = "readWinners",
    params(("campaignId" = CampaignId, Path)),
    responses((status = 200, description = "The winners.", body = WinnersBody)),
)]
pub(super) async fn read(
    State(api): State<ApiState>,
    PathParameters(id): PathParameters<CampaignId>,
) -> Result<Json<WinnersBody>, Problem> {
    match api.store.winners(id).await? {
        Some(winners) => {
            let mut payments = api.store.payments(id).await?;
            let body = |winner: Winner| WinnerBody::new(winner, payments.remove(&winner.user_id).unwrap_or(PaymentState::Held));
            Ok(Json(WinnersBody { winners: winners.into_iter().map(body).collect() }))
        }
        None if api.store.results_version(id).await?.is_none() => Err(unknown_campaign(id)),
        None => Err(not_completed()),
    }
}

pub(super) fn not_completed() -> Problem {
    Problem::new(
        NOT_COMPLETED,
        "its winners are fixed when it has ended, the grace for late purchases is over and no purchase waits for an exchange rate \
         (see GET /rates/gaps): ask again then",
    )
}
