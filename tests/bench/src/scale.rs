//! `memory`, `cold-start`, `latency` and `growth`: many groups.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tenantry_harness::operator::Operator;

use crate::audit::AuditLog;
use crate::changes;
use crate::options::{Figure, Options};
use crate::platform::{Platform, SLOTS, group, names};
use crate::process::{cpu_seconds, histogram_p99, percentile, resident_mib, sum};
use crate::report::Report;

const PREFIX: &str = "bench";
/// How long the cost of doing nothing is watched: longer than the minute after which Secrets are looked at again.
const WATCHED: Duration = Duration::from_secs(70);

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let platform = Platform::start(&options.operator).await?;
    let operator = platform.start_operator().await?;
    let all = names(PREFIX, 0..options.many);
    let (few, many) = (options.few.min(options.many), options.many);
    let growth = options.wants(&[Figure::Growth]);
    let mut costs = Vec::new();
    // The first and the last of them are as many, so that only what is there already differs.
    let batches =
        if growth { vec![0..few, few..(many - few).max(few), (many - few).max(few)..many] } else { std::iter::once(0..many).collect() };
    for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
        report.note(&format!("applying groups {batch:?}"));
        let size = batch.len();
        let cost = add(&platform, &operator, &all[batch], size).await?;
        report.note(&format!("  {:.3} s of CPU and {:.1} requests a group, in {:.0} s", cost.cpu, cost.requests, cost.seconds));
        costs.push(cost);
        if growth && costs.len() != 2 {
            let present = costs.iter().map(|cost| cost.groups).sum::<usize>();
            let idle = doing_nothing(&platform, &operator, present).await?;
            report.note(&format!("  at rest {:.4} s of CPU and {:.1} requests a group and minute", idle.cpu, idle.requests));
            costs.push(idle);
        }
    }
    if growth && let [first, first_rest, .., last, last_rest] = costs.as_slice() {
        let ratio = compare("a group that is added", first, last, report).max(compare("a group at rest", first_rest, last_rest, report));
        report.goal("growth", ratio <= 1.2);
    }
    if options.wants(&[Figure::Latency]) {
        latency(&platform, &operator, &all, options, report).await?;
    }
    platform.wait_until_still().await?;
    let (resident, peak) = resident_mib(&operator)?;
    if options.wants(&[Figure::Memory]) {
        report.figure("memory after making them, resident", resident, "MiB");
        report.figure("memory, most at any time", peak, "MiB");
    }
    operator.stop().await?;
    let begun = Instant::now();
    let operator = platform.start_operator().await?;
    let synced = begun.elapsed().as_secs_f64();
    wait_until_looked_at(&operator, many, many * SLOTS.len()).await?;
    let looked = begun.elapsed().as_secs_f64();
    platform.wait_until_still().await?;
    let (resident_again, peak_again) = resident_mib(&operator)?;
    if options.wants(&[Figure::Memory]) {
        report.figure("memory after a restart, resident", resident_again, "MiB");
        report.figure("memory after a restart, most at any time", peak_again, "MiB");
        report.goal("memory", resident.max(resident_again) <= 150.0);
    }
    if options.wants(&[Figure::ColdStart]) {
        report.figure("cold start until synced", synced, "s");
        report.figure("cold start until all was looked at", looked, "s");
        report.goal("cold-start", looked <= 30.0);
    }
    Ok(())
}

/// What groups cost the operator, each.
struct Cost {
    groups: usize,
    cpu: f64,
    requests: f64,
    seconds: f64,
}

async fn add(platform: &Platform, operator: &Operator, groups: &[String], size: usize) -> Result<Cost> {
    let mut log = platform.audit_log()?;
    let (begun, cpu) = (Instant::now(), cpu_seconds(operator)?);
    platform.apply_groups(groups.iter().map(|name| group(name)).collect()).await?;
    platform.wait_until_ready(groups, Duration::from_secs(1800)).await?;
    let seconds = begun.elapsed().as_secs_f64();
    platform.wait_until_still().await?;
    cost(operator, &mut log, cpu, size, seconds)
}

async fn doing_nothing(platform: &Platform, operator: &Operator, groups: usize) -> Result<Cost> {
    let mut log = platform.audit_log()?;
    let cpu = cpu_seconds(operator)?;
    tokio::time::sleep(WATCHED).await;
    let mut cost = cost(operator, &mut log, cpu, groups, WATCHED.as_secs_f64())?;
    let minutes = WATCHED.as_secs_f64() / 60.0;
    cost.cpu /= minutes;
    cost.requests /= minutes;
    Ok(cost)
}

fn cost(operator: &Operator, log: &mut AuditLog, cpu: f64, groups: usize, seconds: f64) -> Result<Cost> {
    let requests = log.of_operator()?.len() as f64 / groups as f64;
    Ok(Cost { groups, cpu: (cpu_seconds(operator)? - cpu) / groups as f64, requests, seconds })
}

/// The worse of the two ratios.
fn compare(what: &str, few: &Cost, many: &Cost, report: &mut Report) -> f64 {
    report.figure(&format!("CPU of {what}, few"), few.cpu * 1000.0, "ms");
    report.figure(&format!("CPU of {what}, many"), many.cpu * 1000.0, "ms");
    report.figure(&format!("requests of {what}, few"), few.requests, "");
    report.figure(&format!("requests of {what}, many"), many.requests, "");
    let ratio = (many.cpu / few.cpu).max(many.requests / few.requests);
    report.figure(&format!("growth of {what}"), ratio, "");
    ratio
}

async fn latency(platform: &Platform, operator: &Operator, groups: &[String], options: &Options, report: &mut Report) -> Result<()> {
    report.note(&format!("changing groups, {} a second", options.rate));
    let before = operator.metrics().await?;
    let mut took = changes::run(platform, groups, options.rate, Duration::from_secs(options.change_seconds)).await?;
    let after = operator.metrics().await?;
    let applied = percentile(&mut took, 0.99);
    let queued = histogram_p99(&before, &after, "tenantry_queue_seconds", &[]);
    report.figure("latency: changes measured", took.len() as f64, "");
    report.figure("latency: p50 to applied", percentile(&mut took, 0.5), "s");
    report.figure("latency: p99 to applied", applied, "s");
    report.figure("latency: p99 of queue time, at most", queued.unwrap_or(f64::NAN), "s");
    report.goal("latency", applied <= 2.0 && queued.is_some_and(|queued| queued <= 0.5));
    Ok(())
}

/// Waits until every group and slot was reconciled at least once since the start.
pub async fn wait_until_looked_at(operator: &Operator, groups: usize, slots: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let metrics = operator.metrics().await?;
        let count = |kind: &str| sum(&metrics, "tenantry_reconciles_total", &[&format!("kind=\"{kind}\"")]) as usize;
        if count("Slot") >= slots && count("ResourceGroup") >= groups {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(300), "{} of {slots} slots were looked at in 5 minutes", count("Slot"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
