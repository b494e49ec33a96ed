//! A program under test. It is killed when this is dropped or the test process ends, however that ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Kills process $1 when standard input ends: a pipe whose only writer is the test process.
const SCRIPT: &str = "trap '' INT TERM HUP; cat >/dev/null; kill -KILL \"$1\" 2>/dev/null";

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    guard: Child,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).spawn()?;
        let guard = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "guard"])
            .arg(child.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { child, guard })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(mut self) -> io::Result<ExitStatus> {
        self.end()
    }

    /// Asks it to stop (SIGTERM). It is to be waited for with [`Self::try_wait`].
    ///
    /// # Errors
    /// When no signal can be sent.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal("TERM")
    }

    /// Sends it that signal, as `STOP` or `CONT`.
    ///
    /// # Errors
    /// When no signal can be sent.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status().map(drop)
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// The guard goes first: the process id is given anew as soon as the child is waited for.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.guard.kill()?;
        self.guard.wait()?;
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or nothing is left to do about it.
        let _ = self.end();
    }
}
