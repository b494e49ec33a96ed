//! Leaderboards to watch: a page, and the events that keep it current.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::once;
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use tenantry_kit::auth::Principal;
use tenantry_kit::http::PathParameters;
use tenantry_kit::problem::{INTERNAL, Problem};

use super::ApiState;
use super::problems::unknown_campaign;
use super::scopes::require_own_or_all;
use crate::domain::{CampaignId, CatalogueEntry, UserId};
use crate::leaderboards::{POSITIONS, Shown};

/// How soon a viewer comes back that was cut off, in the form of an event stream.
const RETRY: Bytes = Bytes::from_static(b"retry: 2000\n\n");
/// The page loads what is its own and nothing else, and nobody may frame it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

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
#[utoipa::path(
    get, path = "/leaderboards/{campaignId}/positions/{userId}/events", tag = "leaderboards", operation_id = "watchPosition",
    params(("campaignId" = CampaignId, Path), ("userId" = UserId, Path)),
    responses((status = 200, description = "Events without end.", body = String, content_type = "text/event-stream")),
)]
pub(super) async fn position_events(
    State(api): State<ApiState>,
    principal: Principal,
    PathParameters((id, user_id)): PathParameters<(CampaignId, UserId)>,
) -> Result<Response, Problem> {
    require_own_or_all(&principal, user_id)?;
    Ok(event_stream(api.leaderboards.watch_user(id, user_id).await?))
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

/// A leaderboard as a page.
#[derive(Template)]
#[template(path = "leaderboard.html")]
struct Page {
    entry: CatalogueEntry,
    shown: Shown,
}

/// Shows a leaderboard to people.
///
/// A page that keeps itself current.
#[utoipa::path(
    get, path = "/leaderboards/{campaignId}", tag = "leaderboards", operation_id = "showLeaderboard",
    params(("campaignId" = CampaignId, Path)),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
pub(super) async fn page(State(api): State<ApiState>, PathParameters(id): PathParameters<CampaignId>) -> Result<Response, Problem> {
    let (entry, _) = api.store.campaign(id).await?.ok_or_else(|| unknown_campaign(id))?;
    let shown = api.leaderboards.shown(id).await?;
    let html = Page { entry, shown }.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be written");
        Problem::new(INTERNAL, "the service has a defect; its logs have this request's id")
    })?;
    Ok(asset("text/html; charset=utf-8", "no-store", html))
}

/// The page's script.
#[utoipa::path(
    get, path = "/leaderboards/assets/leaderboard.js", tag = "leaderboards", operation_id = "leaderboardScript",
    responses((status = 200, description = "JavaScript.", body = String, content_type = "text/javascript")),
)]
pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", "max-age=300", include_str!("../../assets/leaderboard.js"))
}

/// The page's style.
#[utoipa::path(
    get, path = "/leaderboards/assets/leaderboard.css", tag = "leaderboards", operation_id = "leaderboardStyle",
    responses((status = 200, description = "A style sheet.", body = String, content_type = "text/css")),
)]
pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", "max-age=300", include_str!("../../assets/leaderboard.css"))
}

pub(super) fn asset(content_type: &'static str, cache: &'static str, content: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF),
        (header::REFERRER_POLICY, NO_REFERRER),
    ];
    (headers, content.into()).into_response()
}
