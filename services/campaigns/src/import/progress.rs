//! How far the import is: a bar on a terminal, else a line now and then.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::state::State;

const INTERVAL: Duration = Duration::from_secs(10);
const STYLE: &str = "{bar:30} {percent:>3} % {bytes_per_sec}, {eta} left: {msg}";

#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    bytes: u64,
    last_line: Instant,
}

impl Progress {
    pub(super) fn new(bytes: u64) -> Self {
        let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
        // on standard error, and hidden where that is no terminal
        Self { bar: ProgressBar::new(bytes).with_style(style), bytes, last_line: Instant::now() }
    }

    pub(super) fn resume(&self, state: &State) {
        self.bar.set_position(state.place.offset);
        self.bar.reset_eta();
        self.say(&format!("going on after line {}", state.place.line));
    }

    pub(super) fn show(&mut self, state: &State) {
        let message = format!("line {}, {} refused", state.place.line, state.refused);
        self.bar.set_position(state.place.offset);
        if self.bar.is_hidden() && self.last_line.elapsed() >= INTERVAL {
            self.last_line = Instant::now();
            let percent = (state.place.offset * 100).checked_div(self.bytes).unwrap_or(100);
            eprintln!("campaigns import: {percent} %, {message}");
        }
        self.bar.set_message(message);
    }

    /// Tells of something out of the ordinary.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("campaigns import: {text}"));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
