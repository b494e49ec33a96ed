//! The chart's alert rules, judged by Prometheus' own promtool: that they are rules, and that each fires when it should and stays
//! silent otherwise. promtool is a Go module of its own, so that the cluster's program does not grow by Prometheus.

use std::process::Command;

use anyhow::Result;

use crate::go_program::{GoModule, GoProgram};
use crate::places::Places;
use crate::process;
use crate::progress::Stage;
use crate::tidy::ALERTS;

/// Without this tag promtool links the clients of thirty clouds, of which one cannot even be downloaded.
const MODULE: GoModule = GoModule {
    directory: "tests/promtool",
    cache: "promtool",
    package: "github.com/prometheus/prometheus/cmd/promtool",
    tags: "remove_all_sd",
    program: "promtool",
};

/// promtool, built if need be.
pub fn promtool<'a>(places: &'a Places, stage: &Stage<'_>) -> Result<GoProgram<'a>> {
    let promtool = GoProgram::of_sources(places, MODULE)?;
    promtool.build(stage)?;
    Ok(promtool)
}

/// Checks the rules and runs their tests.
pub fn check(places: &Places, promtool: &GoProgram<'_>) -> Result<()> {
    for (rules, tests) in ALERTS {
        for arguments in [["check", "rules", "--lint=all", "--lint-fatal", rules].as_slice(), &["test", "rules", tests]] {
            process::attached_checked(Command::new(promtool.path()).current_dir(&places.root).args(arguments))?;
        }
    }
    Ok(())
}
