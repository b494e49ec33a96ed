//! The events of a leaderboard, and of a user's position.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::once;
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use tenantry_kit::auth::{Principal, Validity};
use tenantry_kit::http::PathParameters;
use tenantry_kit::id::IdError;
use tenantry_kit::problem::{INVALID_PARAMETER, Problem};

use super::ApiState;
use super::scopes::{own_user, require_own_or_all};
use crate::domain::CampaignId;

/// How soon a viewer comes back that was cut off, in the form of an event stream.
const RETRY: Bytes = Bytes::from_static(b"retry: 2000\n\n");
/// Stands for the id of the user that the credential names.
const OWN: &str = "own";

/// Watches a leaderboard.
///
/// Server-sent events (`text/event-stream`). First `snapshot`, with the first hundred positions; then `changes`, each of which has the positions that are
/// others since the event whose id it names as `after`, how many there are (`length`), and how many users have purchases that count. The id is
/// the version of the campaign's results: sent as `Last-Event-ID`, it goes on after that event where it can, and else begins with a
/// snapshot. A viewer that does not keep up is cut off, and comes back in this way.
#[utoipa::path(
    get, path = "/leaderboards/{campaignId}/events", tag = "leaderboards", operation_id = "watchLeaderboard",
    params(("campaignId" = CampaignId, Path), ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that came.")),
    responses((status = 200, description = "Events without end.", body = String, content_type = "text/event-stream")),
)]
pub(super) async fn events(
    State(api): State<ApiState>,
    PathParameters(id): PathParameters<CampaignId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    Ok(event_stream(api.leaderboards.watch(id, last).await?))
}

/// Watches a user's position.
///
/// Server-sent events (`text/event-stream`), all of them `position`: where the user stands, at once and whenever it is another; `null` without a
/// purchase that counts. One's own position, the user being the one that the credential names; with the scope `records:read:all` everybody's.
/// The events end when the credential does: a new request says why.
#[utoipa::path(
    get, path = "/leaderboards/{campaignId}/positions/{userId}/events", tag = "leaderboards", operation_id = "watchPosition",
    params(
        ("campaignId" = CampaignId, Path),
        ("userId" = String, Path, description = "The user's id; or `own`, for the user that the credential names."),
    ),
    responses((status = 200, description = "Events, until the credential ends.", body = String, content_type = "text/event-stream")),
)]
pub(super) async fn position_events(
    State(api): State<ApiState>,
    principal: Principal,
    validity: Validity,
    PathParameters((id, user)): PathParameters<(CampaignId, String)>,
) -> Result<Response, Problem> {
    let user_id = if user == OWN { own_user(&principal)? } else { user.parse().map_err(invalid_user)? };
    require_own_or_all(&principal, user_id)?;
    let events = api.leaderboards.watch_user(id, user_id).await?;
    Ok(event_stream(events.take_until(validity.ended())))
}

fn invalid_user(error: IdError) -> Problem {
    Problem::new(INVALID_PARAMETER, format!("the user is `{OWN}` or an id: {error}"))
}

fn event_stream(events: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let events = once(async { RETRY }).chain(events).map(Ok::<_, std::convert::Infallible>);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(events)).into_response()
}
