//! What became of a plan's execution; the input of the report.

use crate::TrackName;

/// Per track, in the plan's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Each track with what became of it.
    pub tracks: Vec<(TrackName, TrackOutcome)>,
}

/// What became of one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackOutcome {
    /// All waves were executed, with so many steps.
    Done {
        /// Number of steps executed.
        steps: usize,
    },
    /// A step failed; it will be tried again.
    Failed {
        /// CamelCase constant, such as `ApplyFailed`.
        reason: &'static str,
        /// What failed, on what, and what to do; without any secret.
        message: String,
    },
}
