//! A throwaway Valkey server on loopback. Where only Redis is installed it stands in, since it speaks the same protocol:
//! [`ValkeyServer::program`] says which one runs.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use crate::janitor::{Janitor, free_port};

/// Path of the server's binary, when it is not on the PATH.
const BINARY_VARIABLE: &str = "TENANTRY_VALKEY";
const PROGRAMS: [&str; 2] = ["valkey-server", "redis-server"];
const START_DEADLINE: Duration = Duration::from_secs(10);

/// A running server. It ends when this is dropped or the process ends.
#[derive(Debug)]
pub struct ValkeyServer {
    program: PathBuf,
    directory: PathBuf,
    port: u16,
    password: Mutex<String>,
    child: Mutex<Option<Child>>,
    _janitor: Janitor,
}

impl ValkeyServer {
    /// Starts a server with a password, without persistence.
    ///
    /// # Errors
    /// When none is installed or it does not start.
    pub fn start() -> Result<Self> {
        let program = find_program()?;
        let directory = tempfile::Builder::new().prefix("tenantry-valkey-").tempdir()?.keep();
        let server = Self {
            _janitor: Janitor::watch(&directory, &directory.join("pid"))?,
            program,
            directory,
            port: free_port()?,
            password: Mutex::new(Uuid::new_v4().simple().to_string()),
            child: Mutex::new(None),
        };
        server.start_again()?;
        Ok(server)
    }

    /// Name of the program that runs: `valkey-server` or `redis-server`.
    #[must_use]
    pub fn program(&self) -> &Path {
        self.program.file_name().map_or(self.program.as_path(), Path::new)
    }

    /// Address that the server listens on.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// Port that the server listens on; the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> String {
        self.password.lock().map(|password| password.clone()).unwrap_or_default()
    }

    /// Ends the server at once (SIGKILL); what it held is lost.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn stop(&self) -> Result<()> {
        let child = self.child.lock().ok().and_then(|mut child| child.take());
        if let Some(mut child) = child {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts a stopped server again, on the same port.
    ///
    /// # Errors
    /// When it does not listen within ten seconds.
    pub fn start_again(&self) -> Result<()> {
        let configuration = self.directory.join("valkey.conf");
        let directory = self.directory.display();
        fs::write(
            &configuration,
            format!(
                "bind 127.0.0.1\nport {}\nrequirepass {}\ndir {directory}\npidfile {directory}/pid\ndaemonize no\n\
                 save \"\"\nappendonly no\n",
                self.port,
                self.password()
            ),
        )?;
        fs::set_permissions(&configuration, fs::Permissions::from_mode(0o600))?;
        let child = Command::new(&self.program)
            .arg(&configuration)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.directory.join("log"))?)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        if let Ok(mut current) = self.child.lock() {
            *current = Some(child);
        }
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect((self.host(), self.port)).is_err() {
            if Instant::now() > deadline {
                bail!("{} does not listen on port {}", self.program.display(), self.port);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Restarts with another password, as after a rotation.
    ///
    /// # Errors
    /// As [`Self::start_again`].
    pub fn change_password(&self) -> Result<()> {
        self.stop()?;
        if let Ok(mut password) = self.password.lock() {
            *password = Uuid::new_v4().simple().to_string();
        }
        self.start_again()
    }
}

impl Drop for ValkeyServer {
    fn drop(&mut self) {
        // The janitor ends what this cannot.
        let _ = self.stop();
    }
}

fn find_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        return Ok(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    PROGRAMS
        .iter()
        .flat_map(|program| std::env::split_paths(&path).map(move |directory| directory.join(program)))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!("neither Valkey nor Redis is installed (on Debian: apt-get install redis-server; or set {BINARY_VARIABLE})")
        })
}
