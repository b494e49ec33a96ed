//! Writes log lines to standard error: warnings and errors at once, what is less than that within [`WAITS`]. Under load many lines are one write, where a
//! write for each would cost a request more than it takes to answer it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The longest that a line waits.
const WAITS: Duration = Duration::from_millis(20);
/// The most bytes that wait: whoever comes beyond writes them.
const MOST: usize = 64 * 1024;

/// Where lines go. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    shared: Arc<Shared>,
    /// Whether somebody writes what waits.
    gathers: bool,
}

#[derive(Debug)]
struct Shared {
    /// Writes lines where they are to go.
    write: fn(&[u8]),
    waiting: Mutex<Vec<u8>>,
    /// Tells the thread that writes that something waits.
    begins: Condvar,
}

impl LogWriter {
    /// Starts the thread that writes what waits. If there can be none, each line is written at once.
    pub(super) fn start() -> Self {
        Self::writing(to_standard_error)
    }

    fn writing(write: fn(&[u8])) -> Self {
        let shared = Arc::new(Shared { write, waiting: Mutex::default(), begins: Condvar::default() });
        let writes = {
            let shared = Arc::clone(&shared);
            move || shared.write_what_waits()
        };
        let thread = thread::Builder::new().name("log".to_owned()).spawn(writes);
        Self { shared, gathers: thread.is_ok() }
    }

    fn line(&self, is_urgent: bool) -> Line<'_> {
        Line { shared: &self.shared, is_urgent: is_urgent || !self.gathers }
    }

    /// Has what waits be written when this is dropped, by whichever way a process ends.
    pub(super) fn last_lines(&self) -> LastLines {
        LastLines(self.clone())
    }
}

/// Writes what waits when it is dropped.
#[derive(Debug)]
pub(super) struct LastLines(LogWriter);

impl Drop for LastLines {
    fn drop(&mut self) {
        self.0.shared.flush();
    }
}

impl Shared {
    /// For ever.
    fn write_what_waits(&self) {
        loop {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.begins.wait_while(waiting, |waiting| waiting.is_empty()).unwrap_or_else(PoisonError::into_inner));
            thread::sleep(WAITS);
            self.flush();
        }
    }

    fn flush(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            return;
        }
        // Written with the lock held: lines stay in their order, and who logs faster than can be written waits.
        (self.write)(&waiting);
        waiting.clear();
        waiting.shrink_to(MOST);
    }
}

fn to_standard_error(lines: &[u8]) {
    // There is nobody to tell that it is gone.
    let _ = io::stderr().lock().write_all(lines);
}

/// Takes one line.
pub(super) struct Line<'a> {
    shared: &'a Shared,
    is_urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = waiting.is_empty();
        waiting.extend_from_slice(bytes);
        let is_due = self.is_urgent || waiting.len() >= MOST;
        drop(waiting);
        if is_due {
            self.shared.flush();
        } else if is_first {
            self.shared.begins.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.line(true)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        self.line(*metadata.level() <= Level::WARN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(writer: &LogWriter) -> usize {
        writer.shared.waiting.lock().unwrap().len()
    }

    #[test]
    fn lines_wait_for_company_up_to_a_size_and_an_urgent_one_takes_all_with_it() {
        // Without the thread, so that nothing else writes.
        let shared = Shared { write: |_| {}, waiting: Mutex::default(), begins: Condvar::default() };
        let writer = LogWriter { shared: Arc::new(shared), gathers: true };
        let line = |is_urgent, text: &str| writer.line(is_urgent).write_all(text.as_bytes()).unwrap();
        line(false, "one\n");
        line(false, "two\n");
        assert_eq!(waiting(&writer), 8);
        line(true, "three\n");
        assert_eq!(waiting(&writer), 0);
        line(false, &" ".repeat(MOST - 1));
        assert_eq!(waiting(&writer), MOST - 1);
        line(false, "\n");
        assert_eq!(waiting(&writer), 0);
        line(false, "last\n");
        drop(writer.last_lines());
        assert_eq!(waiting(&writer), 0);
    }

    #[test]
    fn what_waits_is_written_soon() {
        let writer = LogWriter::writing(|_| {});
        writer.line(false).write_all(b"soon\n").unwrap();
        while waiting(&writer) > 0 {
            thread::yield_now();
        }
    }
}
