//! `scaling`: what a second worker adds where workers are what limits. On this machine PostgreSQL is, so each worker is held to a small share of a core.

use std::time::Duration;

use anyhow::Result;

use super::ingest::Shop;
use super::options::Options;
use super::slot::Slot;
use super::{at_least, judge};
use crate::report::Report;

const BATCH: u64 = 1000;
const WORKERS: [usize; 2] = [1, 2];
/// Of two workers' rate over one's.
const RATIO: f64 = 1.5;

pub async fn run(slot: &Slot, options: &Options, report: &mut Report) -> Result<()> {
    let percent = options.worker_percent;
    let mut rates = Vec::new();
    for workers in WORKERS {
        let mut shop = Shop::open(slot, workers, BATCH, options.buyers).await?;
        let name = format!("scaling, {workers} worker{} at {percent} % of a core", if workers == 1 { "" } else { "s each" });
        report.note(&name);
        if let Err(error) = shop.hold_workers(percent) {
            report.note(&format!("  cannot be measured here: {error:#}"));
            judge(report, "scaling", false, &[]);
            return Ok(());
        }
        rates.push(shop.sustain(Duration::from_secs(options.scaling_seconds), &name, report).await?);
        shop.close().await?;
    }
    let ratio = rates[1] / rates[0];
    report.figure("scaling: ratio of rates", ratio, "");
    judge(report, "scaling", options.is_goals_scaling(), &[at_least(ratio, RATIO)]);
    Ok(())
}
