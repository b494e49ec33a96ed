//! What each PostgreSQL server said last, for its gauges. Fed by observe.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of one server, as one class names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerState {
    /// Whether it answered when it was asked last.
    pub reachable: bool,
    /// Connections that its databases were promised, when it answered last.
    pub promised_connections: Option<u32>,
}

/// By class and server.
#[derive(Debug, Default)]
pub struct ServerStates(Mutex<BTreeMap<(String, String), ServerState>>);

impl ServerStates {
    pub fn answered(&self, class: &str, server: &str, promised_connections: u32) {
        let state = ServerState { reachable: true, promised_connections: Some(promised_connections) };
        self.lock().insert((class.to_owned(), server.to_owned()), state);
    }

    pub fn failed(&self, class: &str, server: &str) {
        self.lock().entry((class.to_owned(), server.to_owned())).or_default().reachable = false;
    }

    pub fn get(&self, class: &str, server: &str) -> Option<ServerState> {
        self.lock().get(&(class.to_owned(), server.to_owned())).copied()
    }

    /// Forgets servers that no class offers any more.
    pub fn keep(&self, is_offered: impl Fn(&str, &str) -> bool) {
        self.lock().retain(|(class, server), _| is_offered(class, server));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), ServerState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
