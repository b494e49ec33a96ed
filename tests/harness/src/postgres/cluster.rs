//! The server's files and process: `initdb`, `pg_ctl`. Everything here blocks.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{PostgresOptions, PostgresVersion, StopMode};
use crate::janitor::{Janitor, free_port};

/// Where the binaries are, when they are neither on the PATH nor where Debian puts them.
const BINARIES_VARIABLE: &str = "TENANTRY_POSTGRES_BIN";
/// Where the binaries of version 17 are, as `cargo xtask test` sets it.
const BINARIES_17_VARIABLE: &str = "TENANTRY_POSTGRES_17_BIN";
/// What of a root file system its PostgreSQL needs.
const PARTS_OF_ROOT: [&str; 3] = ["usr/lib", "usr/lib64", "usr/share/postgresql"];
const DEBIAN_INSTALLATIONS: &str = "/usr/lib/postgresql";
/// `initdb` and `postgres` refuse to run as root; this account comes with Debian's package.
const UNPRIVILEGED_ACCOUNT: &str = "postgres";
const PORT_ATTEMPTS: usize = 5;

/// One data directory and the server on it.
#[derive(Debug)]
pub(super) struct Cluster {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    options: PostgresOptions,
    as_account: bool,
    _janitor: Janitor,
}

impl Cluster {
    /// Makes the data directory and starts the server.
    pub(super) fn create(options: PostgresOptions, superuser_password: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("tenantry-postgres-").tempdir()?.keep();
        let janitor = Janitor::watch(&directory, &directory.join("data/postmaster.pid"))?;
        let as_account = numeric_id("-u", None)? == 0;
        let binaries = match options.version {
            PostgresVersion::Installed => find_binaries()?,
            PostgresVersion::Seventeen => link_binaries(&directory)?,
        };
        let mut cluster = Self { binaries, directory, port: 0, options, as_account, _janitor: janitor };
        cluster.initialize(superuser_password)?;
        for attempt in 1.. {
            cluster.port = free_port()?;
            match cluster.start() {
                Ok(()) => break,
                // Between choosing a free port and listening, another process can take it.
                Err(error) if attempt >= PORT_ATTEMPTS => return Err(error),
                Err(_) => {}
            }
        }
        Ok(cluster)
    }

    #[cfg(test)]
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn start(&self) -> Result<()> {
        let durability = if self.options.durable { "" } else { "-c fsync=off -c synchronous_commit=off -c full_page_writes=off" };
        let tls = if self.options.tls { "-c ssl=on" } else { "" };
        let arguments = format!(
            "-p {} -c listen_addresses={} -c unix_socket_directories= -c max_connections={} {durability} {tls}",
            self.port, self.options.listen_addresses, self.options.max_connections
        );
        let mut command = self.command("pg_ctl");
        command.arg("start").arg("-w").args(["-t", "60"]).arg("-D").arg(self.data());
        command.arg("-l").arg(self.log()).arg("-o").arg(arguments);
        run(&mut command).with_context(|| format!("starting PostgreSQL; its log ends with:\n{}", self.log_tail()))
    }

    pub(super) fn stop(&self, mode: StopMode) -> Result<()> {
        let mode = match mode {
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        };
        let mut command = self.command("pg_ctl");
        command.arg("stop").arg("-w").args(["-t", "60", "-m", mode]).arg("-D").arg(self.data());
        run(&mut command).context("stopping PostgreSQL")
    }

    fn initialize(&self, superuser_password: &str) -> Result<()> {
        let password_file = self.directory.join("superuser");
        fs::write(&password_file, superuser_password)?;
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
        if self.as_account {
            let uid = numeric_id("-u", Some(UNPRIVILEGED_ACCOUNT))?;
            let gid = numeric_id("-g", Some(UNPRIVILEGED_ACCOUNT))?;
            for path in [&self.directory, &password_file] {
                chown(path, Some(uid), Some(gid))?;
            }
        }
        let mut command = self.command("initdb");
        command.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        command.arg("--pgdata").arg(self.data()).arg("--pwfile").arg(&password_file);
        run(&mut command).context("initdb")?;
        fs::remove_file(password_file)?;
        if self.options.tls { self.certify() } else { Ok(()) }
    }

