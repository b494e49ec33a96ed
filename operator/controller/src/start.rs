//! The life of the process: caches, probes and metrics at once; controllers when the lease is held and the caches are filled;
//! on SIGTERM what was begun is finished and the lease given back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Config, ResourceExt};
use tenantry_plan::{OperatorFacts, ProbeOffer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::apply::StepGate;
use crate::backoff::Backoff;
use crate::caches::{Caches, Triggers};
use crate::canary::{self, Attempts};
use crate::cli::RunOptions;
use crate::confinement::Confinement;
use crate::context::{Context, REQUEST_TIMEOUT};
use crate::controllers;
use crate::events::Events;
use crate::health::{self, Health};
use crate::leadership::{self, Candidate, End};
use crate::metrics::{self, Fleet, Metrics};
use crate::observe::{DatabaseFactsCache, MasterKeys, Secrets, TurnTimes};
use crate::postgres::Servers;
use crate::report::Unsaid;

/// How long running reconciles are given to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const SYNC_POLL: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_secs(2);

/// Runs until SIGTERM.
///
/// # Errors
/// When a part cannot start or ends by itself.
pub async fn run(options: RunOptions) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let identity = options.identity.clone().unwrap_or_else(|| format!("tenantry-operator-{}", uuid::Uuid::new_v4()));
    let config = Config::infer().await.context("finding the cluster: neither a kubeconfig nor a pod's service account")?;
    let watch_client = Client::try_from(config.clone()).context("making a client")?;
    let client = request_client(&config)?;

    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(options.stuck_after));
    let confinement = Arc::new(Confinement::new(client.clone(), &options.namespace, &options.service_account, Arc::clone(&metrics)));
    let caches = Caches::new();
    let triggers = Arc::new(Triggers::default());
    let mut watches = caches.start(&watch_client, &triggers, &metrics);

    let served = CancellationToken::new();
    let health_server =
        health::serve(options.health_address, Arc::clone(&health), Arc::clone(&caches), Arc::clone(&confinement), served.clone());
    let health_server = tokio::spawn(health_server);
    let canary = tokio::spawn(canary::serve(options.canary_address, served.clone()));
    let fleet = Fleet { caches: Arc::clone(&caches), triggers: Arc::clone(&triggers), health: Arc::clone(&health) };
    let metrics_server = tokio::spawn(metrics::serve(options.metrics_address, Arc::clone(&metrics), fleet, served.clone()));

    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        established = confinement.establish() => established.context("not started")?,
    }
    let elected = CancellationToken::new();
    let give_back = CancellationToken::new();
    let candidate = Candidate {
        namespace: options.namespace.clone(),
        lease_name: options.lease_name.clone(),
        identity: identity.clone(),
        lease_duration: options.lease_duration,
    };
    let competing = {
        let (config, elected, give_back) = (config.clone(), elected.clone(), give_back.clone());
        tokio::spawn(async move { compete_or_die(&config, &candidate, &elected, &give_back).await })
    };

    let canary_address = options.canary_address;
    let policies = {
        let (caches, triggers) = (Arc::clone(&caches), Arc::clone(&triggers));
        let confinement = Arc::clone(&confinement);
        async move { confinement.keep(options.policy_interval, || triggers.resume(&caches)).await }
    };
    let parts = Parts { caches, confinement, triggers, metrics, health };
    let work = lead(options, identity, client, parts, elected, stop.clone());
    tokio::select! {
        result = work => result?,
        () = policies => bail!("looking for the admission policies ended"),
        died = watches.join_next() => bail!("the watch of {} ended", died.and_then(Result::ok).unwrap_or_default()),
        served = canary => bail!("listening at {canary_address} ended: {:?}", served.map(|served| served.err())),
        served = health_server => bail!("serving health ended: {:?}", served.map(|served| served.err())),
        served = metrics_server => bail!("serving metrics ended: {:?}", served.map(|served| served.err())),
    }
    give_back.cancel();
    let _ = timeout(Duration::from_secs(5), competing).await;
    served.cancel();
    tracing::info!("stopped");
    Ok(())
}

