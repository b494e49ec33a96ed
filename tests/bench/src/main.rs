//! Measures, and says which goals are met: the operator beside a control plane ([`operator`]), and campaigns beside their peers ([`campaigns`]).

mod campaigns;
mod cpu_share;
mod operator;
mod process;
mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::report::{OutputFormat, Report};

#[derive(Debug, Parser)]
#[command(name = "tenantry-bench", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// How to print the result.
    #[arg(long, value_enum, global = true, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measures the operator beside a control plane, with PostgreSQL and workloads as fakes.
    Operator(operator::Options),
    /// Measures campaigns as they are deployed, with their peers in the same run.
    Campaigns(campaigns::Options),
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut report = Report::new(arguments.output);
    match &arguments.what {
        What::Operator(options) => operator::run(options, &mut report).await?,
        What::Campaigns(options) => campaigns::run(options, &mut report).await?,
    }
    Ok(if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_format_can_be_named_before_and_after_what_is_measured() {
        for arguments in [["bench", "--output", "json", "campaigns"], ["bench", "campaigns", "--output", "json"]] {
            assert_eq!(Arguments::try_parse_from(arguments).unwrap().output, OutputFormat::Json);
        }
    }
}
