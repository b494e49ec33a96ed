//! The command line of the operator. Everything has a default that fits the chart.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::probe::ProbeOptions;

#[derive(Debug, Parser)]
#[command(name = "tenantry-operator", version, about = "Reconciles resource groups and their slots")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watches and reconciles until SIGTERM, once it holds the lease.
    Run(Box<RunOptions>),
    /// Tries from inside of a slot whether its network policies are enforced. The operator starts it there.
    Probe(ProbeOptions),
}

#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// The operator's namespace: of its Lease, its master key and the admin logins of PostgreSQL servers.
    #[arg(long, env = "TENANTRY_NAMESPACE", default_value = "tenantry-system")]
    pub namespace: String,
    /// The ServiceAccount that the operator runs as, which it binds in each namespace that it makes.
    #[arg(long, env = "TENANTRY_SERVICE_ACCOUNT", default_value = "tenantry-operator")]
    pub service_account: String,
    /// Name of this replica in the Lease and in events; a random one when absent.
    #[arg(long, env = "TENANTRY_POD_NAME")]
    pub identity: Option<String>,
    /// Name of the Lease by which replicas elect their leader.
    #[arg(long, default_value = "tenantry-operator")]
    pub lease_name: String,
    /// How long a lease lasts without being renewed.
    #[arg(long, default_value = "15", value_parser = seconds)]
    pub lease_duration: Duration,
    /// Where `/metrics` is served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub metrics_address: SocketAddr,
    /// Where `/livez` and `/readyz` are served.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub health_address: SocketAddr,
    /// Where it listens for what no slot may reach.
    #[arg(long, default_value = "0.0.0.0:8082")]
    pub canary_address: SocketAddr,
    /// The address of this pod, as slots would reach it if they could.
    #[arg(long, env = "TENANTRY_POD_IP")]
    pub pod_ip: IpAddr,
    /// The operator's own image, by digest: what runs in a slot to try its network.
    #[arg(long, env = "TENANTRY_PROBE_IMAGE")]
    pub probe_image: String,
    /// Slots reconciled at the same time; groups, classes and releases get a quarter of it each.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Connections to one PostgreSQL server at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=100))]
    pub postgres_connections: u16,
    /// How often a slot's Secrets, which are not watched, are looked at.
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub secret_interval: Duration,
    /// How often settled objects are looked at without any event.
    #[arg(long, default_value = "600", value_parser = seconds)]
    pub resync_interval: Duration,
    /// How often it is looked whether the admission policies are there, without which nothing is written.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub policy_interval: Duration,
    /// A reconcile that takes longer makes `/livez` fail.
    #[arg(long, default_value = "600", value_parser = seconds)]
    pub stuck_after: Duration,
    /// For tests: a Unix socket at which every step is announced, and waits until it is let go on.
    #[arg(long, env = "TENANTRY_STEP_GATE", hide = true)]
    pub step_gate: Option<PathBuf>,
    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// What is logged, as a filter of `tracing`.
    #[arg(long, env = "TENANTRY_LOG", default_value = "info,kube_lease_manager=warn")]
    pub log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1 second".to_owned()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(error) => Err(format!("not a number of seconds: {error}")),
    }
}
