//! Whether a server still answers. One that hangs instead of refusing is noticed while the first questions to it are still
//! open, so that not every slot of it costs a worker the whole time limit.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long no question is answered until nobody else asks. No question is so large that it takes that long.
const SILENCE: Duration = Duration::from_secs(3);

/// The open questions of one server.
#[derive(Debug, Default)]
pub struct Pulse {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// When the last answer came, or the first of the open questions was asked.
    last: Option<Instant>,
}

/// A question, until it is answered or given up.
#[derive(Debug)]
pub struct Question<'a>(&'a Pulse);

impl Pulse {
    /// Notes a question that is answered soon.
    pub fn ask(&self) -> Question<'_> {
        let mut state = self.lock();
        if state.open == 0 {
            state.last = Some(Instant::now());
        }
        state.open += 1;
        Question(self)
    }

    /// For how long the server has been silent, if that is too long.
    pub fn silent_for(&self) -> Option<Duration> {
        let state = self.lock();
        let silent = state.last.filter(|_| state.open > 0)?.elapsed();
        (silent > SILENCE).then_some(silent)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question<'_> {
    /// The server said something, be it a refusal.
    pub fn answered(self) {
        self.0.lock().last = Some(Instant::now());
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open = state.open.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_last(open: usize, ago: Duration) -> Pulse {
        Pulse { state: Mutex::new(State { open, last: Instant::now().checked_sub(ago) }) }
    }

    #[test]
    fn a_server_is_silent_only_while_a_question_is_open() {
        assert!(with_last(1, SILENCE * 2).silent_for().is_some());
        assert!(with_last(0, SILENCE * 2).silent_for().is_none());
        assert!(with_last(1, SILENCE / 2).silent_for().is_none());
    }

    #[test]
    fn an_answer_to_any_question_ends_the_silence() {
        let pulse = with_last(1, SILENCE * 2);
        pulse.ask().answered();
        assert!(pulse.silent_for().is_none());
        assert_eq!(pulse.lock().open, 1);
    }
}
