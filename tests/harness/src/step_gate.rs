//! The other end of the operator's step gate: sees every step before and after it is done, and decides what becomes of the
//! operator then. One gate serves one operator process: what a killed one has announced dies with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// A socket at which an operator announces its steps.
#[derive(Debug)]
pub struct StepGate {
    path: PathBuf,
    held: UnboundedReceiver<Held>,
    listening: JoinHandle<()>,
}

/// One announcement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Moment {
    /// The planned object, as `Slot acme-dev/dev`.
    pub planned: String,
    /// The track, or `Report`.
    pub track: String,
    /// The kind of step, as `apply Deployment`.
    pub step: String,
    /// What it is done to.
    pub object: String,
    /// `before`, `within` or `after`.
    pub phase: String,
}

/// A step that waits. Dropped, it ends the operator.
#[derive(Debug)]
pub struct Held {
    /// Which.
    pub moment: Moment,
    connection: BufReader<UnixStream>,
}

impl StepGate {
    /// Opens a gate with a socket of its own in `directory`.
    ///
    /// # Errors
    /// When there can be no socket.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(format!("gate-{}", uuid::Uuid::new_v4().simple()));
        let listener = UnixListener::bind(&path).with_context(|| format!("a socket at {}", path.display()))?;
        let (sender, held) = unbounded_channel();
        let listening = tokio::spawn(listen(listener, sender));
        Ok(Self { path, held, listening })
    }

    /// Path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next announcement. May be given up at any time: none is lost.
    ///
    /// # Errors
    /// When the socket is gone.
    pub async fn next(&mut self) -> Result<Held> {
        self.held.recv().await.context("the gate's socket is gone")
    }
}

async fn listen(listener: UnixListener, sender: UnboundedSender<Held>) {
    while let Ok((connection, _)) = listener.accept().await {
        let mut connection = BufReader::new(connection);
        let mut line = String::new();
        // An operator that is killed while it announces is announced no more.
        if connection.read_line(&mut line).await.is_ok()
            && let Ok(moment) = serde_json::from_str(&line)
            && sender.send(Held { moment, connection }).is_err()
        {
            return;
        }
    }
}

impl Drop for StepGate {
    fn drop(&mut self) {
        self.listening.abort();
        // Its directory goes with the control plane.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Held {
    /// Lets the operator go on.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn go(mut self) -> Result<()> {
        self.connection.get_mut().write_all(b".").await.context("the operator has ended")
    }
}
