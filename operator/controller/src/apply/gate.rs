//! The step gate, for tests alone: with it the operator says of each write what it is about to do and what it has done, and
//! waits each time until it is let go on, so that a test can kill or stop it at exactly that moment. Stands around every
//! step of apply and around the writes of report; without the option `--step-gate` it is nothing.
//!
//! One announcement is one connection to the test's socket: a line of JSON goes out, one byte comes back.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tenantry_plan::{DatabaseStep, Step, TrackName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Planned, statements};
use crate::error::Failure;

/// Where the operator stops, if anywhere.
#[derive(Debug, Default)]
pub struct StepGate {
    socket: Option<PathBuf>,
}

/// What is done at a gate.
#[derive(Debug, Serialize)]
pub struct Point {
    /// The planned object, as `Slot acme-dev/dev`.
    pub planned: String,
    /// The track, or `Report`.
    pub track: String,
    /// The kind of step, as `apply Deployment` or `create database`.
    pub step: String,
    /// What it is done to: namespace and name, or the names in PostgreSQL.
    pub object: String,
}

/// When, relative to the step.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Before,
    /// Between two statements of a step that is not one transaction.
    Within,
    After,
}

#[derive(Serialize)]
struct Announcement<'a> {
    #[serde(flatten)]
    point: &'a Point,
    phase: Phase,
}

impl StepGate {
    pub fn new(socket: Option<PathBuf>) -> Self {
        if let Some(socket) = &socket {
            tracing::warn!(socket = %socket.display(), "every step waits at a gate: this is for tests");
        }
        Self { socket }
    }

    /// Does `work` between two stops. What failed was not done: it is announced no more.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn around<T>(&self, point: impl FnOnce() -> Point, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let Some(socket) = &self.socket else { return work.await };
        let point = point();
        pass(socket, &point, Phase::Before).await;
        let done = work.await?;
        pass(socket, &point, Phase::After).await;
        Ok(done)
    }

    /// Stops in the middle of a step.
    pub async fn within(&self, point: impl FnOnce() -> Point) {
        if let Some(socket) = &self.socket {
            pass(socket, &point(), Phase::Within).await;
        }
    }
}

impl Point {
    pub fn of(step: &Step, track: TrackName, planned: &Planned<'_>) -> Self {
        let path = |namespace: Option<&str>, name: &str| namespace.map_or_else(|| name.to_owned(), |found| format!("{found}/{name}"));
        let (step, object) = match step {
            Step::Apply(manifest) => (format!("apply {}", manifest.kind.kind), path(manifest.namespace(), manifest.name())),
            Step::ApplyAs(manager, manifest) => {
                (format!("apply {} as {manager}", manifest.kind.kind), path(manifest.namespace(), manifest.name()))
            }
            Step::Delete(object) => (format!("delete {}", object.kind), path(object.namespace.as_deref(), &object.name)),
            Step::AddFinalizer(finalizer) => ("add finalizer".to_owned(), (*finalizer).to_owned()),
            Step::RemoveFinalizer(finalizer) => ("remove finalizer".to_owned(), (*finalizer).to_owned()),
            Step::Database(step) => return Self::of_database(step, track, planned),
        };
        Self { planned: planned.to_string(), track: format!("{track:?}"), step, object }
    }

    pub fn of_database(step: &DatabaseStep, track: TrackName, planned: &Planned<'_>) -> Self {
        Self { planned: planned.to_string(), track: format!("{track:?}"), step: statements::name(step).to_owned(), object: subject(step) }
    }

    /// The writing of a status.
    pub fn status(planned: String) -> Self {
        Self { object: planned.clone(), planned, track: "Report".to_owned(), step: "write status".to_owned() }
    }
}

/// The names of what a step in PostgreSQL is about, whatever step it is.
fn subject(step: &DatabaseStep) -> String {
    let value = serde_json::to_value(step).unwrap_or_default();
    let fields = value.as_object().and_then(|variant| variant.values().next()).cloned().unwrap_or_default();
    let names = ["database", "name", "schema", "role", "login", "owner"];
    names.iter().filter_map(|name| fields[name].as_str()).collect::<Vec<_>>().join(" ")
}

/// The end of whoever holds the gate is the operator's: nothing passes unseen.
async fn pass(socket: &Path, point: &Point, phase: Phase) {
    if let Err(error) = ask(socket, &Announcement { point, phase }).await {
        tracing::error!(%error, socket = %socket.display(), "nobody holds the step gate");
        std::process::exit(1);
    }
}

async fn ask(socket: &Path, announcement: &Announcement<'_>) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(announcement)?;
    line.push(b'\n');
    let mut connection = UnixStream::connect(socket).await?;
    connection.write_all(&line).await?;
    connection.read_u8().await?;
    Ok(())
}
