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
mod recorded;
mod scale;
mod throughput;

use anyhow::Result;

use crate::report::Report;
use options::Figure;
pub use options::Options;

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    if options.wants(&[Figure::Throughput, Figure::Idle, Figure::Fair]) {
        throughput::run(options, report).await?;
    }
    if options.wants(&[Figure::Postgres]) {
        postgres::run(options, report).await?;
    }
    if options.wants(&[Figure::Memory, Figure::ColdStart, Figure::Latency, Figure::Growth]) {
        scale::run(options, report).await?;
    }
    Ok(())
}
