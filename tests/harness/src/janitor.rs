//! Ends a server and removes its directory when the test process is gone, even by SIGKILL.
//!
//! A shell waits for the end of its standard input, a pipe whose only writer is the test process: the kernel closes it
//! however that process ends. (`PR_SET_PDEATHSIG` would not do: it fires when the *thread* ends that started the server,
//! and each test runs in a thread of its own.)

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The process of PID file $2 is ended only while it works inside of directory $1: a PID may have been given anew.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
pid=$(head -n 1 "$2" 2>/dev/null)
inside() { case "$(readlink "/proc/$pid/cwd" 2>/dev/null)" in "$1"|"$1"/*) return 0 ;; *) return 1 ;; esac }
if [ -n "$pid" ] && inside "$1"; then
    kill -QUIT "$pid" 2>/dev/null
    waited=0
    while inside "$1" && [ "$waited" -lt 100 ]; do sleep 0.05; waited=$((waited + 1)); done
    if inside "$1"; then kill -KILL "$pid" 2>/dev/null; fi
fi
rm -rf "$1"
"#;

/// Ends every process of the session that process $2 leads, and looks again until there is none: they start others meanwhile. A zombie is gone already.
const SESSION_SCRIPT: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
directory=$1 leader=$2
some_are_left() {
    left=1
    for file in /proc/[0-9]*/stat; do
        { read -r line <"$file"; } 2>/dev/null || continue
        set -- ${line##*) }
        if [ "$4" = "$leader" ] && [ "$1" != Z ]; then
            left=0 pid=${file#/proc/}
            kill -KILL "${pid%/stat}" 2>/dev/null
        fi
    done
    return "$left"
}
while some_are_left; do sleep 0.02; done
rm -rf "$directory"
"#;

/// Watches one server. Dropping it ends the server and removes the directory.
#[derive(Debug)]
pub struct Janitor {
    shell: Child,
}

impl Janitor {
    /// Starts to watch: `directory` is the server's own and its working directory, `pid_file` is written by the server.
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn watch(directory: &Path, pid_file: &Path) -> io::Result<Self> {
        Self::start(SCRIPT, directory, pid_file.as_os_str())
    }

    /// Starts to watch all that the process `leader` starts, which leads a session (`setsid`).
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn watch_session(directory: &Path, leader: u32) -> io::Result<Self> {
        Self::start(SESSION_SCRIPT, directory, OsStr::new(&leader.to_string()))
    }

    fn start(script: &str, directory: &Path, whom: &OsStr) -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", script, "janitor"])
            .arg(directory)
            .arg(whom)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nothing is left to do about a failure, and a panic in `drop` would hide the test's own.
        let _ = self.shell.wait();
    }
}

/// Ports for servers: below the ones that the kernel gives to outgoing connections, which would take a port between its
/// choice and its use, and below those of the test control plane.
const PORTS: Range<u16> = 10_000..20_000;
const PORT_ATTEMPTS: usize = 100;

/// A TCP port of the loopback interface that nothing listens on at the moment, chosen at random so that processes that
/// choose at the same time differ.
///
/// # Errors
/// When none of many is free.
pub fn free_port() -> io::Result<u16> {
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_ATTEMPTS {
        match TcpListener::bind((Ipv4Addr::UNSPECIFIED, rand::random_range(PORTS))) {
            Ok(listener) => return Ok(listener.local_addr()?.port()),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}
