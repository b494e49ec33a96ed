//! What is measured, and how much of it. The defaults are those that the goals are about.

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What to measure; everything when absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Figure>,
    /// Groups of three slots for `throughput`, `idle` and `fair`.
    #[arg(long, default_value_t = 200)]
    pub groups: usize,
    /// Groups of three slots for `memory`, `cold-start`, `latency` and `growth`.
    #[arg(long, default_value_t = 1000)]
    pub many: usize,
    /// Groups that `growth` compares with.
    #[arg(long, default_value_t = 100)]
    pub few: usize,
    /// How long nothing may be written.
    #[arg(long, default_value_t = 600)]
    pub idle_seconds: u64,
    /// How long `latency` and each half of `fair` change groups.
    #[arg(long, default_value_t = 120)]
    pub change_seconds: u64,
    /// Changes a second.
    #[arg(long, default_value_t = 10)]
    pub rate: u64,
    /// Failing groups of `fair`.
    #[arg(long, default_value_t = 20)]
    pub failing: usize,
    /// Databases of `postgres`.
    #[arg(long, default_value_t = 90)]
    pub databases: usize,
    /// Clients of the raw rate: as many as the operator has workers.
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
    /// Further arguments of the operator, in one string.
    #[arg(long, default_value = "")]
    pub operator: String,
}

/// A figure with its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// Objects a second, against a raw client.
    Throughput,
    /// Writes while nothing changes, and after a restart.
    Idle,
    /// Resident memory with many groups.
    Memory,
    /// From the start of the process until everything was looked at, with many groups.
    ColdStart,
    /// From a change to its application, with many groups.
    Latency,
    /// Cost per group with many groups, against few.
    Growth,
    /// Databases a second, against bare SQL, on a real PostgreSQL.
    Postgres,
    /// Latency of healthy groups beside failing ones.
    Fair,
}

impl Options {
    pub fn wants(&self, figures: &[Figure]) -> bool {
        self.only.is_empty() || figures.iter().any(|figure| self.only.contains(figure))
    }
}
