//! Campaign scoring: campaigns with a prize for one item, purchases of items, and who spent most.
//!
//! `api` answers HTTP, `worker` follows the streams, `domain` has the rules, `store` the SQL, `live` holds the standings in the API's memory. A
//! purchase's way: `api` makes it durable, the worker qualifies it against campaigns and adds it to totals, each `api` process follows the
//! totals that change, and answers from its memory. `import` is for people: it reports the purchases of a file.

pub mod api;
pub mod domain;
pub mod import;
pub mod leaderboards;
pub mod live;
pub mod settings;
pub mod store;
pub mod worker;

use tenantry_contract::{CredentialNeed, EgressNeed, WorkloadRole};
use tenantry_kit::http::Operations;
use tenantry_kit::migration::Schema;
use tenantry_kit::service::{BoxError, Commands, Context, Service};
use tenantry_kit::webhook::WebhookCredential;

use crate::api::ApiState;
use crate::settings::Settings;

/// The service, for [`tenantry_kit::service::main`].
#[derive(Debug)]
pub struct Campaigns;

impl Service for Campaigns {
    const NAME: &'static str = "campaigns";
    const API_PORT: Option<u16> = Some(8080);
    const WORKER_METRICS_PORT: Option<u16> = Some(8081);

    type Settings = Settings;
    type State = ApiState;

    fn schema() -> Option<Schema> {
        Some(store::schema())
    }

    fn credentials() -> Vec<CredentialNeed> {
        let files = WebhookCredential::FILES.map(str::to_owned).to_vec();
        let optional_files = WebhookCredential::OPTIONAL_FILES.map(str::to_owned).to_vec();
        vec![CredentialNeed { name: worker::WEBHOOK_CREDENTIAL.to_owned(), roles: vec![WorkloadRole::Worker], files, optional_files }]
    }

    fn egress() -> Option<EgressNeed> {
        Some(EgressNeed { roles: vec![WorkloadRole::Worker] })
    }

    fn operations() -> Operations<ApiState> {
        api::operations()
    }

    fn commands() -> Commands {
        Commands::of::<import::CampaignsCommand>()
    }

    async fn state(context: &Context<Settings>) -> Result<ApiState, BoxError> {
        Ok(ApiState::new(context)?)
    }

    async fn worker(context: Context<Settings>) -> Result<(), BoxError> {
        Ok(worker::run(context).await?)
    }
}
