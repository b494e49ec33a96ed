//! Checks and tests of the Go module.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::cluster;
use crate::go_program;
use crate::places::Places;
use crate::process;

/// Flags with which everything that the module imports is compiled already.
const FLAGS: &str = "-trimpath";

/// Formatting.
pub fn format(places: &Places) -> Result<()> {
    let program = process::find_program("gofmt").unwrap_or_else(|| PathBuf::from("gofmt"));
    let unformatted = process::text(Command::new(program).arg("-l").arg(cluster::module(places)))?;
    if unformatted.is_empty() {
        return Ok(());
    }
    bail!("run gofmt -w on\n{unformatted}")
}

/// `go test` with these arguments. Without vet: it would analyse all of Kubernetes, for ten minutes.
pub fn test(places: &Places, arguments: &[&str], environment: &[(&str, PathBuf)]) -> Result<()> {
    let mut command = go(places);
    command.args(["test", "-count=1", "-vet=off"]).args(arguments);
    for (name, value) in environment {
        command.env(name, value);
    }
    process::attached_checked(&mut command)
}

fn go(places: &Places) -> Command {
    let mut command = go_program::go(&cluster::module(places));
    command.env("GOFLAGS", FLAGS);
    command
}
