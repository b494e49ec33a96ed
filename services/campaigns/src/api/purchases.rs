//! Purchases as shops report them: one, or a batch of them.

use axum::Json;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tenantry_kit::http::{is_json, media_type, parse_json, read_body};
use tenantry_kit::money::Money;
use tenantry_kit::problem::{BODY_TOO_LARGE, INTERNAL, Problem, ProblemDocument, UNSUPPORTED_MEDIA_TYPE};
use tenantry_kit::time::UtcDateTime;
use utoipa::ToSchema;

use super::ApiState;
use super::batch::{self, Line, LineRefusal};
use super::problems::PURCHASE_CONFLICT;
use crate::domain::{EventId, ItemId, Purchase, PurchaseAcceptance, UserId};

/// The media type of a batch with one purchase on each line.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// The longest body of one purchase.
const SINGLE_BYTES: usize = 1024 * 1024;
/// The longest body of a batch: the largest batch, of the longest event ids.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// A longer body, or one of unknown length, needs a place among the large ones, and is read on a thread of its own.
const LARGE_BYTES: usize = 64 * 1024;

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

impl From<PurchaseBody> for Purchase {
    fn from(body: PurchaseBody) -> Self {
        let PurchaseBody { event_id, user_id, item_id, amount, timestamp } = body;
        Self { event_id, user_id, item_id, amount, timestamp }
    }
}

/// One purchase, or up to 10,000.
#[derive(Debug, ToSchema)]
#[schema(as = PurchaseOrBatch)]
#[serde(untagged)]
#[expect(dead_code, reason = "it documents what the handler reads by hand")]
pub(super) enum PurchaseOrBatch {
    One(PurchaseBody),
    Batch(Vec<PurchaseBody>),
}

/// A purchase that is durable.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PurchaseAccepted {
    /// The caller's identity of it.
    #[schema(value_type = String)]
    event_id: EventId,
}

/// What became of a batch. What is not refused is durable.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchReport {
    /// How many are durable since this request.
    accepted: usize,
    /// How many were durable already, with the same content.
    repeated: usize,
    /// The others, in the order of their lines.
    refused: Vec<RefusedPurchase>,
}

/// A purchase of a batch that is refused.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefusedPurchase {
    /// Its line, or its place in the array, counted from 1.
    line: usize,
    /// The caller's identity of it, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    event_id: Option<EventId>,
    /// What is wrong with it. Its pointers lead into this purchase.
    problem: ProblemDocument,
}

/// What became of one purchase.
#[derive(Debug, ToSchema)]
#[schema(as = PurchaseOrBatchReport)]
#[serde(untagged)]
#[expect(dead_code, reason = "it documents what the handler answers")]
pub(super) enum PurchaseOrBatchReport {
    One(PurchaseAccepted),
    Batch(BatchReport),
}

/// Reports purchases: one, or up to 10,000 as a JSON array or as lines.
///
/// Answered when they are durable; they count soon after. Repeat the request, with the same `eventId`s, until it is answered: what was accepted
/// before counts once.
///
/// One purchase is answered with 202, or with the problem that it has. A batch is answered with 202 if none of it is refused, else with 207:
/// then the others are durable, and `refused` names each line that is not, with its problem. With any other status, nothing is known of any line.
#[utoipa::path(
    post, path = "/purchases", tag = "purchases", operation_id = "reportPurchase",
    request_body(content((PurchaseOrBatch = "application/json"), (String = "application/x-ndjson")),
        description = "One purchase, an array of purchases, or one on each line. A batch has at most 10,000, and 4 MiB."),
    responses(
        (status = 202, description = "All of it is durable, now or since an earlier request.", body = PurchaseOrBatchReport),
        (status = 207, description = "A batch: what is not refused is durable.", body = BatchReport),
    ),
)]
pub(super) async fn report(State(api): State<ApiState>, request: Request) -> Result<Response, Problem> {
    take(&api, request).await.inspect_err(|problem| api.intake.metrics.refused(problem))
}

