//! Leader election by a Lease. Whoever loses it ends the process: nothing that a former leader still does may count.

use std::time::{Duration, Instant};

use kube::{Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError, LeaseParams};
use tokio_util::sync::CancellationToken;

/// How long one request about the Lease may take: far below the lease's duration, so that a hanging API server is noticed
/// in time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);

/// What a replica needs to compete.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub namespace: String,
    pub lease_name: String,
    pub identity: String,
    pub lease_duration: Duration,
}

/// How leadership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Given back because the process was asked to stop.
    Released,
    /// Lost to another, or not renewed in time. The process must end at once.
    Lost,
}

/// Competes for the lease; cancels `elected` once it is held, and returns when it is lost, or given back after `stop`.
///
/// # Errors
/// When the client cannot be made or the Lease can never be read.
pub async fn compete(
    config: &Config,
    candidate: &Candidate,
    elected: &CancellationToken,
    stop: &CancellationToken,
) -> Result<End, LeadershipError> {
    let manager = manager(config, candidate).await?;
    let grace = grace(candidate.lease_duration);
    let mut failing_since: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let change = tokio::select! {
            () = stop.cancelled() => None,
            change = manager.changed() => Some(change),
        };
        match change {
            None => {
                if let Err(error) = manager.release().await {
                    tracing::warn!(%error, "the lease could not be given back; it expires by itself");
                }
                return Ok(End::Released);
            }
            Some(Ok(true)) => {
                failing_since = None;
                tracing::info!(identity = candidate.identity, "elected as leader");
                elected.cancel();
            }
            Some(Ok(false)) => return Ok(End::Lost),
            Some(Err(error)) => {
                tracing::warn!(%error, "the lease could not be read or renewed");
                // `changed` sleeps after a renewal: if it took that long, the failing begins now.
                if began.elapsed() > renewal_pause(candidate.lease_duration) {
                    failing_since = None;
                }
                let since = *failing_since.get_or_insert_with(|| began.max(Instant::now() - REQUEST_TIMEOUT));
                // It begins to renew `grace` before the lease ends: after that much failing the lease may be another's.
                if elected.is_cancelled() && since.elapsed() + RETRY + REQUEST_TIMEOUT >= grace {
                    return Ok(End::Lost);
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn grace(lease_duration: Duration) -> Duration {
    Duration::from_secs((lease_duration.as_secs() / 2).max(1))
}

/// How long `changed` sleeps at least after a renewal.
fn renewal_pause(lease_duration: Duration) -> Duration {
    lease_duration.saturating_sub(grace(lease_duration)).mul_f64(0.75)
}

async fn manager(config: &Config, candidate: &Candidate) -> Result<LeaseManager, LeadershipError> {
    let mut config = config.clone();
    config.connect_timeout = Some(REQUEST_TIMEOUT);
    config.read_timeout = Some(REQUEST_TIMEOUT);
    config.write_timeout = Some(REQUEST_TIMEOUT);
    config.reset_reader_on_write = true;
    let client = Client::try_from(config).map_err(LeadershipError::Client)?;
    let duration = candidate.lease_duration.as_secs().max(2);
    let parameters = LeaseParams::new(&candidate.identity, duration, grace(candidate.lease_duration).as_secs());
    loop {
        let built = LeaseManagerBuilder::new(client.clone(), &candidate.lease_name)
            .with_namespace(&candidate.namespace)
            .with_parameters(parameters.clone())
            .build()
            .await;
        match built {
            Ok(manager) => return Ok(manager),
            Err(error) if is_refused(&error) => return Err(LeadershipError::Lease(error)),
            Err(error) => {
                tracing::warn!(%error, "the lease cannot be reached yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Whether asking again is of no use until somebody changes the cluster.
fn is_refused(error: &LeaseManagerError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(kube::Error::Api(status)) = current.downcast_ref::<kube::Error>() {
            return matches!(status.code, 401 | 403 | 404);
        }
        source = current.source();
    }
    false
}

/// Why a replica cannot compete.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipError {
    #[error("cannot make a client for the Lease: {0}")]
    Client(#[source] kube::Error),
    #[error("cannot use the Lease (does the operator's namespace exist, and its Role there?): {0}")]
    Lease(#[source] LeaseManagerError),
}
