//! A trivial second service, for tests only: it shows that the operator deploys any service by its descriptor alone, and
//! what the least service on the kit looks like.

use std::process::ExitCode;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
}

struct Greeter;

impl Service for Greeter {
    const NAME: &'static str = "greeter";
    const API_PORT: Option<u16> = Some(8080);

    type Settings = Settings;
    type State = Arc<Settings>;

    fn operations() -> Operations<Arc<Settings>> {
        Operations::new("Greeter", "Greets.", env!("CARGO_PKG_VERSION")).open(routes!(greet))
    }

    async fn state(context: &Context<Settings>) -> Result<Arc<Settings>, BoxError> {
        Ok(Arc::clone(&context.settings))
    }
}

/// Greets.
#[utoipa::path(get, path = "/greeting", operation_id = "greet", responses((status = 200, description = "A greeting.", body = Greeting)))]
async fn greet(State(settings): State<Arc<Settings>>) -> Json<Greeting> {
    Json(Greeting { greeting: settings.greeting.clone() })
}

fn main() -> ExitCode {
    tenantry_kit::service::main::<Greeter>()
}
