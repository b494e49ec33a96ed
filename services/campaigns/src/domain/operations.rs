//! How the service is doing, as who runs it wants to know; and what of it needs somebody, in plain words.
//!
//! The limits are those of the alerts in `charts/tenantry/files/alerts-campaigns.yaml`, without the time that an alert waits.

use std::time::Duration;

use tenantry_kit::queue::DeadLetterReason;
use tenantry_kit::stream::PartitionLag;
use tenantry_kit::time::UtcDateTime;

use super::CampaignId;
use super::payment::UnpaidPrizes;
use super::rates::RateGap;

/// A stage is late when its oldest event has waited longer.
const STAGE_LIMIT: Duration = Duration::from_secs(60);
/// Starts and ends are promised within a second.
const ANNOUNCEMENT_LIMIT: Duration = Duration::from_secs(10);
/// A campaign for which nothing is missing is completed within seconds.
const COMPLETION_LIMIT: Duration = Duration::from_secs(300);
/// How many rates are named in a sentence.
const NAMED_RATES: usize = 5;

/// What waits, and for how long the first of it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many, as far as it is counted.
    pub count: u64,
    /// For how long the oldest has waited.
    pub oldest: Duration,
}

/// What a campaign is not completed without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitsFor {
    /// Its end is not announced.
    Announcement,
    /// Purchases of it wait for an exchange rate.
    Rates,
    /// Nothing that can be seen here: purchases that came in time are still being counted, or it is completed at any moment.
    Counting,
}

impl WaitsFor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Announcement, Self::Rates, Self::Counting];

    /// In a word, for metrics and machines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Announcement => "announcement",
            Self::Rates => "rates",
            Self::Counting => "counting",
        }
    }

    /// In plain words.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Announcement => "its end has not been announced: a worker does that",
            Self::Rates => "purchases of it wait for exchange rates: put them with PUT /rates",
            Self::Counting => "purchases that came in time are being counted: a worker does that",
        }
    }
}

/// A campaign whose end and grace are over, and which is not completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwaitingCompletion {
    /// Which one.
    pub id: CampaignId,
    /// When it ended.
    pub ended_at: UtcDateTime,
    /// For how long it could have been completed by its times alone.
    pub waiting: Duration,
    /// What is missing.
    pub waits_for: WaitsFor,
}

/// A campaign that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningCampaign {
    /// Which one.
    pub id: CampaignId,
    /// When it ends.
    pub ends_at: UtcDateTime,
}

/// How the service is doing, as the database says. What is counted is counted as far as a limit, so that asking costs little however much waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Operations {
    /// When, by the database's clock.
    pub as_of: UtcDateTime,
    /// What the last migration recorded, if one has.
    pub schema_version: Option<i32>,
    /// How far each stage is behind, by partition.
    pub lags: Vec<PartitionLag>,
    /// Starts and ends whose time has come, and which are not announced.
    pub unannounced: Backlog,
    /// How many campaigns run.
    pub running: u64,
    /// Those of them that end first.
    pub next_ends: Vec<RunningCampaign>,
    /// Campaigns that could be completed by their times, the longest first.
    pub awaiting_completion: Vec<AwaitingCompletion>,
    /// Purchases that wait for an exchange rate.
    pub parked: Backlog,
    /// The rates that they wait for.
    pub rate_gaps: Vec<RateGap>,
    /// How many purchases do not count, by reason.
    pub dead_letters: Vec<(DeadLetterReason, u64)>,
    /// Prizes that are not paid.
    pub unpaid: UnpaidPrizes,
}

/// How far a stage is behind.
#[derive(Debug, Clone, PartialEq)]
pub struct StageLag {
    /// The stage, which is the name of its consumer group.
    pub stage: String,
    /// What it reads.
    pub topic: String,
    /// Events that it has not processed.
    pub events: u64,
    /// For how long the oldest of them has been there.
    pub oldest: Duration,
    /// How many of its partitions have any.
    pub partitions_behind: usize,
    /// How many partitions there are.
    pub partitions: usize,
}

