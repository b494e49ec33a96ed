//! `test`: everything, in stages that each start and stop what they need.

mod alerts;
mod go;
mod rust;
mod stages;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use crate::places::Places;
use crate::progress::{Progress, seconds};

use stages::Session;

/// A stage, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum StageName {
    /// Formatting, lints, rules, generated files, and tests that need nothing.
    Unit,
    /// Services and the operator's parts against a real PostgreSQL and Valkey.
    Services,
    /// The API and the operator against an API server without a node.
    ControlPlane,
    /// A whole Tenantry on a node; needs root.
    Node,
}

impl StageName {
    const ALL: [Self; 4] = [Self::Unit, Self::Services, Self::ControlPlane, Self::Node];

    fn text(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Services => "services",
            Self::ControlPlane => "control-plane",
            Self::Node => "node",
        }
    }
}

/// What to test.
#[derive(Debug, Clone)]
pub struct Options {
    /// The stages; all when there are none.
    pub stages: Vec<StageName>,
    /// Whether the node is left running.
    pub keep_node: bool,
    /// Run only tests with this in their name.
    pub filter: Option<String>,
}

/// What became of one stage.
struct Outcome {
    stage: StageName,
    time: Duration,
    failures: Vec<String>,
}

/// Runs the stages; all of them, even when one fails.
pub fn run(places: &Places, options: Options) -> Result<ExitCode> {
    let progress = Progress::start("testing; the first time on a machine takes an hour, mostly compiling");
    let mut wanted = options.stages.clone();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        wanted = StageName::ALL.to_vec();
    }
    let began = Instant::now();
    let session = Session::prepare(places, &options, &wanted, &progress)?;
    let preparation = began.elapsed();
    let mut outcomes = Vec::new();
    for stage in wanted {
        progress.line(&format!("stage {}", stage.text()));
        let began = Instant::now();
        let failures = session.run(stage);
        let time = began.elapsed();
        progress.line(&format!("stage {} took {}", stage.text(), seconds(time)));
        outcomes.push(Outcome { stage, time, failures });
    }
    println!("\n{}", table(preparation, &outcomes));
    let failed = outcomes.iter().any(|outcome| !outcome.failures.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(preparation: Duration, outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<16} {:>14}\n", "stage", "time");
    text.push_str(&format!("{:<16} {:>14}\n", "(building)", seconds(preparation)));
    for outcome in outcomes {
        let result = if outcome.failures.is_empty() { "ok" } else { "FAILED" };
        text.push_str(&format!("{:<16} {:>14}  {result}\n", outcome.stage.text(), seconds(outcome.time)));
        for failure in &outcome.failures {
            text.push_str(&format!("    {}\n", failure.replace('\n', "\n    ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_what_failed() {
        let outcomes = [
            Outcome { stage: StageName::Unit, time: Duration::from_secs(61), failures: Vec::new() },
            Outcome { stage: StageName::Node, time: Duration::from_secs(5), failures: vec!["node tests".to_owned()] },
        ];
        let table = table(Duration::from_secs(1), &outcomes);
        assert!(table.contains("unit                 1 min 01 s  ok"), "{table}");
        assert!(table.contains("FAILED\n    node tests"), "{table}");
    }
}
