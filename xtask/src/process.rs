//! Running other programs: their output goes to a log, and a failure shows its end.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::files;

/// How many of a failed command's last lines an error shows.
const SHOWN_LINES: usize = 25;

/// Runs `command` with its output in the log at `log` (begun anew), calling `line` with each line; fails when it does.
pub fn run(command: &mut Command, log: &Path, mut line: impl FnMut(&str)) -> Result<()> {
    files::create_parent(log)?;
    let mut log_file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    writeln!(log_file, "$ {}", shown(command))?;
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    command.stdout(Stdio::null()).stderr(Stdio::null()); // drops our end of the pipe
    let mut last = VecDeque::with_capacity(SHOWN_LINES);
    for text in BufReader::new(reader).split(b'\n') {
        let text = text?;
        let text = String::from_utf8_lossy(&text).into_owned();
        writeln!(log_file, "{text}")?;
        line(&text);
        if last.len() == SHOWN_LINES {
            last.pop_front();
        }
        last.push_back(text);
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let mut message = format!("{} ended with {status}", shown(command));
    for text in &last {
        let _ = write!(message, "\n    {text}");
    }
    let _ = write!(message, "\n  whole log: {}", log.display());
    bail!(message)
}

/// Runs `command` and gives its stdout; stderr is in the error when it fails.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    output_with_input(command, None)
}

/// As [`output`], with `input` on stdin.
pub fn output_with_input(command: &mut Command, input: Option<&[u8]>) -> Result<Vec<u8>> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    let pipe = child.stdin.take();
    let output = std::thread::scope(|scope| {
        if let (Some(mut pipe), Some(input)) = (pipe, input) {
            scope.spawn(move || {
                // A program that ends without reading all of it says why by its own exit status.
                let _ = pipe.write_all(input);
            });
        }
        child.wait_with_output()
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(anyhow!("{} ended with {}{}", shown(command), output.status, last_lines(&text, SHOWN_LINES)))
}

/// As [`output`], as text without surrounding white space.
pub fn text(command: &mut Command) -> Result<String> {
    let bytes = output(command)?;
    Ok(String::from_utf8(bytes).with_context(|| format!("{} printed something else than UTF-8", shown(command)))?.trim().to_owned())
}

/// Runs `command` on this process' own terminal.
pub fn attached(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("cannot start {}", shown(command)))
}

/// As [`attached`], failing when the command does.
pub fn attached_checked(command: &mut Command) -> Result<()> {
    let status = attached(command)?;
    if status.success() {
        return Ok(());
    }
    bail!("{} ended with {status}", shown(command))
}

/// Becomes `command`; returns only when that fails.
pub fn become_command(command: &mut Command) -> anyhow::Error {
    let error = command.exec();
    anyhow::Error::from(error).context(format!("cannot start {}", shown(command)))
}

/// Where a program is on the PATH, the administrator's directories included.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/go/bin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// The last lines of `text`, each on an indented line of its own.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let mut shown = String::new();
    for line in &lines[lines.len().saturating_sub(count)..] {
        let _ = write!(shown, "\n    {line}");
    }
    shown
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args().map(OsStr::to_string_lossy) {
        text.push(' ');
        if argument.len() > 160 {
            let _ = write!(text, "{}...", argument.chars().take(157).collect::<String>());
        } else {
            text.push_str(&argument);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_last_lines_and_where_the_log_is() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}.log", std::process::id()));
        let mut lines = 0;
        let error = run(Command::new("sh").args(["-c", "seq 100; echo oops >&2; exit 3"]), &log, |_| lines += 1).unwrap_err().to_string();
        assert_eq!(lines, 101);
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("    oops"), "{error}");
        assert!(!error.contains("    50\n"), "{error}");
        assert!(error.contains(&log.display().to_string()), "{error}");
        assert!(std::fs::read_to_string(&log).unwrap().contains("\n50\n"));
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn input_reaches_the_program() {
        let output = output_with_input(&mut Command::new("cat"), Some(b"hello")).unwrap();
        assert_eq!(output, b"hello");
    }
}
