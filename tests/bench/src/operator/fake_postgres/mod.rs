//! A FAKE PostgreSQL server: it speaks the wire protocol, so that the operator under measurement is the one that ships, and
//! keeps in memory what the operator's statements would have made. It costs next to nothing, which is the point: figures of
//! the operator and the API server do not depend on a disk. What PostgreSQL itself costs is measured on a real one.

mod state;
mod wire;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::net::TcpListener;

use state::State;

/// How the fake behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers.
    Works,
    /// Has promised all its connections to others.
    Full,
    /// Accepts connections, and never says a word.
    Hangs,
}

/// A running fake. Clones are the same one.
#[derive(Debug, Clone)]
pub struct FakePostgres {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl FakePostgres {
    /// Listens on a free port of loopback, until the runtime ends.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(behaviour: Behaviour) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let fake = Self { port: listener.local_addr()?.port(), state: Arc::default() };
        fake.lock().full = behaviour == Behaviour::Full;
        let serving = fake.clone();
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                if behaviour == Behaviour::Hangs {
                    silent.push(stream);
                    continue;
                }
                let fake = serving.clone();
                tokio::spawn(async move {
                    // A client that goes in mid-sentence is no trouble.
                    let _ = wire::serve(stream, &fake).await;
                });
            }
        });
        Ok(fake)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a migration does: records a version in every schema of a slot's database.
    pub fn migrate(&self, group_uid: &str, slot: &str, version: u32) {
        self.lock().migrate(group_uid, slot, version);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
