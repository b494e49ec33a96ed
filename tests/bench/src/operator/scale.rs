//! `memory`, `cold-start`, `latency` and `growth`: many groups.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::ListParams;
use tenantry_harness::operator::Operator;

use crate::operator::audit::AuditLog;
use crate::operator::changes;
use crate::operator::options::{Figure, Options};
use crate::operator::platform::{Platform, SLOTS, group, names};
use crate::process::{cpu_seconds, histogram_p99, percentile, resident_mib, sum};
use crate::report::Report;

const PREFIX: &str = "bench";
/// How long the cost of doing nothing is watched: twice the minute after which Secrets are looked at again.
const WATCHED: Duration = Duration::from_secs(120);
/// Jobs of migrations stay for five minutes after their end.
const JOBS_STAY: Duration = Duration::from_secs(600);

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let platform = Platform::start(&options.operator).await?;
    let operator = platform.start_operator().await?;
    let all = names(PREFIX, 0..options.many);
    let many = options.many;
    if options.wants(&[Figure::Growth]) {
        growth(&platform, &operator, &all, options.few.min(many / 2), report).await?;
    } else {
        add(&platform, &operator, &all, &Cost::NOTHING, report).await?;
    }
    if options.wants(&[Figure::Latency]) {
        latency(&platform, &operator, &all, options, report).await?;
    }
    platform.wait_until_still().await?;
    let (resident, peak) = resident_mib(operator.id())?;
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
    let (resident_again, peak_again) = resident_mib(operator.id())?;
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

/// The first and the last groups are as many, so that only what is there already differs.
async fn growth(platform: &Platform, operator: &Operator, all: &[String], few: usize, report: &mut Report) -> Result<()> {
    let (first, others) = all.split_at(few);
    let (others, last) = others.split_at(others.len() - few);
    let first = add(platform, operator, first, &Cost::NOTHING, report).await?;
    let rest_of_few = at_rest(platform, operator, few, report).await?;
    add(platform, operator, others, &rest_of_few, report).await?;
    let rest_of_many = at_rest(platform, operator, few + others.len(), report).await?;
    let last = add(platform, operator, last, &rest_of_many, report).await?;
    let added = compare("a group that is added", &first, &last, report);
    let resting = compare("a group at rest", &rest_of_few, &rest_of_many, report);
    report.goal("growth", added.max(resting) <= 1.2);
    Ok(())
}

/// What groups cost the operator, all of them together.
struct Cost {
    groups: usize,
    cpu: f64,
    requests: f64,
    seconds: f64,
}

impl Cost {
    const NOTHING: Self = Self { groups: 0, cpu: 0.0, requests: 0.0, seconds: 1.0 };

    /// Without what others at rest have cost meanwhile.
    fn beside(self, rest: &Self) -> Self {
        let share = self.seconds / rest.seconds;
        Self { cpu: self.cpu - rest.cpu * share, requests: self.requests - rest.requests * share, ..self }
    }
}

async fn add(platform: &Platform, operator: &Operator, groups: &[String], others: &Cost, report: &Report) -> Result<Cost> {
    report.note(&format!("applying {} groups beside {}", groups.len(), others.groups));
    let watch = Watch::begin(platform, operator)?;
    platform.apply_groups(groups.iter().map(|name| group(name)).collect()).await?;
    platform.wait_until_ready(groups, Duration::from_secs(1800)).await?;
    let ready = watch.begun.elapsed().as_secs_f64();
    platform.wait_until_still().await?;
    let cost = watch.end(operator, groups.len())?.beside(others);
    report.note(&format!("  all Ready after {ready:.0} s"));
    Ok(cost)
}

/// Begins when the last Job has gone, whose end wakes a slot.
async fn at_rest(platform: &Platform, operator: &Operator, groups: usize, report: &Report) -> Result<Cost> {
    report.note(&format!("watching {groups} groups at rest, once their Jobs are gone"));
    let begun = Instant::now();
    let jobs: Api<Job> = Api::all(platform.client.clone());
    while !jobs.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
        ensure!(begun.elapsed() < JOBS_STAY, "there are still Jobs after {JOBS_STAY:?}");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    platform.wait_until_still().await?;
    let watch = Watch::begin(platform, operator)?;
    tokio::time::sleep(WATCHED).await;
    watch.end(operator, groups)
}

/// What the operator has used since a moment.
struct Watch {
    log: AuditLog,
    begun: Instant,
    cpu: f64,
}

impl Watch {
    fn begin(platform: &Platform, operator: &Operator) -> Result<Self> {
        Ok(Self { log: platform.audit_log()?, begun: Instant::now(), cpu: cpu_seconds(operator.id())? })
    }

    fn end(mut self, operator: &Operator, groups: usize) -> Result<Cost> {
        let seconds = self.begun.elapsed().as_secs_f64();
        Ok(Cost { groups, cpu: cpu_seconds(operator.id())? - self.cpu, requests: self.log.of_operator()?.len() as f64, seconds })
    }
}

/// The worse of the two ratios, each a group.
fn compare(what: &str, few: &Cost, many: &Cost, report: &mut Report) -> f64 {
    let cpu = |cost: &Cost| cost.cpu / cost.groups as f64;
    let requests = |cost: &Cost| cost.requests / cost.groups as f64;
    let (cpu_few, cpu_many, requests_few, requests_many) = (cpu(few), cpu(many), requests(few), requests(many));
    report.figure(&format!("CPU of {what}, few"), cpu_few * 1000.0, "ms");
    report.figure(&format!("CPU of {what}, many"), cpu_many * 1000.0, "ms");
    report.figure(&format!("requests of {what}, few"), requests_few, "");
    report.figure(&format!("requests of {what}, many"), requests_many, "");
    let ratio = (cpu_many / cpu_few).max(requests_many / requests_few);
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
