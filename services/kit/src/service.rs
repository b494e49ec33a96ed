//! A service as its binary: implement [`Service`], call [`main`]. The commands are those with which the operator starts it
//! ([`tenantry_contract::commands`]).
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     tenantry_kit::service::main::<Campaigns>()
//! }
//! ```

mod command_line;
mod commands;
mod context;
mod process;

use std::future::Future;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use tenantry_contract::{ApiRole, AuthNeed, CacheNeed, CredentialNeed, DatabaseNeed, Descriptor, EgressNeed, Needs, Roles, WorkerRole};

use crate::http::Operations;
use crate::migration::Schema;

use command_line::{Command, CommandLine};
pub use commands::{Commands, ServiceCommand};
pub use context::Context;
pub use process::ServiceError;

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One service: what it is called and needs, what it answers, what it does in the background.
pub trait Service: 'static {
    /// Its name in descriptors, manifests and metrics.
    const NAME: &'static str;
    /// The port of its API, if it has one.
    const API_PORT: Option<u16>;
    /// The port of its worker's health and metrics, if it has a worker.
    const WORKER_METRICS_PORT: Option<u16> = None;

    /// What a group may set for it. Give it `deny_unknown_fields`.
    type Settings: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// What its handlers share.
    type State: Clone + Send + Sync + 'static;

    /// Its schema, if it needs a database.
    fn schema() -> Option<Schema> {
        None
    }

    /// Whether it needs the slot's cache.
    fn cache() -> Option<CacheNeed> {
        None
    }

    /// The credentials that a tenant may give it; where they are, [`Context::credentials`] says.
    fn credentials() -> Vec<CredentialNeed> {
        Vec::new()
    }

    /// Which of its roles reach others outside of the slot, where the class allows it.
    fn egress() -> Option<EgressNeed> {
        None
    }

    /// Its API.
    fn operations() -> Operations<Self::State>;

    /// Commands of its binary beside those of every service.
    fn commands() -> Commands {
        Commands::NONE
    }

    /// Makes what the handlers share. Called once, in an `api` process.
    fn state(context: &Context<Self::Settings>) -> impl Future<Output = Result<Self::State, BoxError>> + Send;

    /// Its background work. Must return soon after [`Context::shutdown`] is requested, having finished what it began.
    fn worker(context: Context<Self::Settings>) -> impl Future<Output = Result<(), BoxError>> + Send {
        async move {
            context.shutdown.requested().await;
            Ok(())
        }
    }
}

/// Runs the command that the command line names, until it is done or the process is asked to stop.
///
/// Exit codes: 0 done; 1 failed; 2 wrong command line; 78 wrong configuration or credentials (`EX_CONFIG`). Those of added commands are
/// their own.
pub fn main<S: Service>() -> ExitCode {
    let command_line = S::commands().add_to(CommandLine::command().name(S::NAME).version(env!("CARGO_PKG_VERSION")));
    let matches = command_line.get_matches();
    match S::commands().given(&matches) {
        Some(Ok(command)) => return process::run(async { Ok(command.await) }).unwrap_or_else(|error| fail::<S>(&error)),
        Some(Err(error)) => error.exit(),
        None => {}
    }
    let command_line = match CommandLine::from_arg_matches(&matches) {
        Ok(command_line) => command_line,
        Err(error) => error.exit(),
    };
    let outcome = match &command_line.command {
        Command::Describe => print(&descriptor::<S>()),
        Command::Openapi => print(&S::operations().document()),
        Command::Api(options) => process::run(process::api::<S>(options)),
        Command::Worker(options) => process::run(process::worker::<S>(options)),
        Command::Migrate(options) => process::run(process::migrate::<S>(options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail::<S>(&error),
    }
}

fn fail<S: Service>(error: &ServiceError) -> ExitCode {
    eprintln!("{}: {error}", S::NAME);
    error.exit_code()
}

/// What the service is and what it needs.
pub fn descriptor<S: Service>() -> Descriptor {
    let schema = S::schema();
    Descriptor {
        name: S::NAME.to_owned(),
        roles: Roles {
            api: S::API_PORT.map(|port| ApiRole { port }),
            worker: S::WORKER_METRICS_PORT.map(|metrics_port| WorkerRole { metrics_port }),
        },
        needs: Needs {
            database: schema.as_ref().map(|_| DatabaseNeed::default()),
            cache: S::cache(),
            auth: S::operations().need_credentials().then(AuthNeed::default),
            credentials: S::credentials(),
            egress: S::egress(),
        },
        schema: schema.map(|schema| schema.versions()),
        settings: SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<S::Settings>().into(),
    }
}

fn print(document: &impl serde::Serialize) -> Result<(), ServiceError> {
    use std::io::Write;
    let text = serde_json::to_string_pretty(document).expect("descriptors and OpenAPI documents always serialise");
    writeln!(std::io::stdout(), "{text}").map_err(ServiceError::Output)
}
