//! Whether the operator is alive (its reconciles end) and ready (its caches are filled): what `/livez` and `/readyz` say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::caches::Caches;
use crate::confinement::Confinement;

/// The reconciles that are under way.
#[derive(Debug)]
pub struct Health {
    stuck_after: Duration,
    next: AtomicU64,
    running: Mutex<HashMap<u64, (Instant, String)>>,
}

/// Marks a reconcile as under way until it is dropped.
#[derive(Debug)]
pub struct Running<'a> {
    health: &'a Health,
    id: u64,
}

impl Health {
    pub fn new(stuck_after: Duration) -> Self {
        Self { stuck_after, next: AtomicU64::new(0), running: Mutex::default() }
    }

    /// Notes that a reconcile has begun.
    pub fn begin(&self, what: String) -> Running<'_> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (Instant::now(), what));
        Running { health: self, id }
    }

    /// How many reconciles are under way, and how long the first of them has been.
    pub fn running(&self) -> (usize, Duration) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        (running.len(), running.values().map(|(since, _)| since.elapsed()).max().unwrap_or_default())
    }

    /// Reconciles that take too long, by what they reconcile.
    pub fn stuck(&self) -> Vec<String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .values()
            .filter(|(since, _)| since.elapsed() > self.stuck_after)
            .map(|(since, what)| format!("{what} for {} s", since.elapsed().as_secs()))
            .collect()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.health.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[derive(Clone)]
struct Probes {
    health: Arc<Health>,
    caches: Arc<Caches>,
    confinement: Arc<Confinement>,
}

/// Serves `/livez` and `/readyz` until `shutdown`. A standby replica is ready as soon as its caches are, and none is that does
/// not write because the admission policies are missing.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
    caches: Arc<Caches>,
    confinement: Arc<Confinement>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let probes = Probes { health, caches, confinement };
    let router = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(probes);
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving health");
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn livez(State(probes): State<Probes>) -> (StatusCode, String) {
    let stuck = probes.health.stuck();
    if stuck.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("reconciling is stuck: {}\n", stuck.join(", ")))
    }
}

async fn readyz(State(probes): State<Probes>) -> (StatusCode, String) {
    let waiting = probes.caches.not_synced();
    if let Some(fault) = probes.confinement.fault() {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n"))
    } else if waiting.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not synced: {}\n", waiting.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconcile_is_stuck_only_while_it_runs_for_too_long() {
        let health = Health::new(Duration::ZERO);
        assert!(health.stuck().is_empty());
        let running = health.begin("slot a-dev/dev".to_owned());
        assert_eq!(health.stuck().len(), 1);
        drop(running);
        assert!(health.stuck().is_empty());
        let patient = Health::new(Duration::from_secs(3600));
        let _running = patient.begin("slot a-dev/dev".to_owned());
        assert!(patient.stuck().is_empty());
    }
}