async fn take(api: &ApiState, request: Request) -> Result<Response, Problem> {
    let is_lines = media_type(request.headers()) == NDJSON;
    let is_known = is_lines || is_json(request.headers());
    let is_large = request.body().size_hint().upper().is_none_or(|bytes| bytes > LARGE_BYTES as u64);
    let _place = if is_large { Some(api.intake.place_for_large_body()?) } else { None };
    let body = read_body(request.into_body(), BATCH_BYTES).await?;
    if !is_known {
        let detail = format!("send JSON with the header `Content-Type: application/json`, or one purchase on each line with `{NDJSON}`");
        return Err(Problem::new(UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if is_lines || batch::is_array(&body) {
        let read = move || if is_lines { batch::read_lines(&body) } else { batch::read_array(&body) };
        let lines = if is_large {
            tokio::task::spawn_blocking(read).await.map_err(|_| Problem::new(INTERNAL, "the service has a defect"))??
        } else {
            read()?
        };
        return report_batch(api, lines).await;
    }
    if body.len() > SINGLE_BYTES {
        return Err(Problem::new(BODY_TOO_LARGE, format!("a purchase has at most {SINGLE_BYTES} bytes: send several as an array")));
    }
    report_one(api, parse_json::<PurchaseBody>(&body)?.into()).await
}

async fn report_one(api: &ApiState, purchase: Purchase) -> Result<Response, Problem> {
    api.settings.purchase_rules().check(&purchase, api.clock.now().await?)?;
    let event_id = purchase.event_id.clone();
    match api.intake.accept(purchase).await? {
        PurchaseAcceptance::Accepted => api.intake.metrics.accepted(1),
        PurchaseAcceptance::Repeated => api.intake.metrics.repeated(1),
        PurchaseAcceptance::Conflict => return Err(conflict()),
    }
    Ok((StatusCode::ACCEPTED, Json(PurchaseAccepted { event_id })).into_response())
}

async fn report_batch(api: &ApiState, lines: Vec<Line>) -> Result<Response, Problem> {
    let (rules, now) = (api.settings.purchase_rules(), api.clock.now().await?);
    let mut refused: Vec<LineRefusal> = Vec::new();
    let mut numbers = Vec::with_capacity(lines.len());
    let mut purchases = Vec::with_capacity(lines.len());
    for Line { number, content } in lines {
        match content {
            Err(problem) => refused.push(LineRefusal { number, event_id: None, problem }),
            Ok(purchase) => match rules.check(&purchase, now) {
                Err(error) => refused.push(LineRefusal { number, event_id: Some(purchase.event_id), problem: error.into() }),
                Ok(()) => {
                    numbers.push((number, purchase.event_id.clone()));
                    purchases.push(purchase);
                }
            },
        }
    }
    let acceptances = if purchases.is_empty() { Vec::new() } else { api.intake.accept_all(purchases).await? };
    let (mut accepted, mut repeated) = (0, 0);
    for (acceptance, (number, event_id)) in acceptances.into_iter().zip(numbers) {
        match acceptance {
            PurchaseAcceptance::Accepted => accepted += 1,
            PurchaseAcceptance::Repeated => repeated += 1,
            PurchaseAcceptance::Conflict => refused.push(LineRefusal { number, event_id: Some(event_id), problem: conflict() }),
        }
    }
    api.intake.metrics.accepted(accepted);
    api.intake.metrics.repeated(repeated);
    refused.iter().for_each(|refusal| api.intake.metrics.refused(&refusal.problem));
    refused.sort_unstable_by_key(|refusal| refusal.number);
    let status = if refused.is_empty() { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    let refused = refused
        .into_iter()
        .map(|LineRefusal { number, event_id, problem }| RefusedPurchase { line: number, event_id, problem: problem.document() })
        .collect();
    Ok((status, Json(BatchReport { accepted, repeated, refused })).into_response())
}

fn conflict() -> Problem {
    Problem::new(
        PURCHASE_CONFLICT,
        "a purchase with this eventId and other content was reported before: give each purchase an id of its own",
    )
}
