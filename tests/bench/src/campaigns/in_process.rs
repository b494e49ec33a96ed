//! `position` and `top100` as a handler asks for them, in this process, which follows the stream as an API process does.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use campaigns::domain::{CampaignId, TopCount, UserId};
use campaigns::live::{LiveLimits, LiveMetrics, LiveStandings};
use tenantry_kit::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use super::layout::TOP;
use super::memory::Kept;
use super::options::{Options, Part};
use super::slot::Slot;
use super::times::Times;
use super::writer::Writer;
use super::{at_least, below, judge};
use crate::report::Report;

const BELOW_SECONDS: f64 = 5e-6;

pub async fn run(slot: &Slot, campaign: CampaignId, kept: &Kept, options: &Options, report: &mut Report) -> Result<()> {
    report.note("asking in process");
    let standings = LiveStandings::new(slot.store.clone(), LiveLimits::of_users(usize::MAX), LiveMetrics::register(&Metrics::new()));
    let shutdown = CancellationToken::new();
    let following = tokio::spawn(standings.run(None, shutdown.clone()));
    let _guard = shutdown.drop_guard();
    let layout = kept.layout;
    let held = loop {
        match standings.of(campaign, None).await {
            Ok(held) => break held,
            Err(error) => ensure!(!following.is_finished(), "{error}"),
        }
    };
    ensure!(held.standings.len() as u64 == layout.users(), "{} users are held", held.standings.len());
    let first_version = held.version;
    drop(held);

    let worker = slot.worker()?;
    let writer =
        Writer::start(kept.api.port, &kept.key, "in-process".to_owned(), options.writes, move |number| (layout.lower(number), 123), |_| {});
    let duration = Duration::from_secs(options.round_seconds * options.rounds as u64);
    let count: TopCount = TOP.to_string().parse()?;
    let asking = tokio::spawn({
        let standings = standings.clone();
        async move {
            let (mut positions, mut tops) = (Times::of_calls(), Times::of_calls());
            let started = Instant::now();
            for number in 0.. {
                let user = layout.any(number);
                let id = UserId::new(i64::try_from(user)?)?;
                let asked = Instant::now();
                let answer = black_box(standings.position(campaign, id, None).await);
                positions.add(asked.elapsed());
                let (_, standing) = answer?;
                let position = standing.context("a user has no standing")?.position;
                ensure!(layout.is_right(user, position), "user {user} at {position}");
                let asked = Instant::now();
                let answer = black_box(standings.top(campaign, count, None).await);
                tops.add(asked.elapsed());
                ensure!(answer?.standings.len() as u64 == TOP, "fewer than {TOP}");
                tokio::task::yield_now().await;
                if started.elapsed() > duration {
                    break;
                }
            }
            Ok::<_, anyhow::Error>((positions, tops))
        }
    });
    let (positions, tops) = asking.await??;
    let written = writer.stop().await?;
    slot.counted().await?;
    drop(worker);
    let versions = standings.of(campaign, None).await?.version - first_version;
    report.figure("in process: changes beside", written, "/s");
    report.figure("in process: versions that they made", versions as f64, "");
    for (part, name, times) in [(Part::Position, "position", positions), (Part::Top100, "top100", tops)] {
        if options.wants(&[part]) {
            let slow = times.percentile(0.99);
            report.figure(&format!("{name} in process: asked"), times.count() as f64, "");
            report.figure(&format!("{name} in process: p50"), times.percentile(0.5) * 1e6, "µs");
            report.figure(&format!("{name} in process: p99"), slow * 1e6, "µs");
            report.figure(&format!("{name} in process: p99.9"), times.percentile(0.999) * 1e6, "µs");
            let conditions = [below(slow, BELOW_SECONDS), at_least(written, 0.95 * options.writes as f64), Some(versions > 0)];
            judge(report, &format!("{name}-in-process"), options.is_goals_campaign(), &conditions);
        }
    }
    Ok(())
}
