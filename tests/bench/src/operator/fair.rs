//! `fair`: groups that fail in different ways, and what the others notice of it.

use std::time::Duration;

use anyhow::Result;
use kube::Api;
use serde_json::{Value, json};
use tenantry_crds::ResourceGroup;

use crate::operator::changes;
use crate::operator::fake_postgres::{Behaviour, FakePostgres};
use crate::operator::options::Options;
use crate::operator::platform::{CLASS, MISSING_RELEASE, Platform, RELEASE, group_of, names};
use crate::process::percentile;
use crate::report::Report;

/// Half the rate of `latency`: so many changes beside a crowd of failing groups.
const RATE_PART: u64 = 2;
/// Until the failing groups fail: connections to a hanging server have timed out.
const UNTIL_FAILING: Duration = Duration::from_secs(15);

pub async fn run(platform: &Platform, groups: &[String], options: &Options, report: &mut Report) -> Result<()> {
    let healthy = &groups[..groups.len().saturating_sub(options.failing).max(1)];
    let rate = (options.rate / RATE_PART).max(1);
    let duration = Duration::from_secs(options.change_seconds);
    report.note("changing healthy groups");
    let mut alone = changes::run(platform, healthy, rate, duration).await?;
    let failing = fail(platform, options.failing).await?;
    tokio::time::sleep(UNTIL_FAILING).await;
    report.note(&format!("changing healthy groups beside {} that fail", options.failing));
    let mut beside = changes::run(platform, healthy, rate, duration).await?;
    let (alone_p99, beside_p99) = (percentile(&mut alone, 0.99), percentile(&mut beside, 0.99));
    report.figure("fair: changes measured", (alone.len() + beside.len()) as f64, "");
    report.figure("fair: p50 to applied without failing groups", percentile(&mut alone, 0.5), "s");
    report.figure("fair: p50 to applied beside failing groups", percentile(&mut beside, 0.5), "s");
    report.figure("fair: p99 to applied without failing groups", alone_p99, "s");
    report.figure("fair: p99 to applied beside failing groups", beside_p99, "s");
    report.figure("fair: ratio of p99", beside_p99 / alone_p99, "");
    report.goal("fair", beside_p99 <= 1.2 * alone_p99);
    let api: Api<ResourceGroup> = Api::all(platform.client.clone());
    for name in failing {
        api.delete(&name, &kube::api::DeleteParams::default()).await?;
    }
    Ok(())
}

/// Makes groups that fail in four ways, as many of each.
async fn fail(platform: &Platform, count: usize) -> Result<Vec<String>> {
    let full = FakePostgres::start(Behaviour::Full).await?;
    let hanging = FakePostgres::start(Behaviour::Hangs).await?;
    platform.offer_class("full", full.port()).await?;
    platform.offer_class("hanging", hanging.port()).await?;
    platform.offer_missing_image().await?;
    let names = names("fails", 0..count);
    let ways: [fn(&str) -> Value; 4] = [
        |name| group_of(name, CLASS, MISSING_RELEASE),
        |name| {
            let mut wrong = group_of(name, CLASS, RELEASE);
            wrong["spec"]["services"]["ledger"]["settings"] = json!({ "noSuchSetting": true });
            wrong
        },
        |name| group_of(name, "full", RELEASE),
        |name| group_of(name, "hanging", RELEASE),
    ];
    let groups = names.iter().zip(ways.iter().cycle()).map(|(name, way)| way(name)).collect();
    platform.apply_groups(groups).await?;
    Ok(names)
}
