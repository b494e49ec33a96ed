//! `position` and `top100` over HTTP, against Valkey. The two take turns; whoever is not asked is stopped, and its writer with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use campaigns::domain::CampaignId;
use memchr::memmem;
use serde_json::Value;
use tenantry_harness::process::Process;

use super::http::{self, Connection, get, number_after};
use super::layout::{Layout, TOP};
use super::load::{self, Load, Questions};
use super::memory::Kept;
use super::options::{Options, Part};
use super::peer::Peer;
use super::slot::Slot;
use super::times::median;
use super::writer::Writer;
use super::{at_least, judge};
use crate::process::cpu_seconds;
use crate::report::Report;

/// A writer writes for so long before anything is asked beside it.
const UNTIL_STEADY: Duration = Duration::from_secs(1);
const RATIO: f64 = 0.67;
/// Of the rate that a writer is to have.
const WRITES_AT_LEAST: f64 = 0.95;

pub async fn run(slot: &Slot, campaign: CampaignId, kept: &Kept, options: &Options, report: &mut Report) -> Result<()> {
    report.note("filling Valkey");
    let peer = Peer::fill(&slot.cache, kept.layout).await?;
    report.circumstance("peer", &format!("{} beside the same writer, without persistence", slot.cache.program().display()));
    let worker = slot.worker()?;
    let asked = Asked { slot, campaign, kept, options, peer: &peer, worker: &worker };
    let processes = [&kept.api.process, &worker];
    for (part, name, peers_name) in [(Part::Position, "position", "ZREVRANK"), (Part::Top100, "top100", "ZREVRANGE 0 99 WITHSCORES")] {
        if !options.wants(&[part]) {
            continue;
        }
        let (mut own, mut others) = (Rounds::default(), Rounds::default());
        for round in 1..=options.rounds {
            report.note(&format!("{name} over HTTP, then Valkey's: turn {round} of {}", options.rounds));
            own.add(asked.own(part, round, report).await?);
            for process in processes {
                process.signal("STOP")?;
            }
            let turn = asked.peers(part).await;
            for process in processes {
                process.signal("CONT")?;
            }
            others.add(turn?);
        }
        compare(name, peers_name, &own, &others, options, report);
    }
    Ok(())
}

struct Asked<'a> {
    slot: &'a Slot,
    campaign: CampaignId,
    kept: &'a Kept,
    options: &'a Options,
    peer: &'a Peer<'a>,
    worker: &'a Process,
}

impl Asked<'_> {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.options.round_seconds)
    }

    async fn own(&self, part: Part, round: usize, report: &Report) -> Result<Turn> {
        let (kept, layout) = (self.kept, self.kept.layout);
        let run = format!("{part:?}-{round}");
        let writer = Writer::start(kept.api.port, &kept.key, run, self.options.writes, move |number| (layout.lower(number), 123), |_| {});
        tokio::time::sleep(UNTIL_STEADY).await;
        let address = SocketAddr::from(([127, 0, 0, 1], kept.api.port));
        let used = || -> Result<[f64; 3]> {
            Ok([cpu_seconds(kept.api.process.id())?, cpu_seconds(self.worker.id())?, cpu_seconds(std::process::id())?])
        };
        let before = used()?;
        let load = match part {
            Part::Top100 => {
                let expected = top(self.campaign, kept).await?;
                let path = format!("/records/top/{TOP}/{}", self.campaign);
                let request = get(&path, None);
                load::run(address, self.options.connections, self.duration(), |_| Tops {
                    request: request.clone(),
                    expected: Arc::clone(&expected),
                })
                .await?
            }
            _ => {
                let ask = |connection: usize| Positions {
                    layout,
                    prefix: format!("GET /records/position/{}/", self.campaign),
                    suffix: get("", Some(&kept.key)).trim_start_matches("GET ").to_owned(),
                    user: 0,
                    next: (connection as u64) << 32,
                };
                load::run(address, self.options.connections, self.duration(), ask).await?
            }
        };
        let seconds = self.duration().as_secs_f64();
        let share: Vec<String> =
            used()?.iter().zip(before).map(|(after, before)| format!("{:.0} %", 100.0 * (after - before) / seconds)).collect();
        report.note(&format!("  {:.0}/s; of a core: API {}, worker {}, generator {}", load.rate, share[0], share[1], share[2]));
        let written = writer.stop().await?;
        self.slot.counted().await?;
        Ok(Turn { load, written })
    }

    async fn peers(&self, part: Part) -> Result<Turn> {
        let writer = self.peer.start_writer(self.options.writes).await?;
        tokio::time::sleep(UNTIL_STEADY).await;
        let address = self.peer.address()?;
        let load = match part {
            Part::Top100 => load::run(address, self.options.connections, self.duration(), |_| self.peer.tops()).await?,
            _ => load::run(address, self.options.connections, self.duration(), |connection| self.peer.positions(connection)).await?,
        };
        Ok(Turn { load, written: writer.stop().await? })
    }
}

