//! Payments of prizes: those that are held, and those that are tried no more.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tenantry_kit::http::{PageLimit, PathParameters, QueryParameters};
use tenantry_kit::money::Money;
use tenantry_kit::problem::{Problem, ProblemKind};
use tenantry_kit::queue::{DeadLetter, DeadLetterKeyError, MessageId};
use tenantry_kit::time::UtcDateTime;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::dead_letters::reason_of;
use super::problems::{invalid_parameter, unknown_campaign};
use super::winners::not_completed;
use crate::domain::payment::{PaymentOrder, PaymentState, REASONS};
use crate::domain::{CampaignId, UserId};

const NO_PRIZE_WEBHOOK: ProblemKind = ProblemKind::new("no-prize-webhook", StatusCode::CONFLICT, "Nobody is told of prizes here");
const NO_SUCH_DEAD_LETTER: ProblemKind =
    ProblemKind::new("unknown-payment", StatusCode::NOT_FOUND, "There is no such payment among the dead letters");

/// How far the payment of a prize is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Payment)]
pub(super) struct PaymentBody {
    /// `held`: nobody has asked for it, see `payPrizes`. `waiting`: it is tried. `dead`: it is tried no more, see `redrivePayment`. `paid`: the
    /// receiver has taken it.
    #[schema(value_type = String, example = "paid")]
    state: &'static str,
    /// The payment's identity, which the receiver is told as `webhook-id` and `Idempotency-Key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    id: Option<MessageId>,
    /// When the receiver had taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_at: Option<UtcDateTime>,
    /// Why it is tried no more, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<PaymentState> for PaymentBody {
    fn from(state: PaymentState) -> Self {
        let body = |state, id| Self { state, id, paid_at: None, reason: None };
        match state {
            PaymentState::Held => body("held", None),
            PaymentState::Waiting(id) => body("waiting", Some(id)),
            PaymentState::DeadLettered(id, reason) => Self { reason: Some(reason.to_string()), ..body("dead", Some(id)) },
            PaymentState::Paid(id, at) => Self { paid_at: Some(at), ..body("paid", Some(id)) },
        }
    }
}

/// Which payments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PaymentDeadLettersQuery {
    /// Only those of this reason: `refused`, `delivery_limit`, `expired` or `unreadable`.
    reason: Option<String>,
    /// What an answer gave as `next`, as it came: the list goes on there.
    after: Option<String>,
    /// How many.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000)]
    limit: PageLimit<100, 1000>,
}

/// Which payments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RedriveQuery {
    /// Only those of this reason: `refused`, `delivery_limit`, `expired` or `unreadable`.
    reason: Option<String>,
}

/// Some payments that are tried no more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PaymentDeadLettersBody {
    /// The latest first.
    dead_letters: Vec<PaymentDeadLetterBody>,
    /// Where the list goes on; absent at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A payment that is tried no more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaymentDeadLetter)]
struct PaymentDeadLetterBody {
    /// The payment's identity.
    #[schema(value_type = String, format = "uuid")]
    id: MessageId,
    /// Why, in a word.
    #[schema(value_type = String, example = "refused")]
    reason: String,
    /// What came of the last try.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// How often it was tried.
    tries: u32,
    /// When it became a dead letter.
    dead_lettered_at: UtcDateTime,
    /// The campaign that was won; this and what follows is absent if the payment cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<CampaignId>,
    /// Who has won.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    /// What the user gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    prize: Option<Money>,
}

impl From<DeadLetter> for PaymentDeadLetterBody {
    fn from(letter: DeadLetter) -> Self {
        let order: Option<PaymentOrder> = serde_json::from_str(&letter.payload).ok();
        Self {
            id: letter.id,
            reason: letter.reason.to_string(),
            detail: letter.last_error,
            tries: letter.deliveries,
            dead_lettered_at: letter.dead_lettered_at,
            campaign_id: order.map(|order| order.campaign_id),
            user_id: order.map(|order| order.user_id),
            prize: order.map(|order| order.prize),
        }
    }
}

/// How many payments are tried from now on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PaymentsStartedBody {
    /// How many.
    payments: u64,
}

