//! `bench`: builds what is measured and the program that measures, and runs that.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::cargo::Target;
use crate::cluster::ClusterProgram;
use crate::packages;
use crate::places::Places;
use crate::process;
use crate::progress::Progress;

const PROGRAM: &str = "tenantry-bench";
const OPERATOR: &str = "tenantry-operator";

/// Measures the operator, as it is built for images. The arguments are the measuring program's.
pub fn operator(places: &Places, arguments: &[OsString]) -> Result<ExitCode> {
    let progress = Progress::start("measuring the operator; all of it takes three quarters of an hour");
    packages::ensure(&[packages::SERVICES], &progress)?;
    let cluster = ClusterProgram::of_sources(places)?;
    let stage = progress.stage("cluster program");
    cluster.build(&stage)?;
    stage.done("ready");
    let binaries = {
        let stage = progress.stage("Rust programs");
        let binaries = Target::hold(places, &stage)?.build_binaries(&stage)?;
        stage.done("ready");
        binaries
    };
    let status = process::attached(
        Command::new(binaries.join(PROGRAM))
            .args(arguments)
            .env("TENANTRY_CLUSTER_BINARY", cluster.path())
            .env("TENANTRY_OPERATOR_BINARY", binaries.join(OPERATOR)),
    )?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
