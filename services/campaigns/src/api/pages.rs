//! Pages for people: written by the server, kept current by a script of their own, without anything from elsewhere.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use tenantry_kit::http::{PathParameters, asks_for_page};
use tenantry_kit::problem::{INTERNAL, Problem};
use tenantry_kit::time::UtcDateTime;

use super::ApiState;
use super::problems::unknown_campaign;
use crate::domain::{CampaignId, CampaignState, CatalogueEntry, ItemName};
use crate::leaderboards::{POSITIONS, Shown};

/// A page loads what is its own and nothing else, its script takes no text for markup, and nobody may frame it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// A leaderboard.
#[derive(Template)]
#[template(path = "leaderboard.html")]
struct LeaderboardPage {
    /// Where `/leaderboards` is, seen from the page.
    leaderboards: &'static str,
    entry: CatalogueEntry,
    item: ItemName,
    state: CampaignState,
    shown: Shown,
}

/// The leaderboards that there are.
#[derive(Template)]
#[template(path = "leaderboards.html")]
struct ListPage {
    leaderboards: &'static str,
    campaigns: Vec<(CatalogueEntry, ItemName)>,
}

/// Why there is no page.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    leaderboards: &'static str,
    title: &'a str,
    detail: &'a str,
}

/// Shows the leaderboards of the campaigns that run to people.
#[utoipa::path(
    get, path = "/leaderboards", tag = "leaderboards", operation_id = "showLeaderboards",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
pub(super) async fn leaderboards(State(api): State<ApiState>, headers: HeaderMap) -> Response {
    const LEADERBOARDS: &str = "leaderboards";
    let made = async {
        let active = api.store.active_campaigns().await?;
        let items = api.store.item_names(active.campaigns.iter().map(|entry| entry.campaign.item_id)).await?;
        page(&ListPage { leaderboards: LEADERBOARDS, campaigns: active.campaigns.into_iter().zip(items).collect() })
    };
    made.await.unwrap_or_else(|problem| refusal(problem, LEADERBOARDS, &headers))
}

/// Shows a leaderboard to people.
///
/// A page that keeps itself current, and shows the own position to who gives a token.
#[utoipa::path(
    get, path = "/leaderboards/{campaignId}", tag = "leaderboards", operation_id = "showLeaderboard",
    params(("campaignId" = CampaignId, Path)),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
pub(super) async fn leaderboard(
    State(api): State<ApiState>,
    headers: HeaderMap,
    id: Result<PathParameters<CampaignId>, Problem>,
) -> Response {
    const LEADERBOARDS: &str = "../leaderboards";
    let made = async {
        let PathParameters(id) = id?;
        let (entry, now): (CatalogueEntry, UtcDateTime) = api.store.campaign(id).await?.ok_or_else(|| unknown_campaign(id))?;
        let shown = api.leaderboards.shown(id).await?;
        let item = api.store.item_name(entry.campaign.item_id).await?;
        page(&LeaderboardPage { leaderboards: LEADERBOARDS, state: entry.state(now), entry, item, shown })
    };
    made.await.unwrap_or_else(|problem| refusal(problem, LEADERBOARDS, &headers))
}

/// The script of the pages.
#[utoipa::path(
    get, path = "/leaderboards/assets/leaderboard.js", tag = "leaderboards", operation_id = "leaderboardScript",
    responses((status = 200, description = "JavaScript.", body = String, content_type = "text/javascript")),
)]
pub(super) async fn script() -> Response {
    content("text/javascript; charset=utf-8", ASSET, include_str!("../../assets/leaderboard.js"))
}

/// The style of the pages.
#[utoipa::path(
    get, path = "/leaderboards/assets/leaderboard.css", tag = "leaderboards", operation_id = "leaderboardStyle",
    responses((status = 200, description = "A style sheet.", body = String, content_type = "text/css")),
)]
pub(super) async fn style() -> Response {
    content("text/css; charset=utf-8", ASSET, include_str!("../../assets/leaderboard.css"))
}

/// Script and style fit the page that was written by the same release: none is taken from a cache without asking.
const ASSET: HeaderValue = HeaderValue::from_static("no-cache");
const PAGE: HeaderValue = HeaderValue::from_static("no-store");

pub(super) fn page(page: &impl Template) -> Result<Response, Problem> {
    let html = page.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be written");
        Problem::new(INTERNAL, "the service has a defect; its logs have this request's id")
    })?;
    Ok(content("text/html; charset=utf-8", PAGE, html))
}

/// The problem as a page for who asked for a page, and as it is for everybody else.
fn refusal(problem: Problem, leaderboards: &'static str, headers: &HeaderMap) -> Response {
    if !asks_for_page(headers) {
        return problem.into_response();
    }
    let (kind, detail) = (problem.kind(), sentence(problem.detail()));
    match page(&ProblemPage { leaderboards, title: kind.title(), detail: &detail }) {
        Ok(page) => problem.on_page(page),
        Err(problem) => problem.into_response(),
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), characters.as_str()))
}

fn content(content_type: &'static str, cache: HeaderValue, content: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF),
        (header::REFERRER_POLICY, NO_REFERRER),
    ];
    (headers, content.into()).into_response()
}
