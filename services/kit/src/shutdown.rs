//! How a process is asked to stop, and whether it should be sent requests. One [`Shutdown`] and one [`Readiness`] per process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The request to stop: *requested* by the first SIGTERM or SIGINT, *forced* by the second.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    requested: CancellationToken,
    forced: CancellationToken,
}

impl Shutdown {
    /// A shutdown that nobody has requested.
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns this process's SIGTERM and SIGINT into requests. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {},
                    _ = interrupt.recv() => {},
                }
                match shutdown.is_requested() {
                    false => tracing::info!("asked to stop"),
                    true => tracing::warn!("asked to stop again: stopping at once"),
                }
                shutdown.request();
            }
        });
        Ok(())
    }

    /// Asks the process to stop; a second time, to stop at once.
    pub fn request(&self) {
        if self.requested.is_cancelled() {
            self.forced.cancel();
        } else {
            self.requested.cancel();
        }
    }

    /// Waits until the process is asked to stop.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Whether the process was asked to stop.
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Waits until the process is asked to stop at once.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }

    /// The request as a token, for code that takes one.
    pub fn token(&self) -> &CancellationToken {
        &self.requested
    }
}

/// Whether the process should be sent requests: every gate has been opened, and nobody asked it to stop.
///
/// Gates are latched. A new pod with a wrong password never becomes ready, so that a roll-out stops at it; but a database
/// that goes away later does not take all replicas out of service at once: they answer 503 with a reason instead.
#[derive(Debug, Clone)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<String, bool>>>,
    shutdown: Shutdown,
}

impl Readiness {
    /// Readiness of a process that `shutdown` stops, without gates.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { gates: Arc::default(), shutdown }
    }

    /// Adds a closed gate: the process is not ready until it is opened.
    pub fn gate(&self, name: &str) -> Gate {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), false);
        Gate { readiness: self.clone(), name: name.to_owned() }
    }

    /// What keeps the process from being ready; empty when it is.
    pub fn blockers(&self) -> Vec<String> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blockers: Vec<String> = gates.iter().filter(|(_, open)| !**open).map(|(name, _)| format!("waiting for {name}")).collect();
        if self.shutdown.is_requested() {
            blockers.push("stopping".to_owned());
        }
        blockers
    }
}

/// Something that must have worked once before the process is ready.
#[derive(Debug)]
pub struct Gate {
    readiness: Readiness,
    name: String,
}

impl Gate {
    /// It has worked.
    pub fn open(self) {
        self.readiness.gates.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_gates_are_open_until_it_is_asked_to_stop() {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let gate = readiness.gate("database");
        assert_eq!(readiness.blockers(), ["waiting for database"]);
        gate.open();
        assert!(readiness.blockers().is_empty());
        shutdown.request();
        assert_eq!(readiness.blockers(), ["stopping"]);
    }

    #[tokio::test]
    async fn the_second_request_forces_the_stop() {
        let shutdown = Shutdown::new();
        shutdown.request();
        shutdown.requested().await;
        assert!(!shutdown.forced.is_cancelled());
        shutdown.request();
        shutdown.forced().await;
    }
}
