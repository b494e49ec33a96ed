//! Purchases that do not count for a campaign that they concern, and why.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tenantry_kit::http::{PageLimit, QueryParameters};
use tenantry_kit::id;
use tenantry_kit::money::Money;
use tenantry_kit::problem::Problem;
use tenantry_kit::queue::DeadLetterReason;
use tenantry_kit::time::UtcDateTime;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::problems::invalid_parameter;
use crate::domain::dead_letter::{KeptDeadLetter, PurchaseDeadLetter, REASONS};
use crate::domain::{CampaignId, UserId};

/// Which dead letters are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLettersQuery {
    /// Only those of this reason: `too_late`, `worth_nothing` or `too_large`.
    reason: Option<String>,
    /// What an answer gave as `next`, as it came: the list goes on there.
    after: Option<String>,
    /// How many.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000)]
    limit: PageLimit<100, 1000>,
}

/// Some dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLettersBody {
    /// The latest first.
    dead_letters: Vec<DeadLetterBody>,
    /// Where the list goes on; absent at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A purchase that does not count for a campaign.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PurchaseDeadLetter)]
struct DeadLetterBody {
    /// Why, in a word.
    #[schema(value_type = String, example = "too_late")]
    reason: String,
    /// Why, in a sentence.
    detail: String,
    campaign_id: CampaignId,
    /// The caller's identity of the purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    user_id: UserId,
    /// What was spent.
    amount: Money,
    /// When it was bought.
    timestamp: UtcDateTime,
    /// When it became a dead letter, by the database's clock.
    dead_lettered_at: UtcDateTime,
}

impl From<KeptDeadLetter> for DeadLetterBody {
    fn from(KeptDeadLetter { id: _, at, letter }: KeptDeadLetter) -> Self {
        let PurchaseDeadLetter { reason, detail, campaign_id, event_id, user_id, amount, timestamp, arrival: _ } = letter;
        Self {
            reason: reason.to_string(),
            detail,
            campaign_id,
            event_id: event_id.map(|id| id.to_string()),
            user_id,
            amount,
            timestamp,
            dead_lettered_at: at,
        }
    }
}

/// Lists purchases that do not count for a campaign that they concern.
///
/// `too_late`: accepted after the campaign's end and the grace for late ones. `worth_nothing`: in the campaign's currency less than half of
/// its smallest unit. `too_large`: in the campaign's currency more than 10^15. Each is listed once for each such campaign.
#[utoipa::path(
    get, path = "/purchases/dead-letters", tag = "purchases", operation_id = "listPurchaseDeadLetters", params(DeadLettersQuery),
    responses((status = 200, description = "At most `limit` of them, the latest first.", body = DeadLettersBody)),
)]
pub(super) async fn list(
    State(api): State<ApiState>,
    QueryParameters(query): QueryParameters<DeadLettersQuery>,
) -> Result<Json<DeadLettersBody>, Problem> {
    let before = query
        .after
        .as_deref()
        .map(id::parse)
        .transpose()
        .map_err(|_| invalid_parameter("after is what an answer gave as next, as it came"))?;
    let reason = query.reason.as_deref().map(|word| reason_of(&REASONS, word)).transpose()?;
    let limit = query.limit.get();
    let letters = api.store.purchase_dead_letters(reason.as_ref(), before, limit).await?;
    let is_full = letters.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next = letters.last().filter(|_| is_full).map(|last| last.id.to_string());
    Ok(Json(DeadLettersBody { dead_letters: letters.into_iter().map(DeadLetterBody::from).collect(), next }))
}

/// The one of `reasons` that is called so.
pub(super) fn reason_of(reasons: &[DeadLetterReason], word: &str) -> Result<DeadLetterReason, Problem> {
    let known = || reasons.iter().map(DeadLetterReason::as_str).collect::<Vec<_>>().join(", ");
    reasons.iter().find(|reason| reason.as_str() == word).cloned().ok_or_else(|| invalid_parameter(format!("reason is one of {}", known())))
}
