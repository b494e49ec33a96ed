//! Checks and tests of the workspace. All test programs are built at once, so that stages share every dependency.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::{self, TestProgram};
use crate::places::Places;
use crate::process;

use super::StageName;

/// Packages whose tests need PostgreSQL or Valkey.
const SERVICES: [&str; 6] = ["campaigns", "greeter", "tenantry-bench", "tenantry-harness", "tenantry-kit", "tenantry-operator"];

/// The stage that a package's tests belong to.
pub fn stage_of(package: &str) -> StageName {
    match package {
        "tenantry-tests-control-plane" => StageName::ControlPlane,
        "tenantry-tests-node" => StageName::Node,
        _ if SERVICES.contains(&package) => StageName::Services,
        _ => StageName::Unit,
    }
}

/// `cargo fmt --check`.
pub fn format(places: &Places) -> Result<()> {
    process::attached_checked(cargo::cargo(places, "fmt").args(["--all", "--check"]))
}

/// `cargo clippy`, with warnings as errors.
pub fn clippy(places: &Places) -> Result<()> {
    let mut command = cargo::cargo(places, "clippy");
    command.args(["--quiet", "--workspace", "--all-targets", "--", "--deny=warnings"]);
    process::attached_checked(&mut command)
}

/// The examples in documentation.
pub fn documentation(places: &Places) -> Result<()> {
    let mut command = cargo::cargo(places, "test");
    command.args(["--quiet", "--workspace", "--doc"]);
    process::attached_checked(&mut command)
}

/// Runs one test program as cargo does.
pub fn run(places: &Places, program: &TestProgram, filter: Option<&str>, environment: &[(&str, PathBuf)]) -> Result<()> {
    println!("\n     Running {}", program.title());
    let mut command = Command::new(&program.executable);
    command
        .current_dir(&program.directory)
        .env("CARGO_MANIFEST_DIR", &program.directory)
        .env("CARGO_TARGET_DIR", &places.target)
        .env("RUST_BACKTRACE", "1")
        .env("INSTA_UPDATE", "no")
        .env("INSTA_WORKSPACE_ROOT", &places.root)
        .args(filter);
    for (name, value) in environment {
        command.env(name, value);
    }
    let status = process::attached(&mut command)?;
    if status.success() {
        return Ok(());
    }
    bail!("{} failed: {status}", program.title())
}

/// The programs of a stage.
pub fn of_stage(programs: &[TestProgram], stage: StageName) -> impl Iterator<Item = &TestProgram> {
    programs.iter().filter(move |program| stage_of(&program.package) == stage)
}

/// Where insta writes which snapshots it compared with.
pub fn snapshot_references(target: &Path) -> PathBuf {
    target.join("tenantry.snapshots")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_its_stage() {
        assert_eq!(stage_of("tenantry-plan"), StageName::Unit);
        assert_eq!(stage_of("campaigns"), StageName::Services);
        assert_eq!(stage_of("tenantry-tests-control-plane"), StageName::ControlPlane);
        assert_eq!(stage_of("tenantry-tests-node"), StageName::Node);
    }
}
