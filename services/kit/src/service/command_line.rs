//! The command line of every service.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tenantry_contract::paths;

use crate::credentials::CredentialRoot;

#[derive(Debug, Parser)]
#[command(about = "A service of Tenantry")]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the HTTP API until SIGTERM
    Api(ProcessOptions),
    /// Process streams and timers until SIGTERM
    Worker(ProcessOptions),
    /// Bring the database schema to this release's version, and exit
    Migrate(ProcessOptions),
    /// Print the descriptor as JSON
    Describe,
    /// Print the OpenAPI document as JSON
    Openapi,
}

/// Where a process finds what it is given.
#[derive(Debug, Args)]
pub(super) struct ProcessOptions {
    /// The configuration file
    #[arg(long = "config", value_name = "PATH", default_value = paths::CONFIGURATION_FILE)]
    pub(super) configuration: PathBuf,
    /// The directory with the credential directories `api`, `database` and `cache`
    #[arg(long, value_name = "DIR", default_value_os_t = default_credentials())]
    credentials: PathBuf,
    /// What to log, as in `info,sqlx=warn`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(super) log: String,
    /// The address to listen on; all of the pod's by default
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(super) listen_address: Option<IpAddr>,
    /// Seconds to go on serving after SIGTERM, until load balancers have seen that the process is not ready
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, hide = true)]
    lame_duck: f32,
}

impl ProcessOptions {
    pub(super) fn credential_root(&self) -> CredentialRoot {
        CredentialRoot::new(&self.credentials)
    }

    pub(super) fn lame_duck(&self) -> Duration {
        Duration::try_from_secs_f32(self.lame_duck).unwrap_or_default()
    }
}

fn default_credentials() -> PathBuf {
    CredentialRoot::in_pod().into()
}
