//! Apply: executes a plan. Tracks one after the other, each for itself; the waves of a track in order, until one fails; the
//! steps of a wave side by side. Every step may be repeated.

mod gate;
mod kubernetes;
mod postgres;
mod statements;

use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, stream};
use tenantry_plan::{DatabaseStep, Outcome, SlotIdentity, Step, Track, TrackName, TrackOutcome, Wave, reasons};

pub use gate::{Point, StepGate};
pub use kubernetes::Planned;

use crate::context::Context;
use crate::error::Failure;
use crate::metrics::Ended;
use crate::postgres::Server;
use crate::workers::aside;

/// Steps of one wave at the same time.
const STEPS: usize = 8;

/// For whom a plan is executed.
pub struct Target<'a> {
    /// The planned object itself.
    pub planned: Planned<'a>,
    /// A slot's identity in PostgreSQL and its server, where it has one.
    pub database: Option<(SlotIdentity, Arc<Server>)>,
}

/// Executes those tracks, each whatever became of the others.
pub async fn tracks(tracks: &[Track], target: &Target<'_>, context: &Context) -> Outcome {
    let mut outcome = Outcome::default();
    for track in tracks {
        let began = Instant::now();
        let result = execute(track, target, context).await;
        let ended = match &result {
            TrackOutcome::Failed { reason, .. } => {
                context.metrics.failed(target.planned.kind.kind, reason);
                Ended::Failed
            }
            TrackOutcome::Done { .. } => ended(track),
        };
        context.metrics.track_ended(target.planned.kind.kind, track.name, ended, began.elapsed());
        outcome.tracks.push((track.name, result));
    }
    outcome
}

/// How a track whose waves succeeded ended.
fn ended(track: &Track) -> Ended {
    if track.stall.is_some() {
        Ended::Stalled
    } else if !track.waves.is_empty() {
        Ended::Changed
    } else if track.wait.is_some() {
        Ended::Waiting
    } else {
        Ended::Settled
    }
}

async fn execute(track: &Track, target: &Target<'_>, context: &Context) -> TrackOutcome {
    let mut steps = 0;
    let mut left = track.waves.as_slice();
    while !left.is_empty() {
        let (stretch, after) = left.split_at(stretch(left));
        left = after;
        let done = match context.confinement.checked() {
            Ok(()) => execute_stretch(stretch, track.name, target, context).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(()) => steps += stretch.iter().map(|wave| wave.steps.len()).sum::<usize>(),
            Err(Failure { reason, message }) => {
                tracing::warn!(object = %target.planned, track = ?track.name, reason, message, "a track failed");
                return TrackOutcome::Failed { reason, message };
            }
        }
    }
    TrackOutcome::Done { steps }
}

/// How many of the next waves are executed in one go: those that are of the database alone, since its steps are executed one
/// after the other anyway, and each go costs a lock and a session in the slot's database; or one.
fn stretch(waves: &[Wave]) -> usize {
    let of_database = |wave: &&Wave| wave.steps.iter().all(|step| matches!(step, Step::Database(_)));
    waves.iter().take_while(of_database).count().max(1)
}

/// All steps are tried; the first failure counts. Of the database's those behind a failure are not.
async fn execute_stretch(waves: &[Wave], track: TrackName, target: &Target<'_>, context: &Context) -> Result<(), Failure> {
    let steps = || waves.iter().flat_map(|wave| &wave.steps);
    let database: Vec<&DatabaseStep> = steps()
        .filter_map(|step| match step {
            Step::Database(step) => Some(step),
            _ => None,
        })
        .collect();
    let others = steps().filter(|step| !matches!(step, Step::Database(_)));
    let others: Vec<_> = others
        .map(|step| context.gate.around(|| Point::of(step, track, &target.planned), kubernetes::execute(step, &target.planned, context)))
        .collect();
    let kubernetes = stream::iter(others).buffer_unordered(STEPS).collect::<Vec<Result<(), Failure>>>();
    // Steps on one server's one slot go over one connection, under one lock.
    let database = async {
        match (&target.database, database.is_empty()) {
            (_, true) => Ok(()),
            (Some((identity, server)), false) => {
                let site = postgres::Site { identity, server, track, planned: &target.planned };
                aside(postgres::execute(&database, &site, context)).await
            }
            (None, false) => {
                Err(Failure::new(reasons::POSTGRES_UNKNOWN, "the plan has steps for a PostgreSQL server, but the class names none"))
            }
        }
    };
    let (kubernetes, database) = futures::future::join(kubernetes, database).await;
    kubernetes.into_iter().chain([database]).collect()
}
