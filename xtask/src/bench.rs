//! `bench`: builds what is measured and the program that measures, and runs that.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::cargo::Target;
use crate::cluster::ClusterProgram;
use crate::images;
use crate::packages;
use crate::places::Places;
use crate::process;
use crate::progress::Progress;

const PROGRAM: &str = "tenantry-bench";
const OPERATOR: &str = "tenantry-operator";
const CAMPAIGNS: &str = "campaigns";

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
    let environment = [("TENANTRY_CLUSTER_BINARY", cluster.path().to_path_buf()), ("TENANTRY_OPERATOR_BINARY", binaries.join(OPERATOR))];
    measure(&binaries, "operator", arguments, &environment)
}

/// Measures campaigns and its peers. The arguments are the measuring program's.
pub fn campaigns(places: &Places, arguments: &[OsString]) -> Result<ExitCode> {
    let progress = Progress::start("measuring campaigns; all of it takes ten minutes, after a build for release");
    packages::ensure(&[packages::SERVICES, packages::IMAGES], &progress)?;
    let stage = progress.stage("Valkey");
    let valkey = images::valkey_on_host(places, &stage)?;
    stage.done("ready");
    let stage = progress.stage("PostgreSQL 17");
    let postgresql = images::postgresql_on_host(places, &stage)?;
    stage.done("ready");
    let binaries = {
        let stage = progress.stage("Rust programs");
        let binaries = Target::hold(places, &stage)?.build_released(&[CAMPAIGNS, PROGRAM], &stage)?;
        stage.done("ready");
        binaries
    };
    let environment =
        [("TENANTRY_CAMPAIGNS_BINARY", binaries.join(CAMPAIGNS)), ("TENANTRY_VALKEY", valkey), ("TENANTRY_POSTGRES_17_BIN", postgresql)];
    measure(&binaries, "campaigns", arguments, &environment)
}

fn measure(binaries: &Path, what: &str, arguments: &[OsString], environment: &[(&str, impl AsRef<OsStr>)]) -> Result<ExitCode> {
    let mut command = Command::new(binaries.join(PROGRAM));
    command.arg(what).args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    Ok(if process::attached(&mut command)?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
