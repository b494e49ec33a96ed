//! A trivial second service, for tests only: it shows that the operator deploys any service by its descriptor alone, with a cache where it
//! needs one, and what a small service on the kit looks like.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenantry_contract::CacheNeed;
use tenantry_kit::cache::Cache;
use tenantry_kit::http::{Operations, routes};
use tenantry_kit::service::{BoxError, Context, Service};
use utoipa::ToSchema;

/// What a group may set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The text with which everybody is greeted.
    #[schemars(length(min = 1))]
    greeting: String,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
struct Greeting {
    /// The text that the group has set.
    greeting: String,
    /// Whether it came from the cache.
    cached: bool,
}

/// What the handler shares.
#[derive(Debug, Clone)]
struct Hall {
    settings: Arc<Settings>,
    cache: Cache,
}

struct Greeter;

impl Service for Greeter {
    const NAME: &'static str = "greeter";
    const API_PORT: Option<u16> = Some(8080);

    type Settings = Settings;
    type State = Hall;

    fn cache() -> Option<CacheNeed> {
        Some(CacheNeed::default())
    }

    fn operations() -> Operations<Hall> {
        Operations::new("Greeter", "Greets.", env!("CARGO_PKG_VERSION")).open(routes!(greet))
    }

    async fn state(context: &Context<Settings>) -> Result<Hall, BoxError> {
        Ok(Hall { settings: Arc::clone(&context.settings), cache: context.cache()?.clone() })
    }
}

/// Greets.
#[utoipa::path(get, path = "/greeting", operation_id = "greet", responses((status = 200, description = "A greeting.", body = Greeting)))]
async fn greet(State(hall): State<Hall>) -> Json<Greeting> {
    const KEY: &str = "greeting";
    if let Some(greeting) = hall.cache.get(KEY).await.and_then(|bytes| String::from_utf8(bytes).ok()) {
        return Json(Greeting { greeting, cached: true });
    }
    let greeting = hall.settings.greeting.clone();
    hall.cache.set(KEY, greeting.as_bytes(), Duration::from_secs(60)).await;
    Json(Greeting { greeting, cached: false })
}

fn main() -> ExitCode {
    tenantry_kit::service::main::<Greeter>()
}
