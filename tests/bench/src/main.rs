//! Measures the operator: its rate, its stillness, its memory, its latency and its fairness, beside a control plane that runs
//! on the same machine. There is no node. FAKES do what would take one: [`fake_workloads`] says that Deployments and Jobs are
//! done, [`fake_postgres`] answers for PostgreSQL. What PostgreSQL costs is measured on a real one, in [`postgres`].

mod audit;
mod changes;
mod fair;
mod fake_postgres;
mod fake_workloads;
mod options;
mod platform;
mod postgres;
mod process;
mod recorded;
mod report;
mod scale;
mod throughput;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::options::{Figure, Options};
use crate::report::Report;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let mut report = Report::new(options.output);
    if options.wants(&[Figure::Throughput, Figure::Idle, Figure::Fair]) {
        throughput::run(&options, &mut report).await?;
    }
    if options.wants(&[Figure::Postgres]) {
        postgres::run(&options, &mut report).await?;
    }
    if options.wants(&[Figure::Memory, Figure::ColdStart, Figure::Latency, Figure::Growth]) {
        scale::run(&options, &mut report).await?;
    }
    Ok(if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