/// One turn: what was answered, and how many totals a second changed beside.
struct Turn {
    load: Load,
    written: f64,
}

#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    medians: Vec<f64>,
    slow: Vec<f64>,
    written: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, turn: Turn) {
        self.rates.push(turn.load.rate);
        self.medians.push(turn.load.times.percentile(0.5));
        self.slow.push(turn.load.times.percentile(0.99));
        self.written.push(turn.written);
    }

    fn show(&self, name: &str, report: &mut Report) {
        report.figure(&format!("{name}: rate"), median(&self.rates), "/s");
        report.figure(&format!("{name}: p50"), median(&self.medians) * 1e3, "ms");
        report.figure(&format!("{name}: p99"), median(&self.slow) * 1e3, "ms");
        report.figure(&format!("{name}: changes beside"), median(&self.written), "/s");
    }
}

fn compare(name: &str, peers_name: &str, own: &Rounds, others: &Rounds, options: &Options, report: &mut Report) {
    own.show(&format!("{name} over HTTP"), report);
    others.show(peers_name, report);
    // Of turns that follow each other, so that a machine that is slower for a while is so for both.
    let ratio = |of: &[f64], over: &[f64]| median(&of.iter().zip(over).map(|(of, over)| of / over).collect::<Vec<_>>());
    let rate = ratio(&own.rates, &others.rates);
    let p50 = ratio(&others.medians, &own.medians);
    report.figure(&format!("{name} over HTTP: ratio of rates"), rate, "");
    report.figure(&format!("{name} over HTTP: ratio of p50"), p50, "");
    let wrote = |rounds: &Rounds| at_least(median(&rounds.written), WRITES_AT_LEAST * options.writes as f64);
    let conditions = [at_least(rate, RATIO), at_least(p50, RATIO), wrote(own), wrote(others)];
    judge(report, &format!("{name}-over-http"), options.is_goals_campaign(), &conditions);
}

/// Asks where users stand, by chance.
struct Positions {
    layout: Layout,
    prefix: String,
    suffix: String,
    user: u64,
    next: u64,
}

impl Questions for Positions {
    fn ask(&mut self, request: &mut Vec<u8>) {
        self.next += 1;
        self.user = self.layout.any(self.next);
        request.extend_from_slice(self.prefix.as_bytes());
        request.extend_from_slice(self.user.to_string().as_bytes());
        request.extend_from_slice(self.suffix.as_bytes());
    }

    fn answers(&self, received: &[u8]) -> Result<bool> {
        let Some(whole) = http::whole(received)? else { return Ok(false) };
        let body = &received[whole.body..whole.end];
        let told = || String::from_utf8_lossy(body).into_owned();
        ensure!(whole.status == 200, "{}: {}", whole.status, told());
        let position = number_after(body, br#""position":"#).with_context(told)?;
        let user = number_after(body, br#""userId":""#).with_context(told)?;
        ensure!(user == self.user && self.layout.is_right(user, position), "user {} was asked for: {}", self.user, told());
        Ok(true)
    }
}

/// Asks for the first hundred.
struct Tops {
    request: String,
    /// What the answer ends with, which no purchase changes.
    expected: Arc<[u8]>,
}

impl Questions for Tops {
    fn ask(&mut self, request: &mut Vec<u8>) {
        request.extend_from_slice(self.request.as_bytes());
    }

    fn answers(&self, received: &[u8]) -> Result<bool> {
        let Some(whole) = http::whole(received)? else { return Ok(false) };
        ensure!(whole.status == 200, "{}", whole.status);
        ensure!(received[..whole.end].ends_with(&self.expected), "the first have changed");
        Ok(true)
    }
}

/// The answer's records as they are written, having looked at every value of them.
async fn top(campaign: CampaignId, kept: &Kept) -> Result<Arc<[u8]>> {
    let mut connection = Connection::open(kept.api.port).await?;
    let (status, body) = connection.exchange(&get(&format!("/records/top/{TOP}/{campaign}"), None)).await?;
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(body));
    let value: Value = serde_json::from_slice(body)?;
    let records = &value["records"];
    let layout = kept.layout;
    ensure!(records["users"] == layout.users(), "{} users", records["users"]);
    let positions = records["positions"].as_array().context("no positions")?;
    ensure!(positions.len() as u64 == TOP, "{} positions", positions.len());
    for ((position, user), place) in positions.iter().zip(layout.first()).zip(0..) {
        let cents = layout.cents(place);
        let expected = serde_json::json!({
            "userId": user.to_string(), "position": place, "rank": place + 1,
            "total": { "value": format!("{}.{:02}", cents / 100, cents % 100), "currency": "EUR" },
        });
        ensure!(*position == expected, "{position} instead of {expected}");
    }
    let name = br#""records":"#;
    let from = memmem::find(body, name).context("no records")?;
    Ok(body[from..].into())
}
