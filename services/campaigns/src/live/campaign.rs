//! One campaign that is held: its current version, and the events that wait while it is read from the database.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::watch;

use super::Top;
use crate::domain::{CampaignId, Standings, TopCount, Total};
use crate::store::events::ResultsCalculationUpdateEvent;

/// The most changes that wait for one campaign while it is read: about 40 bytes each. Beyond, it is read again instead.
const PENDING_CHANGES: usize = 500_000;

/// The standings of a campaign at one version.
#[derive(Debug)]
pub struct Version {
    /// Grows with each change of the campaign's totals.
    pub version: i64,
    /// Who stands where.
    pub standings: Standings,
    /// The first so many as they were written last, for the next who asks for as many.
    written: Mutex<Option<(TopCount, Arc<RawValue>)>>,
}

/// An event is missing, or does not say what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap;

impl Version {
    pub(super) fn new(version: i64, standings: Standings) -> Self {
        Self { version, standings, written: Mutex::new(None) }
    }

    /// The first `count` of this version.
    pub(super) fn top(&self, count: TopCount) -> Top {
        Top { version: self.version, users: self.standings.len() as u64, standings: self.standings.first(count.get().into()) }
    }

    /// [`Self::top`] as `write` writes it, or has written it before: it must write the same each time.
    pub(super) fn written_top<E>(&self, count: TopCount, write: impl FnOnce(&Top) -> Result<Arc<RawValue>, E>) -> Result<Arc<RawValue>, E> {
        // Who comes meanwhile waits for some microseconds, and does not write the same once more.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, json)) = written.as_ref().filter(|(of, _)| *of == count) {
            return Ok(Arc::clone(json));
        }
        let json = write(&self.top(count))?;
        *written = Some((count, Arc::clone(&json)));
        Ok(json)
    }

    /// This version with the updates that it has not yet; `None` if it has them all.
    fn after(&self, updates: &[ResultsCalculationUpdateEvent]) -> Result<Option<Self>, Gap> {
        let mut next = Self::new(self.version, self.standings.clone());
        for update in updates {
            if update.version <= next.version {
                continue;
            }
            let changes = update.changes.as_ref().filter(|_| update.version == next.version + 1).ok_or(Gap)?;
            for change in changes {
                next.standings.set(&Total::from(*change)).map_err(|_| Gap)?;
            }
            next.version = update.version;
        }
        Ok((next.version > self.version).then_some(next))
    }
}

#[derive(Debug, Clone)]
pub(super) enum State {
    /// For the first time.
    BeingRead,
    /// Held.
    Live(Arc<Version>),
    /// Not held any more.
    Gone(Gone),
}

/// Why a campaign is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// There is none.
    Unknown,
    /// The database did not give it.
    Unreadable,
    /// Nobody asked for it, or others needed the room.
    Left,
}

#[derive(Debug)]
pub(super) struct LiveCampaign {
    pub(super) id: CampaignId,
    pub(super) state: watch::Sender<State>,
    /// What came from the topic since the reading began; `None` when it is not being read. Whoever changes the state holds this.
    pending: Mutex<Option<Pending>>,
    /// In seconds of the process's life.
    pub(super) last_asked: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    updates: Vec<ResultsCalculationUpdateEvent>,
    changes: usize,
}

impl Pending {
    /// Beyond the most that waits, only the last is kept, and not what changed: that is a gap, unless what is read has it.
    fn push(&mut self, updates: Vec<ResultsCalculationUpdateEvent>) {
        self.changes += changes_of(&updates);
        self.updates.extend(updates);
        if self.changes > PENDING_CHANGES {
            let last = self.updates.pop();
            self.updates = last.map(|last| ResultsCalculationUpdateEvent { changes: None, ..last }).into_iter().collect();
        }
    }
}

pub(super) fn changes_of(updates: &[ResultsCalculationUpdateEvent]) -> usize {
    updates.iter().map(|update| update.changes.as_ref().map_or(0, Vec::len)).sum()
}

impl LiveCampaign {
    pub(super) fn new(id: CampaignId, now: u64) -> Self {
        Self {
            id,
            state: watch::Sender::new(State::BeingRead),
            pending: Mutex::new(Some(Pending::default())),
            last_asked: AtomicU64::new(now),
        }
    }

    /// The version that is held.
    pub(super) fn current(&self) -> Option<Arc<Version>> {
        match &*self.state.borrow() {
            State::Live(version) => Some(Arc::clone(version)),
            State::BeingRead | State::Gone(_) => None,
        }
    }

