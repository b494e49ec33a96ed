//! Purchases as shops report them.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tenantry_kit::http::JsonBody;
use tenantry_kit::money::Money;
use tenantry_kit::problem::Problem;
use tenantry_kit::time::UtcDateTime;
use utoipa::ToSchema;

use super::ApiState;
use super::problems::PURCHASE_CONFLICT;
use crate::domain::{EventId, ItemId, Purchase, PurchaseAcceptance, UserId};

/// A purchase of one item by one user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Purchase)]
pub(super) struct PurchaseBody {
    /// The caller's identity of this purchase, 1 to 200 bytes: reporting it again under the same one counts once.
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "order-4711-line-1")]
    event_id: EventId,
    /// Who bought.
    user_id: UserId,
    /// What was bought.
    item_id: ItemId,
    /// What was spent: more than zero, in any currency.
    amount: Money,
    /// When it was bought; not in the future.
    timestamp: UtcDateTime,
}

/// A purchase that is durable.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PurchaseAccepted {
    /// The caller's identity of it.
    #[schema(value_type = String)]
    event_id: EventId,
}

/// Reports a purchase.
///
/// Answered when it is durable; it counts soon after. Repeat the request, with the same `eventId`, until it is answered.
#[utoipa::path(
    post, path = "/purchases", tag = "purchases", operation_id = "reportPurchase", request_body = PurchaseBody,
    responses((status = 202, description = "It is durable, now or since an earlier request.", body = PurchaseAccepted)),
)]
pub(super) async fn report(
    State(api): State<ApiState>,
    JsonBody(body): JsonBody<PurchaseBody>,
) -> Result<(StatusCode, Json<PurchaseAccepted>), Problem> {
    let PurchaseBody { event_id, user_id, item_id, amount, timestamp } = body;
    let purchase = Purchase { event_id, user_id, item_id, amount, timestamp };
    api.settings.purchase_rules().check(&purchase, api.clock.now().await?)?;
    match api.store.accept_purchase(&purchase).await? {
        PurchaseAcceptance::Accepted | PurchaseAcceptance::Repeated => {
            Ok((StatusCode::ACCEPTED, Json(PurchaseAccepted { event_id: purchase.event_id })))
        }
        PurchaseAcceptance::Conflict => Err(Problem::new(
            PURCHASE_CONFLICT,
            "a purchase with this eventId and other content was reported before: give each purchase an id of its own",
        )),
    }
}