impl Operations {
    /// How far each stage is behind, over all partitions.
    #[must_use]
    pub fn stages(&self) -> Vec<StageLag> {
        let mut stages: Vec<StageLag> = Vec::new();
        for PartitionLag { topic, consumer_group, events, oldest_seconds, .. } in &self.lags {
            let is_same = |stage: &StageLag| stage.stage == *consumer_group && stage.topic == *topic;
            if !stages.last().is_some_and(is_same) {
                let (stage, topic) = (consumer_group.clone(), topic.clone());
                stages.push(StageLag { stage, topic, events: 0, oldest: Duration::ZERO, partitions_behind: 0, partitions: 0 });
            }
            let Some(stage) = stages.last_mut() else { continue };
            stage.partitions += 1;
            stage.partitions_behind += usize::from(*events > 0);
            stage.events += events.unsigned_abs();
            stage.oldest = stage.oldest.max(Duration::try_from_secs_f64(*oldest_seconds).unwrap_or_default());
        }
        stages
    }

    /// What needs somebody, in plain words; empty when all is well.
    #[must_use]
    pub fn attention(&self) -> Vec<String> {
        let mut attention = Vec::new();
        for StageLag { stage, events, oldest, .. } in self.stages().into_iter().filter(|stage| stage.oldest > STAGE_LIMIT) {
            let oldest = in_words(oldest);
            attention.push(format!(
                "The stage {stage} is behind: {events} events wait, the oldest for {oldest}. See whether a worker runs, and what it logs."
            ));
        }
        if self.unannounced.oldest > ANNOUNCEMENT_LIMIT {
            let Backlog { count, oldest } = self.unannounced;
            let oldest = in_words(oldest);
            attention.push(format!(
                "Starts and ends of campaigns are not announced: {count} are due, the first for {oldest}. See whether a worker runs, and what it logs."
            ));
        }
        if self.parked.count > 0 {
            attention.push(self.parked_in_words());
        }
        for waits_for in WaitsFor::ALL {
            let late = |campaign: &&AwaitingCompletion| campaign.waits_for == waits_for && campaign.waiting > COMPLETION_LIMIT;
            let late: Vec<&AwaitingCompletion> = self.awaiting_completion.iter().filter(late).collect();
            let Some(longest) = late.first() else { continue };
            attention.push(format!(
                "Campaigns are over and have no winner yet: {}, campaign {} for {}; {}.",
                late.len(),
                longest.id,
                in_words(longest.waiting),
                waits_for.sentence()
            ));
        }
        if self.unpaid.dead > 0 {
            attention.push(format!(
                "{} prizes are not paid and tried no more: GET /payments/dead-letters says why; have them tried again once that is mended.",
                self.unpaid.dead
            ));
        }
        attention
    }

    fn parked_in_words(&self) -> String {
        let Backlog { count, oldest } = self.parked;
        let named = self.rate_gaps.iter().take(NAMED_RATES).map(|gap| format!("{} of {}", gap.key.currency, gap.key.date));
        let mut named = named.collect::<Vec<_>>().join(", ");
        match self.rate_gaps.len() {
            0 => return format!("{count} purchases had no exchange rate and have one now: a worker counts them."),
            more if more > NAMED_RATES => named += &format!(" and {} more", more - NAMED_RATES),
            _ => {}
        }
        format!("{count} purchases wait for an exchange rate, the first for {}: put {named}, with PUT /rates.", in_words(oldest))
    }
}

