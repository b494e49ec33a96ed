//! What a plan and its execution come to.

use crate::{Outcome, Plan, Track, TrackName, TrackOutcome, reasons};

/// The state of an object, or of one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Ready,
    /// On the way, by itself.
    Reconciling { reason: &'static str, message: String },
    /// Not before somebody changes something.
    Stalled { reason: &'static str, message: String },
    /// Neither wrong nor on the way: it is somebody's turn.
    Idle { reason: &'static str, message: String },
}

impl Verdict {
    /// Of one track.
    pub(crate) fn of(track: &Track, outcome: Option<&TrackOutcome>) -> Self {
        if let Some(stall) = &track.stall {
            return Self::Stalled { reason: stall.reason, message: stall.message.clone() };
        }
        if let Some(TrackOutcome::Failed { reason, message }) = outcome {
            return Self::pending(reason, message);
        }
        match &track.wait {
            Some(wait) if wait.reason == reasons::AWAITING_PROMOTION => Self::Idle { reason: wait.reason, message: wait.message.clone() },
            Some(wait) => Self::pending(wait.reason, &wait.message),
            // Where a probe is wanted, the track waits for it.
            None if !track.waves.is_empty() && track.name != TrackName::Network => {
                Self::Reconciling { reason: reasons::RECONCILING, message: "changes were applied and take effect".to_owned() }
            }
            None => Self::Ready,
        }
    }

    /// Of what failed or is awaited: Stalled where it does not pass before somebody acts, though it is tried again all the same.
    fn pending(reason: &'static str, message: &str) -> Self {
        let message = message.to_owned();
        if reasons::is_lasting(reason) { Self::Stalled { reason, message } } else { Self::Reconciling { reason, message } }
    }

    /// Of all tracks: the gravest; of equals the first.
    pub(crate) fn overall<'v>(verdicts: impl Iterator<Item = &'v Self>) -> Self {
        verdicts.fold(Self::Ready, |gravest, verdict| if verdict.gravity() > gravest.gravity() { verdict.clone() } else { gravest })
    }

    fn gravity(&self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Idle { .. } => 1,
            Self::Reconciling { .. } => 2,
            Self::Stalled { .. } => 3,
        }
    }

    /// Reason and message; none when Ready.
    pub(crate) fn because(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Ready => None,
            Self::Reconciling { reason, message } | Self::Stalled { reason, message } | Self::Idle { reason, message } => {
                Some((reason, message))
            }
        }
    }
}

/// The verdicts of a plan's tracks, in their order.
pub(crate) fn verdicts<'p>(plan: &'p Plan, outcome: &Outcome) -> Vec<(&'p Track, Verdict)> {
    let tracks = plan.tracks.iter().enumerate();
    tracks.map(|(index, track)| (track, Verdict::of(track, outcome.tracks.get(index).map(|(_, outcome)| outcome)))).collect()
}
