//! What a person sees while a command works: moving lines on a terminal, plain ones elsewhere. Always on stderr, so that
//! stdout carries results alone.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a stage that is still at work says so where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(20);

/// The display of one command.
pub struct Progress {
    bars: Option<MultiProgress>,
    started: Instant,
}

impl Progress {
    /// Prints the first line at once.
    pub fn start(first_line: &str) -> Self {
        eprintln!("{first_line}");
        Self { bars: stderr().is_terminal().then(MultiProgress::new), started: Instant::now() }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Begins a stage; several may be at work at once.
    pub fn stage(&self, name: &str) -> Stage<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("[{:>7}] {name} ...", seconds(self.elapsed()));
        }
        Stage { progress: self, name: name.to_owned(), bar, began: Instant::now(), spoke: Mutex::new(Instant::now()), finished: false }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(text);
            }
            None => eprintln!("[{:>7}] {text}", seconds(self.elapsed())),
        }
    }
}

/// One stage of a command.
pub struct Stage<'a> {
    progress: &'a Progress,
    name: String,
    bar: Option<ProgressBar>,
    began: Instant,
    spoke: Mutex<Instant>,
    finished: bool,
}

impl Stage<'_> {
    /// What the stage is doing now. Without a terminal only now and then a line.
    pub fn detail(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => {
                let Ok(mut spoke) = self.spoke.lock() else {
                    return;
                };
                if spoke.elapsed() >= PLAIN_INTERVAL {
                    *spoke = Instant::now();
                    self.progress.line(&format!("{}: {text}", self.name));
                }
            }
        }
    }

    /// A line of this stage that stays.
    pub fn line(&self, text: &str) {
        self.progress.line(&format!("{}: {text}", self.name));
    }

    /// Ends the stage well.
    pub fn done(mut self, result: &str) {
        self.close(&format!("done, {result}"));
    }

    fn close(&mut self, result: &str) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.progress.line(&format!("{}: {result} ({})", self.name, seconds(self.began.elapsed())));
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.close("FAILED");
    }
}

/// A duration for people: `4.2 s`, `3 min 07 s`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 { format!("{:.1} s", duration.as_secs_f64()) } else { format!("{} min {:02} s", whole / 60, whole % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(4_240)), "4.2 s");
        assert_eq!(seconds(Duration::from_secs(187)), "3 min 07 s");
    }
}