    /// Applies what the topic says, in its order.
    ///
    /// # Errors
    /// [`Gap`]: the campaign must be read again. What comes from now on waits for that.
    pub(super) fn apply(&self, updates: Vec<ResultsCalculationUpdateEvent>) -> Result<(), Gap> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pending) = &mut *pending {
            pending.push(updates);
            return Ok(());
        }
        let Some(current) = self.current() else { return Ok(()) };
        match current.after(&updates) {
            Ok(Some(next)) => {
                self.state.send_replace(State::Live(Arc::new(next)));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(gap) => {
                *pending = Some(Pending::default());
                Err(gap)
            }
        }
    }

    /// Says that the campaign is to be read again; whether it was not being read already. What comes from now on waits for that.
    pub(super) fn begin_reading(&self) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = pending.is_none();
        pending.get_or_insert_default();
        begins
    }

    /// Takes over what was read, and what came meanwhile.
    ///
    /// # Errors
    /// [`Gap`]: it must be read once more.
    pub(super) fn finish_reading(&self, read: Version) -> Result<Arc<Version>, Gap> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let updates = pending.take().unwrap_or_default().updates;
        match read.after(&updates) {
            Ok(next) => {
                let version = Arc::new(next.unwrap_or(read));
                self.state.send_replace(State::Live(Arc::clone(&version)));
                Ok(version)
            }
            Err(gap) => {
                *pending = Some(Pending::default());
                Err(gap)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use tenantry_kit::currency::Currency;
    use tenantry_kit::time::UtcDateTime;

    use super::*;
    use crate::domain::{RankRule, Reached, UserId};

    fn id() -> CampaignId {
        CampaignId::new(1).unwrap()
    }

    /// The update to `version`, by which user `version` has a total.
    fn update(version: i64) -> ResultsCalculationUpdateEvent {
        let timestamp = UtcDateTime::from_unix_micros(version).unwrap();
        let reached = Reached { at: timestamp, arrival: version };
        let total = Total { user_id: UserId::new(version).unwrap(), total: Decimal::ONE, reached };
        ResultsCalculationUpdateEvent { campaign_id: id(), timestamp, version, changes: Some(vec![total.into()]) }
    }

    fn read(version: i64) -> Version {
        let empty = Version::new(0, Standings::new(Currency::EUR, RankRule::Strict));
        let updates: Vec<_> = (1..=version).map(update).collect();
        empty.after(&updates).unwrap().unwrap_or(empty)
    }

    fn held(campaign: &LiveCampaign) -> Option<(i64, usize)> {
        campaign.current().map(|version| (version.version, version.standings.len()))
    }

    #[test]
    fn updates_that_came_while_it_was_read_are_applied_once() {
        let campaign = LiveCampaign::new(id(), 0);
        campaign.apply(vec![update(3), update(4)]).unwrap();
        campaign.apply(vec![update(5)]).unwrap();
        assert_eq!(held(&campaign), None);
        campaign.finish_reading(read(4)).unwrap();
        assert_eq!(held(&campaign), Some((5, 5)));
        campaign.apply(vec![update(5), update(6)]).unwrap();
        assert_eq!(held(&campaign), Some((6, 6)));
    }

    #[test]
    fn a_missing_version_is_a_gap_and_what_was_held_stays_until_it_is_read_again() {
        let campaign = LiveCampaign::new(id(), 0);
        campaign.finish_reading(read(4)).unwrap();
        assert_eq!(campaign.apply(vec![update(5), update(7)]), Err(Gap));
        assert_eq!(held(&campaign), Some((4, 4)));
        assert!(!campaign.begin_reading(), "it is to be read already");
        campaign.apply(vec![update(9)]).unwrap();
        assert_eq!(campaign.finish_reading(read(7)).map(|_| ()), Err(Gap));
        campaign.finish_reading(read(9)).unwrap();
        assert_eq!(held(&campaign), Some((9, 9)));
    }

    #[test]
    fn an_update_that_does_not_say_what_changed_is_a_gap() {
        let campaign = LiveCampaign::new(id(), 0);
        campaign.finish_reading(read(4)).unwrap();
        assert_eq!(campaign.apply(vec![ResultsCalculationUpdateEvent { changes: None, ..update(5) }]), Err(Gap));
    }

    #[test]
    fn the_first_are_written_once_for_each_version_and_number() {
        let campaign = LiveCampaign::new(id(), 0);
        campaign.finish_reading(read(4)).unwrap();
        let mut written = 0;
        let mut ask = |count: i64| {
            let write = |top: &Top| {
                written += 1;
                let numbers = (top.standings.len(), top.users, top.version);
                serde_json::value::to_raw_value(&numbers).map(Arc::from)
            };
            let json = campaign.current().unwrap().written_top(TopCount::new(count).unwrap(), write).unwrap();
            (json.get().to_owned(), written)
        };
        assert_eq!(ask(2), ("[2,4,4]".to_owned(), 1));
        assert_eq!(ask(2), ("[2,4,4]".to_owned(), 1));
        assert_eq!(ask(3), ("[3,4,4]".to_owned(), 2));
        campaign.apply(vec![update(5)]).unwrap();
        assert_eq!(ask(3), ("[3,5,5]".to_owned(), 3));
    }

    #[test]
    fn what_waits_is_bounded_and_more_makes_it_read_again() {
        let campaign = LiveCampaign::new(id(), 0);
        let many = |version| {
            let changes = std::iter::repeat_n(update(version).changes.unwrap()[0], PENDING_CHANGES / 2 + 1).collect();
            ResultsCalculationUpdateEvent { changes: Some(changes), ..update(version) }
        };
        for version in 3..8 {
            campaign.apply(vec![many(version)]).unwrap();
        }
        let waiting = campaign.pending.lock().unwrap().as_ref().map(|pending| changes_of(&pending.updates));
        assert!(waiting.unwrap() <= PENDING_CHANGES);
        assert_eq!(campaign.finish_reading(read(4)).map(|_| ()), Err(Gap));
        campaign.finish_reading(read(7)).unwrap();
        assert_eq!(held(&campaign), Some((7, 7)));
    }
}
