//! What came of campaigns that have ended.

use std::fmt;
use std::str::FromStr;

use tenantry_kit::id;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::{CampaignId, CatalogueEntry, UserId};

/// A campaign that has ended, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedCampaign {
    /// The campaign.
    pub entry: CatalogueEntry,
    /// What came of it so far: purchases that are accepted late may still count.
    pub outcome: Outcome,
}

impl EndedCampaign {
    /// Its place in the history.
    #[must_use]
    pub fn key(&self) -> HistoryKey {
        HistoryKey { ended_at: self.entry.ends_at(), id: self.entry.campaign.id.get() }
    }
}

/// The sums of a campaign's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How many users have a purchase that counts.
    pub participants: u64,
    /// What all of them have spent, in the campaign's currency.
    pub total: Money,
    /// Who stands first; `None` without participants.
    pub leader: Option<Leader>,
}

/// Who stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The user.
    pub user_id: UserId,
    /// What the user has spent.
    pub total: Money,
}

/// A place in the history, which begins with what ended last: the time of the end, then the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryKey {
    /// When the campaign ended.
    pub ended_at: UtcDateTime,
    /// The campaign's id.
    pub id: i64,
}

/// A text that is no place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`after` is what an answer gave as `next`, as it came")]
pub struct HistoryKeyError;

impl HistoryKey {
    /// The place before everything that has ended by `now`.
    #[must_use]
    pub fn newest(now: UtcDateTime) -> Self {
        Self { ended_at: now, id: i64::MAX }
    }
}

impl fmt::Display for HistoryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.ended_at.unix_micros(), self.id)
    }
}

impl FromStr for HistoryKey {
    type Err = HistoryKeyError;

    fn from_str(text: &str) -> Result<Self, HistoryKeyError> {
        let (time, campaign) = text.rsplit_once('-').ok_or(HistoryKeyError)?;
        let micros = time.parse().map_err(|_| HistoryKeyError)?;
        let ended_at = UtcDateTime::from_unix_micros(micros).map_err(|_| HistoryKeyError)?;
        let id = id::parse(campaign).and_then(CampaignId::new).map_err(|_| HistoryKeyError)?;
        Ok(Self { ended_at, id: id.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_history_is_read_as_it_is_written() {
        for micros in [1_763_814_600_123_456, -5] {
            let key = HistoryKey { ended_at: UtcDateTime::from_unix_micros(micros).unwrap(), id: 42 };
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for text in ["", "1", "-", "1-", "1-0", "x-1", "1--1", "99999999999999999999-1"] {
            assert_eq!(text.parse::<HistoryKey>(), Err(HistoryKeyError), "{text}");
        }
    }
}