struct Parts {
    caches: Arc<Caches>,
    confinement: Arc<Confinement>,
    triggers: Arc<Triggers>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// Waits for leadership and full caches, then controls until `stop`.
async fn lead(
    options: RunOptions,
    identity: String,
    client: Client,
    parts: Parts,
    elected: CancellationToken,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let ready = async {
        elected.cancelled().await;
        while !parts.caches.not_synced().is_empty() {
            tokio::time::sleep(SYNC_POLL).await;
        }
        cluster_uid(&client).await
    };
    let cluster_uid = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        uid = ready => uid?,
    };
    parts.metrics.leads();
    let canary = SocketAddr::new(options.pod_ip, options.canary_address.port());
    let probe = ProbeOffer { image: options.probe_image.clone(), canary: canary.to_string() };
    let context = Arc::new(Context {
        operator: OperatorFacts {
            cluster_uid,
            namespace: options.namespace.clone(),
            service_account: options.service_account.clone(),
            probe,
        },
        attempts: Attempts::new(canary, Arc::clone(&parts.caches), Arc::clone(&parts.triggers)),
        secrets: Secrets::new(options.secret_interval.mul_f64(0.8)),
        master_keys: MasterKeys::new(client.clone(), &options.namespace),
        servers: Servers::new(client.clone(), &options.namespace, options.postgres_connections),
        database_facts: DatabaseFactsCache::default(),
        backoff: Backoff::default(),
        events: Events::new(client.clone(), &identity, Arc::clone(&parts.metrics)),
        unsaid: Unsaid::default(),
        turn_times: TurnTimes::default(),
        health: parts.health,
        metrics: parts.metrics,
        gate: StepGate::new(options.step_gate.clone()),
        secret_interval: options.secret_interval,
        resync_interval: options.resync_interval,
        caches: parts.caches,
        confinement: parts.confinement,
        client,
    });
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = context.master_keys.create_at_first_installation(&context.caches) => {}
    }
    parts.triggers.lead(&context.caches);
    tracing::info!("controllers started");
    let controllers = controllers::run(parts.triggers, context, options.workers, stop.clone());
    tokio::pin!(controllers);
    tokio::select! {
        () = &mut controllers => {}
        () = stop.cancelled() => {
            if timeout(STOP_DEADLINE, controllers).await.is_err() {
                tracing::warn!("reconciles did not end in time and are given up");
            }
        }
    }
    if stop.is_cancelled() { Ok(()) } else { Err(anyhow!("the controllers ended")) }
}

/// Ends the process when leadership is lost: at once, so that nothing of a former leader goes on.
async fn compete_or_die(config: &Config, candidate: &Candidate, elected: &CancellationToken, give_back: &CancellationToken) {
    match leadership::compete(config, candidate, elected, give_back).await {
        Ok(End::Released) => {}
        Ok(End::Lost) => {
            tracing::error!("the lease is lost: another replica may lead now");
            std::process::exit(1);
        }
        Err(error) => {
            tracing::error!(%error, "leader election is not possible");
            std::process::exit(1);
        }
    }
}

/// Requests have a time limit; watches use another client, whose connections may be silent for long.
fn request_client(config: &Config) -> anyhow::Result<Client> {
    let mut config = config.clone();
    config.read_timeout = Some(REQUEST_TIMEOUT);
    config.reset_reader_on_write = true;
    Client::try_from(config).context("making a client")
}

/// The UID of the namespace `kube-system`, which stands for the cluster.
async fn cluster_uid(client: &Client) -> anyhow::Result<String> {
    let api: Api<Namespace> = Api::all(client.clone());
    loop {
        match api.get("kube-system").await {
            Ok(namespace) => return namespace.uid().context("the namespace kube-system has no UID"),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => {
                bail!("reading the namespace kube-system, by whose UID the cluster is known: {}", status.message)
            }
            Err(error) => tracing::warn!(%error, "the API server does not answer yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        token.cancel();
    });
    Ok(stop)
}