    /// Makes a key and a certificate, where the server looks for them.
    fn certify(&self) -> Result<()> {
        let mut command = self.account_command(Path::new("openssl"));
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
        command.arg("-keyout").arg(self.data().join("server.key")).arg("-out").arg(self.data().join("server.crt"));
        run(&mut command).context("making a certificate (on Debian: apt-get install openssl)")?;
        Ok(fs::set_permissions(self.data().join("server.key"), fs::Permissions::from_mode(0o600))?)
    }

    fn command(&self, program: &str) -> Command {
        self.account_command(&self.binaries.join(program))
    }

    fn account_command(&self, program: &Path) -> Command {
        let mut command = if self.as_account {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={UNPRIVILEGED_ACCOUNT}"));
            command.arg(format!("--regid={UNPRIVILEGED_ACCOUNT}"));
            command.arg("--clear-groups").arg("--").arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.directory);
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

fn find_binaries() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARIES_VARIABLE) {
        return Ok(path.into());
    }
    let mut installations: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_INSTALLATIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, path)| path.join("initdb").is_file())
        .collect();
    installations.sort();
    let on_path =
        std::env::var_os("PATH").and_then(|path| std::env::split_paths(&path).find(|directory| directory.join("initdb").is_file()));
    installations.pop().map(|(_, path)| path).or(on_path).with_context(|| {
        format!("PostgreSQL's server is not installed (on Debian: apt-get install postgresql; or set {BINARIES_VARIABLE})")
    })
}

/// Links the installation of version 17 into a server's own directory: the account that it runs as may not reach the cache of
/// the one that runs the tests.
fn link_binaries(directory: &Path) -> Result<PathBuf> {
    let binaries = std::env::var_os(BINARIES_17_VARIABLE).map(PathBuf::from).with_context(|| {
        format!("PostgreSQL 17 is not prepared: run the tests by `cargo xtask test`, or set {BINARIES_17_VARIABLE} to its directory bin")
    })?;
    let below_root = Path::new("usr/lib/postgresql/17/bin");
    let root = binaries.to_str().and_then(|path| path.trim_end_matches('/').strip_suffix(below_root.to_str()?));
    let root = Path::new(root.with_context(|| format!("{} does not end with {}", binaries.display(), below_root.display()))?);
    let copy = directory.join("root");
    fs::create_dir(&copy)?;
    let parts = PARTS_OF_ROOT.iter().filter(|part| root.join(part).exists());
    let copied = |how: &str| {
        let mut command = Command::new("cp");
        command.current_dir(root).args(["--archive", how, "--parents"]).args(parts.clone()).arg(&copy);
        run(&mut command)
    };
    // Links cannot lead to another file system.
    copied("--link").or_else(|_| copied("--force")).context("copying PostgreSQL 17")?;
    Ok(copy.join(below_root))
}

fn numeric_id(which: &str, account: Option<&str>) -> Result<u32> {
    let output = Command::new("id").arg(which).args(account).output().context("running `id`")?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("no account {}", account.unwrap_or("of this process")))
}

fn run(command: &mut Command) -> Result<()> {
    // Not `output()`: the server inherits what `pg_ctl` has, and a pipe would stay open as long as it runs.
    let stderr = tempfile::NamedTempFile::new()?;
    let status = command
        .stdin(std::process::Stdio::null())
        .stdout(stderr.reopen()?)
        .stderr(stderr.reopen()?)
        .status()
        .with_context(|| format!("running {}", Path::new(command.get_program()).display()))?;
    if !status.success() {
        bail!("{status}: {}", fs::read_to_string(stderr.path())?.trim());
    }
    Ok(())
}
