//! The operator: observe, plan, apply, report. This file only starts the parts and decides when the process ends.

mod apply;
mod backoff;
mod caches;
mod canary;
mod cli;
mod confinement;
mod context;
mod controllers;
mod error;
mod events;
mod health;
mod kinds;
mod leadership;
mod metrics;
mod observe;
mod postgres;
mod primary;
mod probe;
mod queue;
mod report;
mod start;
mod workers;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, LogFormat, RunOptions};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Cli::parse().command {
        Command::Run(options) => options,
        Command::Probe(options) => return probe::run(options).await,
    };
    log(&options);
    match start::run(*options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the operator ends");
            ExitCode::FAILURE
        }
    }
}

fn log(options: &RunOptions) {
    let filter = EnvFilter::try_new(&options.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
