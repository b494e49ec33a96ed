//! `throughput`, `idle` and `fair`, on one platform.

use std::time::Duration;

use anyhow::{Context, Result};
use tenantry_harness::operator::Operator;

use crate::operator::audit::{Request, breakdown};
use crate::operator::options::{Figure, Options};
use crate::operator::platform::{Platform, SLOTS, group, names};
use crate::operator::{fair, recorded};
use crate::report::Report;

const PREFIX: &str = "bench";
const RAW_PREFIX: &str = "plain";
const READY_DEADLINE: Duration = Duration::from_secs(600);

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let platform = Platform::start(&options.operator).await?;
    let mut operator = platform.start_operator().await?;
    let groups = names(PREFIX, 0..options.groups);
    report.note(&format!("applying {} groups", groups.len()));
    let made = populate(&platform, &groups).await?;
    if options.wants(&[Figure::Throughput]) {
        throughput(&platform, &made, options, report).await?;
    }
    if options.wants(&[Figure::Idle]) {
        operator = idle(&platform, operator, groups.len(), options, report).await?;
    }
    // Last, since what hangs takes its time to go.
    if options.wants(&[Figure::Fair]) {
        fair::run(&platform, &groups, options, report).await?;
    }
    drop(operator);
    Ok(())
}

/// What the operator did from when the first group was applied until it was still again.
async fn populate(platform: &Platform, groups: &[String]) -> Result<Vec<Request>> {
    let mut log = platform.audit_log()?;
    platform.apply_groups(groups.iter().map(|name| group(name)).collect()).await?;
    platform.wait_until_ready(groups, READY_DEADLINE).await?;
    platform.wait_until_still().await?;
    log.read()
}

async fn throughput(platform: &Platform, requests: &[Request], options: &Options, report: &mut Report) -> Result<()> {
    let applied = requests.iter().find(|request| !request.is_operators() && request.resource() == "resourcegroups" && request.is_write());
    let begun = applied.context("no group was applied")?.request_received_timestamp;
    let of_operator: Vec<&Request> = requests.iter().filter(|request| request.is_operators()).collect();
    let created: Vec<&&Request> = of_operator.iter().filter(|request| request.created()).collect();
    let ended = created.iter().map(|request| request.stage_timestamp).max().context("nothing was made")?;
    let seconds = (ended.as_microsecond() - begun.as_microsecond()) as f64 / 1e6;
    let writes: Vec<&&Request> = of_operator.iter().filter(|request| request.is_write()).collect();
    for (kind, count) in breakdown(writes.iter().map(|request| **request)) {
        report.note(&format!("  {count:>7} {kind}"));
    }
    for (kind, count) in breakdown(of_operator.iter().filter(|request| !request.is_write()).copied()) {
        report.note(&format!("  {count:>7} {kind}"));
    }
    let rate = created.len() as f64 / seconds;
    let per_object = writes.len() as f64 / created.len() as f64;
    report.note("applying the same objects by plain clients");
    let raw = recorded::apply_again(&platform.client, PREFIX, RAW_PREFIX, options.clients).await?;
    let raw_rate = raw.objects as f64 / raw.seconds;
    report.figure("objects made by the operator", created.len() as f64, "");
    report.figure("seconds until all were there", seconds, "s");
    report.figure("operator's rate", rate, "objects/s");
    report.figure("raw rate", raw_rate, "objects/s");
    report.figure("ratio", rate / raw_rate, "");
    report.figure("writes per object, status included", per_object, "");
    report.figure("reads per object", (of_operator.len() - writes.len()) as f64 / created.len() as f64, "");
    report.goal("throughput", rate / raw_rate >= 0.7);
    report.goal("writes", per_object <= 1.15);
    Ok(())
}

async fn idle(platform: &Platform, operator: Operator, groups: usize, options: &Options, report: &mut Report) -> Result<Operator> {
    platform.wait_until_still().await?;
    report.note(&format!("watching for writes for {} s", options.idle_seconds));
    let mut log = platform.audit_log()?;
    tokio::time::sleep(Duration::from_secs(options.idle_seconds)).await;
    let requests = log.of_operator()?;
    let writes = noted(&requests, report);
    report.figure("writes while nothing changes", writes as f64, "");
    report.figure("reads a second while nothing changes", (requests.len() - writes) as f64 / options.idle_seconds as f64, "/s");

    operator.stop().await?;
    let mut log = platform.audit_log()?;
    let operator = platform.start_operator().await?;
    crate::operator::scale::wait_until_looked_at(&operator, groups, groups * SLOTS.len()).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after_restart = noted(&log.of_operator()?, report);
    report.figure("writes after a restart", after_restart as f64, "");
    report.goal("idle", writes == 0 && after_restart == 0);
    Ok(operator)
}

fn noted(requests: &[Request], report: &Report) -> usize {
    let writes: Vec<&Request> = requests.iter().filter(|request| request.is_write()).collect();
    for (kind, count) in breakdown(writes.iter().copied()) {
        report.note(&format!("  {count:>7} {kind}"));
    }
    writes.len()
}
