//! What is measured, and how much of it. The defaults are those that the goals are about.

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use super::layout::Layout;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What to measure; everything when absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Users of the campaign, for all but `ingest` and `single`.
    #[arg(long, default_value_t = USERS)]
    pub users: u64,
    /// Purchases a second that are reported beside `position`, `top100` and `fanout`.
    #[arg(long, default_value_t = WRITES)]
    pub writes: u64,
    /// Connections over which `position` and `top100` ask, each one question at a time.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// How often campaigns and the peer take turns.
    #[arg(long, default_value_t = 10)]
    pub rounds: usize,
    /// How long each turn is.
    #[arg(long, default_value_t = 3)]
    pub round_seconds: u64,
    /// How long `memory` has totals change.
    #[arg(long, default_value_t = 30)]
    pub memory_seconds: u64,
    /// Totals that `memory` has change in a second.
    #[arg(long, default_value_t = 5000)]
    pub memory_writes: u64,
    /// Users whose purchases `ingest` and `single` report.
    #[arg(long, default_value_t = 100_000)]
    pub buyers: u64,
    /// Purchases in a batch of `ingest`.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000])]
    pub batch: Vec<u64>,
    /// Workers beside `ingest`.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    pub workers: Vec<usize>,
    /// How long `ingest` reports as fast as purchases become visible.
    #[arg(long, default_value_t = SUSTAINED)]
    pub ingest_seconds: u64,
    /// The rate at which `ingest` measures the time until purchases are visible, a second.
    #[arg(long, default_value_t = HALF_RATE)]
    pub half_rate: u64,
    /// How long `ingest` reports at that rate.
    #[arg(long, default_value_t = 20)]
    pub half_rate_seconds: u64,
    /// Hundredths of a core that `scaling` leaves to each worker.
    #[arg(long, default_value_t = WORKER_PERCENT)]
    pub worker_percent: u32,
    /// How long `scaling` reports, for each number of workers.
    #[arg(long, default_value_t = SCALING)]
    pub scaling_seconds: u64,
    /// Connections over which `single` reports purchases, each one at a time.
    #[arg(long, default_value_t = 128)]
    pub single_connections: usize,
    /// How long `single` reports.
    #[arg(long, default_value_t = SUSTAINED)]
    pub single_seconds: u64,
    /// Clients of `fanout`.
    #[arg(long, default_value_t = VIEWERS)]
    pub viewers: usize,
    /// How long `fanout` watches.
    #[arg(long, default_value_t = 20)]
    pub fanout_seconds: u64,
}

const USERS: u64 = 1_000_000;
const WRITES: u64 = 1000;
const SUSTAINED: u64 = 30;
const HALF_RATE: u64 = 5000;
const WORKER_PERCENT: u32 = 5;
const SCALING: u64 = 20;
const VIEWERS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Where a user stands: in process, and over HTTP against Valkey's ZREVRANK.
    Position,
    /// The first hundred: in process, and over HTTP against Valkey's ZREVRANGE.
    Top100,
    /// Batches of purchases, from accepted to visible in the ranking.
    Ingest,
    /// What a second worker adds, where workers are what limits.
    Scaling,
    /// Purchases that are reported one by one.
    Single,
    /// Memory of the API process, also while totals change.
    Memory,
    /// From the start of the API process until it answers.
    Rebuild,
    /// Clients that watch a leaderboard.
    Fanout,
}

impl Options {
    pub fn wants(&self, parts: &[Part]) -> bool {
        self.only.is_empty() || parts.iter().any(|part| self.only.contains(part))
    }

    /// Whether the campaign is as large as the goals say, and as busy.
    pub fn is_goals_campaign(&self) -> bool {
        self.users >= USERS && self.writes >= WRITES
    }

    /// Whether `ingest` and `single` last as long as the goals say.
    pub fn is_goals_ingest(&self) -> bool {
        let lasts = self.ingest_seconds >= SUSTAINED && self.half_rate_seconds >= 10 && self.single_seconds >= SUSTAINED;
        lasts && self.half_rate >= HALF_RATE && [1, 2].iter().all(|workers| self.workers.contains(workers))
    }

    /// Whether workers have so little that they are what limits, for as long as the goal says.
    pub fn is_goals_scaling(&self) -> bool {
        self.worker_percent <= WORKER_PERCENT && self.scaling_seconds >= SCALING
    }

    /// # Errors
    /// When something cannot be measured.
    pub fn check(&self) -> Result<()> {
        Layout::new(self.users)?;
        let numbers = [
            self.writes,
            self.round_seconds,
            self.memory_writes,
            self.memory_seconds,
            self.ingest_seconds,
            self.half_rate,
            self.scaling_seconds,
        ];
        ensure!(numbers.iter().all(|number| *number > 0), "numbers of seconds and of purchases a second are at least 1");
        ensure!(self.connections > 0 && self.rounds > 0 && self.single_connections > 0, "connections and rounds are at least 1");
        ensure!(self.half_rate_seconds > 0 && self.single_seconds > 0 && self.fanout_seconds > 0, "numbers of seconds are at least 1");
        ensure!((1..=2000).contains(&self.viewers), "--viewers is from 1 to 2000, which an API process takes");
        ensure!(self.batch.iter().all(|batch| (100..=10_000).contains(batch)), "--batch is from 100 to 10000");
        ensure!(!self.batch.is_empty() && !self.workers.is_empty(), "name at least one --batch and one number of --workers");
        ensure!(self.workers.iter().all(|workers| (1..=8).contains(workers)), "--workers is from 1 to 8");
        ensure!((1..=100).contains(&self.worker_percent), "--worker-percent is from 1 to 100");
        ensure!(self.buyers >= 1000, "--buyers is at least 1000");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> Options {
        Line::try_parse_from(["bench"].iter().chain(line)).unwrap().options
    }

    #[test]
    fn the_defaults_are_those_of_the_goals_and_measure_everything() {
        let options = options(&[]);
        options.check().unwrap();
        assert!(options.is_goals_campaign() && options.is_goals_ingest() && options.is_goals_scaling());
        assert!(Part::value_variants().iter().all(|part| options.wants(&[*part])));
    }

    #[test]
    fn a_part_is_measured_alone() {
        let options = options(&["--only", "memory,rebuild"]);
        assert!(options.wants(&[Part::Memory]) && options.wants(&[Part::Top100, Part::Rebuild]));
        assert!(!options.wants(&[Part::Position, Part::Ingest]));
    }

    #[test]
    fn smaller_sizes_are_not_the_goals() {
        assert!(!options(&["--users", "10000"]).is_goals_campaign() && !options(&["--writes", "10"]).is_goals_campaign());
        for line in [["--ingest-seconds", "3"], ["--half-rate", "100"], ["--workers", "1"], ["--single-seconds", "2"]] {
            assert!(!options(&line).is_goals_ingest(), "{line:?}");
        }
        for line in [["--worker-percent", "50"], ["--scaling-seconds", "2"]] {
            assert!(!options(&line).is_goals_scaling(), "{line:?}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let lines = [
            ["--users", "10"],
            ["--rounds", "0"],
            ["--viewers", "0"],
            ["--batch", "10"],
            ["--workers", "0"],
            ["--worker-percent", "0"],
            ["--round-seconds", "0"],
        ];
        for line in lines {
            assert!(options(&line).check().is_err(), "{line:?}");
        }
    }
}
