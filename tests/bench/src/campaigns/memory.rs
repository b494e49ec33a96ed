//! `memory` and `rebuild`: what an API process takes that holds a large campaign, also while totals change, and how long it takes until it answers.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use campaigns::domain::CampaignId;

use super::http::{Connection, get};
use super::layout::Layout;
use super::options::{Options, Part};
use super::slot::{Api, Slot};
use super::writer::Writer;
use super::{at_least, below, judge};
use crate::process::resident_mib;
use crate::report::Report;

const SAMPLES: Duration = Duration::from_millis(100);
const MEGABYTES: f64 = 100.0;
const REBUILD_SECONDS: f64 = 10.0;
/// Positions that are asked for meanwhile, for each sample: others hold versions too.
const ASKED: u64 = 20;

/// What other parts go on with: the campaign is filled, and held by an API process.
pub struct Kept {
    pub layout: Layout,
    pub api: Api,
    /// An API key that may do what the bench does.
    pub key: String,
}

pub async fn run(slot: &Slot, campaign: CampaignId, options: &Options, report: &mut Report) -> Result<Kept> {
    let layout = Layout::new(options.users)?;
    let empty = slot.api().await?;
    let key = slot.key(&empty, &["purchases:write", "records:read:all"]).await?;
    let (without, _) = resident_mb(&empty)?;
    empty.process.kill()?;

    report.note(&format!("filling the campaign with {} users", options.users));
    let mut session = slot.session().await?;
    sqlx::query(sqlx::AssertSqlSafe(layout.statement())).bind(campaign.get()).execute(&mut session).await?;
    slot.settle().await?;
    let api = slot.api().await?;
    let kept = Kept { layout, api, key };
    let held = position(&kept, campaign, 1).await?;
    ensure!(held == layout.place(1), "user 1 stands at {held}");
    if options.wants(&[Part::Rebuild]) {
        let seconds = kept.api.ready.as_secs_f64();
        report.figure("rebuild: from the start of the process until it is ready", seconds, "s");
        judge(report, "rebuild", options.is_goals_campaign(), &[below(seconds, REBUILD_SECONDS)]);
    }
    if options.wants(&[Part::Memory]) {
        memory(slot, campaign, &kept, without, options, report).await?;
    }
    Ok(kept)
}

/// In 10^6 bytes: now, and the most it ever was.
fn resident_mb(api: &Api) -> Result<(f64, f64)> {
    let (now, most) = resident_mib(api.process.id())?;
    let mb = |mib: f64| mib * 1024.0 * 1024.0 / 1e6;
    Ok((mb(now), mb(most)))
}

async fn position(kept: &Kept, campaign: CampaignId, user: u64) -> Result<u64> {
    let mut connection = Connection::open(kept.api.port).await?;
    let answer = connection.json(&get(&format!("/records/position/{campaign}/{user}"), Some(&kept.key)), 200).await?;
    Ok(answer["record"]["position"].as_u64().unwrap_or(u64::MAX))
}

async fn memory(slot: &Slot, campaign: CampaignId, kept: &Kept, without: f64, options: &Options, report: &mut Report) -> Result<()> {
    let (read, most_read) = resident_mb(&kept.api)?;
    report.figure("memory: the process without a campaign", without, "MB");
    report.figure("memory: when the campaign has been read", read, "MB");
    report.figure("memory: the most until then", most_read, "MB");
    report.note(&format!("totals change, {} a second", options.memory_writes));
    let worker = slot.worker()?;
    let layout = kept.layout;
    let writer = Writer::start(
        kept.api.port,
        &kept.key,
        "memory".to_owned(),
        options.memory_writes,
        move |number| (layout.lower(number), 123),
        |_| {},
    );
    let started = Instant::now();
    let (mut most, mut asked) = (read, 0);
    let mut connection = Connection::open(kept.api.port).await?;
    while started.elapsed() < Duration::from_secs(options.memory_seconds) {
        for number in asked..asked + ASKED {
            let user = layout.any(number);
            connection.json(&get(&format!("/records/position/{campaign}/{user}"), Some(&kept.key)), 200).await?;
        }
        asked += ASKED;
        most = most.max(resident_mb(&kept.api)?.0);
        tokio::time::sleep(SAMPLES).await;
    }
    let written = writer.stop().await?;
    slot.counted().await?;
    most = most.max(resident_mb(&kept.api)?.0);
    let per_million = (most - without) * 1e6 / options.users as f64;
    report.figure("memory: changes", written, "/s");
    report.figure("memory: the most while totals changed", most, "MB");
    report.figure("memory: of a million users, while totals change", per_million, "MB");
    drop(worker);
    // The rate is what the machine can do beside; that totals changed at all is what matters.
    judge(report, "memory", options.is_goals_campaign(), &[below(per_million, MEGABYTES), at_least(written, 1000.0)]);
    Ok(())
}