/// Lists payments that are tried no more.
///
/// `refused`: the receiver said no, for good. `delivery_limit`: it was tried as often as the group's settings allow. `expired`: it could not be
/// made within two weeks. `unreadable`: a defect. They stay until they are tried again.
#[utoipa::path(
    get, path = "/payments/dead-letters", tag = "payments", operation_id = "listPaymentDeadLetters", params(PaymentDeadLettersQuery),
    responses((status = 200, description = "At most `limit` of them, the latest first.", body = PaymentDeadLettersBody)),
)]
pub(super) async fn dead_letters(
    State(api): State<ApiState>,
    QueryParameters(query): QueryParameters<PaymentDeadLettersQuery>,
) -> Result<Json<PaymentDeadLettersBody>, Problem> {
    let after =
        query.after.as_deref().map(str::parse).transpose().map_err(|error: DeadLetterKeyError| invalid_parameter(error.to_string()))?;
    let reason = query.reason.as_deref().map(|word| reason_of(&REASONS, word)).transpose()?;
    let letters = api.store.payment_dead_letters(reason.as_ref(), after, query.limit.rows()).await?;
    let (letters, next) = query.limit.page(letters, |last| last.key().to_string());
    Ok(Json(PaymentDeadLettersBody { dead_letters: letters.into_iter().map(PaymentDeadLetterBody::from).collect(), next }))
}

/// Has one payment tried again that is tried no more.
///
/// Under its identity: a receiver that has taken it before can tell.
#[utoipa::path(
    post, path = "/payments/dead-letters/{paymentId}/redrive", tag = "payments", operation_id = "redrivePayment",
    params(("paymentId" = String, Path, format = "uuid")),
    responses((status = 202, description = "It is tried from now on.", body = PaymentsStartedBody)),
)]
pub(super) async fn redrive(
    State(api): State<ApiState>,
    PathParameters(payment): PathParameters<MessageId>,
) -> Result<(StatusCode, Json<PaymentsStartedBody>), Problem> {
    require_webhook(&api)?;
    if api.store.redrive_payment(payment).await? {
        return Ok(started(1));
    }
    Err(Problem::new(NO_SUCH_DEAD_LETTER, format!("no payment {payment} is a dead letter: see GET /payments/dead-letters")))
}

/// Has all payments tried again that are tried no more, or those of a reason.
#[utoipa::path(
    post, path = "/payments/dead-letters/redrive", tag = "payments", operation_id = "redrivePayments", params(RedriveQuery),
    responses((status = 202, description = "They are tried from now on.", body = PaymentsStartedBody)),
)]
pub(super) async fn redrive_all(
    State(api): State<ApiState>,
    QueryParameters(query): QueryParameters<RedriveQuery>,
) -> Result<(StatusCode, Json<PaymentsStartedBody>), Problem> {
    let reason = query.reason.as_deref().map(|word| reason_of(&REASONS, word)).transpose()?;
    require_webhook(&api)?;
    Ok(started(api.store.redrive_payments(reason.as_ref()).await?))
}

/// Has the winners of a campaign paid whose prizes are held.
///
/// Prizes are held of campaigns that were completed while the group named no webhook, or before prizes were paid at all. Asked for again, it
/// pays nobody twice.
#[utoipa::path(
    post, path = "/campaigns/{campaignId}/payments", tag = "payments", operation_id = "payPrizes",
    params(("campaignId" = CampaignId, Path)),
    responses((status = 202, description = "They are paid from now on.", body = PaymentsStartedBody)),
)]
pub(super) async fn pay(
    State(api): State<ApiState>,
    PathParameters(campaign): PathParameters<CampaignId>,
) -> Result<(StatusCode, Json<PaymentsStartedBody>), Problem> {
    require_webhook(&api)?;
    match api.store.pay_held(campaign).await? {
        Some(payments) => Ok(started(payments as u64)),
        None if api.store.results_version(campaign).await?.is_none() => Err(unknown_campaign(campaign)),
        None => Err(not_completed()),
    }
}

fn started(payments: u64) -> (StatusCode, Json<PaymentsStartedBody>) {
    (StatusCode::ACCEPTED, Json(PaymentsStartedBody { payments }))
}

fn require_webhook(api: &ApiState) -> Result<(), Problem> {
    if api.settings.prize_webhook.is_some() {
        return Ok(());
    }
    Err(Problem::new(NO_PRIZE_WEBHOOK, "no webhook would be told of it: set prizeWebhook in the group's settings of campaigns first"))
}