/// A duration as people say it, in one unit or two.
#[must_use]
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rates::RateKey;

    fn at(seconds: i64) -> UtcDateTime {
        UtcDateTime::from_unix_micros(seconds * 1_000_000).unwrap()
    }

    fn lag(group: &str, partition: i32, events: i64, oldest_seconds: f64) -> PartitionLag {
        PartitionLag { topic: format!("{group}_events"), consumer_group: group.to_owned(), partition, events, oldest_seconds }
    }

    fn well() -> Operations {
        Operations {
            as_of: at(1_000_000),
            schema_version: Some(13),
            lags: vec![lag("qualification", 0, 0, 0.0), lag("qualification", 1, 5, 0.2), lag("results", 0, 7, 1.5)],
            unannounced: Backlog { count: 1, oldest: Duration::from_millis(300) },
            running: 1,
            next_ends: vec![],
            awaiting_completion: vec![],
            parked: Backlog::default(),
            rate_gaps: vec![],
            dead_letters: vec![],
            unpaid: UnpaidPrizes { held: 3, waiting: 2, dead: 0 },
        }
    }

    fn awaiting(id: i64, seconds: u64, waits_for: WaitsFor) -> AwaitingCompletion {
        AwaitingCompletion { id: CampaignId::new(id).unwrap(), ended_at: at(0), waiting: Duration::from_secs(seconds), waits_for }
    }

    #[test]
    fn a_service_that_keeps_up_needs_nobody() {
        assert_eq!(well().attention(), [] as [&str; 0]);
        let seconds = Operations { awaiting_completion: vec![awaiting(7, 20, WaitsFor::Counting)], ..well() };
        assert_eq!(seconds.attention(), [] as [&str; 0]);
    }

    #[test]
    fn a_stage_is_the_sum_of_its_partitions_and_as_late_as_the_latest() {
        let stages =
            Operations { lags: vec![lag("a", 0, 5, 3.0), lag("a", 1, 0, 0.0), lag("a", 2, 2, 8.0), lag("b", 0, 0, 0.0)], ..well() }
                .stages();
        let shown: Vec<_> =
            stages.iter().map(|s| (s.stage.as_str(), s.events, s.oldest.as_secs(), s.partitions_behind, s.partitions)).collect();
        assert_eq!(shown, [("a", 7, 8, 2, 3), ("b", 0, 0, 0, 1)]);
    }

    #[test]
    fn each_trouble_is_said_once_with_what_to_do() {
        let gap = |day: &str| RateGap { key: RateKey { currency: "USD".parse().unwrap(), date: day.parse().unwrap() }, purchases: 3 };
        let troubled = Operations {
            lags: vec![lag("results", 0, 9, 200.0), lag("results", 1, 1, 90.0)],
            unannounced: Backlog { count: 2, oldest: Duration::from_secs(30) },
            parked: Backlog { count: 3, oldest: Duration::from_secs(7300) },
            rate_gaps: (1..=7).map(|day| gap(&format!("2026-01-0{day}"))).collect(),
            awaiting_completion: vec![
                awaiting(7, 100_000, WaitsFor::Rates),
                awaiting(8, 4000, WaitsFor::Rates),
                awaiting(9, 400, WaitsFor::Counting),
            ],
            unpaid: UnpaidPrizes { held: 0, waiting: 0, dead: 4 },
            ..well()
        };
        let attention = troubled.attention();
        let has = |words: &[&str]| attention.iter().any(|sentence| words.iter().all(|word| sentence.contains(word)));
        assert!(has(&["results is behind: 10 events", "3 min 20 s"]), "{attention:#?}");
        assert!(has(&["not announced: 2", "30 s"]), "{attention:#?}");
        assert!(has(&["3 purchases wait", "2 h 1 min", "USD of 2026-01-01", "2026-01-05 and 2 more", "PUT /rates"]), "{attention:#?}");
        assert!(has(&["no winner yet: 2, campaign 7 for 1 d 3 h", "exchange rates"]), "{attention:#?}");
        assert!(has(&["no winner yet: 1, campaign 9"]), "{attention:#?}");
        assert!(has(&["4 prizes", "/payments/dead-letters"]), "{attention:#?}");
        assert_eq!(attention.len(), 6, "{attention:#?}");
    }

    #[test]
    fn purchases_whose_rate_has_come_are_for_a_worker_to_count() {
        let released = Operations { parked: Backlog { count: 3, oldest: Duration::from_secs(60) }, ..well() };
        assert!(released.attention()[0].contains("have one now"), "{:?}", released.attention());
    }
}
