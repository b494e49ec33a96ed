//! Starts and stops the three kinds of process.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use tenantry_contract::ServiceConfiguration;
use tokio::net::TcpListener;

use super::command_line::ProcessOptions;
use super::{BoxError, Context, Service};
use crate::auth::{ApiKeys, Authenticator, Issuance, Nobody, SlotAuthenticator, StaticToken, TrialTokens, TrustedIssuers};
use crate::cache::{Cache, CacheError};
use crate::configuration::{self, ConfigurationError};
use crate::credentials::CredentialError;
use crate::database::{Database, DatabaseError};
use crate::http::{self, Limits, Operations, Process, ServerOptions};
use crate::migration::{self, MigrationError};
use crate::shutdown::{Gate, Readiness, Shutdown};
use crate::telemetry::{Metrics, Telemetry, TelemetryError};

/// How long the runtime waits, at the very end, for tasks that block.
const RUNTIME_STOP: Duration = Duration::from_secs(1);
/// Between two tries to reach the database for the first time.
const DATABASE_RETRY: Duration = Duration::from_millis(500);

/// Why a process ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant wraps the error that says it")]
pub enum ServiceError {
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("the migration failed: {0}")]
    Migration(#[from] MigrationError),
    #[error("the service has no {0}: take the command out, or declare the role in the service")]
    NoSuchRole(&'static str),
    #[error("the service uses {0} without declaring that it needs one")]
    NotDeclared(&'static str),
    #[error("cannot listen on port {port}: {source}")]
    Listen { port: u16, source: std::io::Error },
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[source] std::io::Error),
    #[error("the service cannot start: {0}")]
    State(#[source] BoxError),
    #[error("the worker failed: {0}")]
    Worker(#[source] BoxError),
}

impl ServiceError {
    pub(super) fn exit_code(&self) -> ExitCode {
        const EX_CONFIG: u8 = 78;
        match self {
            Self::Configuration(_) | Self::Credential(_) => ExitCode::from(EX_CONFIG),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs one process in a runtime of its own.
pub(super) fn run<T>(process: impl Future<Output = Result<T, ServiceError>>) -> Result<T, ServiceError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServiceError::Runtime)?;
    let outcome = runtime.block_on(process);
    runtime.shutdown_timeout(RUNTIME_STOP);
    outcome
}

/// Serves the API until the process is asked to stop.
pub(super) async fn api<S: Service>(options: &ProcessOptions) -> Result<(), ServiceError> {
    let configuration = load::<S>(options)?;
    let port = configuration.listen.api_port.ok_or_else(|| missing(options, "/listen/apiPort", "write the port of the API"))?;
    let auth = configuration.auth.clone().unwrap_or_default();
    let issuers = TrustedIssuers::new(&auth)
        .map_err(|error| configuration::invalid(&options.configuration, &format!("/auth{}", error.pointer), error.message))?;
    let (context, telemetry) = start::<S>(options, configuration, "api")?;
    let operations = S::operations();
    let doorkeeping = doorkeeping::<S>(options, &context, &operations, issuers)?;
    let state = S::state(&context).await.map_err(ServiceError::State)?;
    let mut router = http::api_router(operations, state, doorkeeping.authenticator, Limits::default(), &process_of(&context));
    if let Some(issuance) = doorkeeping.issuance {
        router = router.layer(Extension(Arc::new(issuance)));
    }
    let listener = listen(options, port).await?;
    let server = ServerOptions { lame_duck: options.lame_duck(), ..ServerOptions::default() };
    http::serve(listener, router, &context.shutdown, server).await;
    stop(context, telemetry).await;
    Ok(())
}

/// Who judges credentials, and who makes them.
struct Doorkeeping {
    authenticator: Arc<dyn Authenticator>,
    issuance: Option<Issuance>,
}

fn doorkeeping<S: Service>(
    options: &ProcessOptions,
    context: &Context<S::Settings>,
    operations: &Operations<S::State>,
    issuers: TrustedIssuers,
) -> Result<Doorkeeping, ServiceError> {
    if !operations.need_credentials() {
        return Ok(Doorkeeping { authenticator: Arc::new(Nobody), issuance: None });
    }
    let static_token = Arc::new(StaticToken::open(options.credential_root().api_token())?);
    let trial_tokens = Arc::new(TrialTokens::new(Arc::clone(&static_token), &context.identity));
    let api_keys = if operations.issue_credentials() { Some(ApiKeys::new(context.database()?.clone())) } else { None };
    let issuance = api_keys.clone().map(|api_keys| Issuance::new(api_keys, Arc::clone(&trial_tokens), operations.scopes()));
    let authenticator = SlotAuthenticator::new(static_token, issuers, trial_tokens, api_keys, &context.metrics);
    Ok(Doorkeeping { authenticator: Arc::new(authenticator), issuance })
}

/// Works until the process is asked to stop.
pub(super) async fn worker<S: Service>(options: &ProcessOptions) -> Result<(), ServiceError> {
    if S::WORKER_METRICS_PORT.is_none() {
        return Err(ServiceError::NoSuchRole("worker"));
    }
    let configuration = load::<S>(options)?;
    let port = configuration
        .listen
        .worker_metrics_port
        .ok_or_else(|| missing(options, "/listen/workerMetricsPort", "write the port of the worker's metrics"))?;
    let (context, telemetry) = start::<S>(options, configuration, "worker")?;
    let listener = listen(options, port).await?;
    // health and metrics are served until the work has ended
    let work_is_over = Shutdown::new();
    let health = {
        let (router, work_is_over) = (http::worker_router(&process_of(&context)), work_is_over.clone());
        let server = ServerOptions { lame_duck: Duration::ZERO, drain_limit: Duration::from_secs(1), ..ServerOptions::default() };
        tokio::spawn(async move { http::serve(listener, router, &work_is_over, server).await })
    };
    let outcome = work::<S>(&context).await;
    work_is_over.request();
    if let Err(error) = health.await {
        tracing::warn!(%error, "the health server failed");
    }
    stop(context, telemetry).await;
    outcome
}

/// The worker's own work, with a limit on how long it takes to end.
async fn work<S: Service>(context: &Context<S::Settings>) -> Result<(), ServiceError> {
    let limit = ServerOptions::default().drain_limit;
    let overrun = async {
        context.shutdown.requested().await;
        tokio::select! {
            () = tokio::time::sleep(limit) => {}
            () = context.shutdown.forced() => {}
        }
    };
    tokio::select! {
        outcome = S::worker(context.clone()) => outcome.map_err(ServiceError::Worker),
        () = overrun => {
            tracing::warn!("the worker did not end in time; what it had under way is repeated by the next");
            Ok(())
        }
    }
}

/// Brings the schema to this release's version.
pub(super) async fn migrate<S: Service>(options: &ProcessOptions) -> Result<(), ServiceError> {
    let schema = S::schema().ok_or(ServiceError::NoSuchRole("database schema"))?;
    let configuration = load::<S>(options)?;
    let telemetry = Telemetry::start(&configuration.identity, "migrate", &options.log)?;
    let database =
        configuration.database.ok_or_else(|| missing(options, "/database", "the service needs a database: write how to reach it"))?;
    let outcome = migration::migrate(&database, &options.credential_root().database(), schema).await;
    telemetry.stop();
    Ok(outcome?)
}

fn load<S: Service>(options: &ProcessOptions) -> Result<ServiceConfiguration<S::Settings>, ServiceError> {
    Ok(configuration::load(&options.configuration)?)
}

fn missing(options: &ProcessOptions, pointer: &str, message: &str) -> ServiceError {
    configuration::invalid(&options.configuration, pointer, format!("it is missing: {message}")).into()
}

/// Sets up what `api` and `worker` share.
fn start<S: Service>(
    options: &ProcessOptions,
    configuration: ServiceConfiguration<S::Settings>,
    role: &'static str,
) -> Result<(Context<S::Settings>, Telemetry), ServiceError> {
    let ServiceConfiguration { identity, database, cache, settings, .. } = configuration;
    let telemetry = Telemetry::start(&identity, role, &options.log)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals().map_err(ServiceError::Runtime)?;
    let readiness = Readiness::new(shutdown.clone());
    let metrics = Metrics::new();
    let credentials = options.credential_root();

    let database = match (S::schema(), database) {
        (None, _) => None,
        (Some(_), None) => return Err(missing(options, "/database", "the service needs a database: write how to reach it")),
        (Some(_), Some(database)) => {
            let name = format!("{}/{role}", S::NAME);
            let database = Database::connect_lazily(&database, &credentials.database(), &name, &metrics)?;
            tokio::spawn(open_when_reached(database.clone(), readiness.gate("database")));
            Some(database)
        }
    };
    let cache = match (S::cache(), cache) {
        (None, _) => None,
        (Some(_), None) => return Err(missing(options, "/cache", "the service needs a cache: write how to reach it")),
        (Some(_), Some(cache)) => Some(Cache::connect_lazily(&cache, &credentials.cache(), &metrics)?),
    };
    let (identity, settings) = (Arc::new(identity), Arc::new(settings));
    Ok((Context { identity, settings, metrics, shutdown, readiness, credentials, database, cache }, telemetry))
}

/// Opens the gate when the database has answered for the first time.
async fn open_when_reached(database: Database, gate: Gate) {
    while let Err(error) = database.check().await {
        tracing::warn!(%error, "the database is not reached yet");
        tokio::time::sleep(DATABASE_RETRY).await;
    }
    gate.open();
}

async fn stop<S>(context: Context<S>, telemetry: Telemetry) {
    if let Some(database) = context.database {
        // a connection that does not come back is the server's to close
        let _ = tokio::time::timeout(Duration::from_secs(2), database.close()).await;
    }
    tracing::info!("stopped");
    telemetry.stop();
}

fn process_of<S>(context: &Context<S>) -> Process {
    Process { metrics: context.metrics.clone(), readiness: context.readiness.clone(), shutdown: context.shutdown.clone() }
}

async fn listen(options: &ProcessOptions, port: u16) -> Result<TcpListener, ServiceError> {
    let bind = async |address: IpAddr| TcpListener::bind(SocketAddr::new(address, port)).await;
    let listener = match options.listen_address {
        Some(address) => bind(address).await,
        // takes IPv4 too; some hosts have no IPv6 at all
        None => match bind(Ipv6Addr::UNSPECIFIED.into()).await {
            Ok(listener) => Ok(listener),
            Err(_) => bind(Ipv4Addr::UNSPECIFIED.into()).await,
        },
    };
    let listener = listener.map_err(|source| ServiceError::Listen { port, source })?;
    let address = listener.local_addr().map_err(|source| ServiceError::Listen { port, source })?;
    tracing::info!(%address, port = address.port(), "listening");
    Ok(listener)
}
