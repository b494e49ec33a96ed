//! What is to be reconciled, and when. One queue a kind, in the order in which objects became due: nobody is passed over, and
//! an object that is woken often waits in its one place like the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::caches::Place;

/// Events come in bursts, above all those of the operator's own writes: a reconcile waits for the rest of its burst.
const BURST: Duration = Duration::from_millis(25);

/// When a place is due, and a number that keeps those of one instant apart.
type Turn = (Instant, u64);

/// The queue of one kind.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    turns: BTreeMap<Turn, Place>,
    entries: HashMap<Place, Entry>,
    next_number: u64,
}

#[derive(Debug, Default)]
struct Entry {
    turn: Option<Turn>,
    /// Since when somebody wants it reconciled at once.
    woken: Option<Instant>,
    running: bool,
    not_before: Option<Instant>,
}

/// What is to be reconciled now.
#[derive(Debug, PartialEq, Eq)]
pub struct Due {
    pub place: Place,
    /// How long it waited since an event woke it first; none when the clock did.
    pub waited: Option<Duration>,
}

impl Queue {
    /// Something happened to it: it is to be reconciled soon; once more, if that is being done already.
    pub fn wake(&self, place: Place) {
        self.wake_at(place, Instant::now());
    }

    fn wake_at(&self, place: Place, now: Instant) {
        let mut state = self.lock();
        let entry = state.entries.entry(place.clone()).or_default();
        entry.woken.get_or_insert(now);
        if !entry.running {
            let due = entry.not_before.map_or(now + BURST, |not_before| not_before.max(now + BURST));
            if state.set_turn(&place, due) {
                self.changed.notify_one();
            }
        }
    }

    /// Returns when something is due.
    pub async fn wait_for_one(&self) {
        loop {
            let changed = self.changed.notified();
            let first = self.lock().turns.first_key_value().map(|((at, _), _)| *at);
            match first {
                Some(at) if at <= Instant::now() => return,
                Some(at) => {
                    let _ = tokio::time::timeout_at(at.into(), changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// The first that is due. It counts as running until [`Self::done`] or [`Self::gone`].
    pub fn take(&self) -> Option<Due> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<Due> {
        let mut state = self.lock();
        state.turns.first_key_value().filter(|((at, _), _)| *at <= now)?;
        let (_, place) = state.turns.pop_first()?;
        let entry = state.entries.entry(place.clone()).or_default();
        entry.turn = None;
        entry.running = true;
        let waited = entry.woken.take().map(|since| now.saturating_duration_since(since));
        Some(Due { place, waited })
    }

    /// It was reconciled, and is to be again after that long; not before `pause`, whoever wakes it.
    pub fn done(&self, place: &Place, again: Duration, pause: Duration) {
        self.done_at(place, again, pause, Instant::now());
    }

    fn done_at(&self, place: &Place, again: Duration, pause: Duration, now: Instant) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(place) else { return };
        let not_before = now + pause;
        entry.running = false;
        entry.not_before = Some(not_before);
        let due = if entry.woken.is_some() { not_before.max(now + BURST) } else { now + again };
        state.set_turn(place, due);
        self.changed.notify_one();
    }

    /// It does not exist any more. Unless it was made again meanwhile, nothing of it stays.
    pub fn gone(&self, place: &Place) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(place) else { return };
        entry.running = false;
        if entry.woken.is_none() {
            state.entries.remove(place);
            return;
        }
        state.set_turn(place, Instant::now() + BURST);
        self.changed.notify_one();
    }

    /// How many are to be reconciled because of an event, and are not yet.
    pub fn woken(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.woken.is_some()).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives a place its turn, unless it has an earlier one. Whether that changed anything.
    fn set_turn(&mut self, place: &Place, due: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(place) else { return false };
        if let Some(turn) = entry.turn {
            if turn.0 <= due {
                return false;
            }
            self.turns.remove(&turn);
        }
        let turn = (due, self.next_number);
        self.next_number += 1;
        entry.turn = Some(turn);
        self.turns.insert(turn, place.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn place(name: &str) -> Place {
        Place::new("", name)
    }

    fn queue() -> Queue {
        Queue::default()
    }

    #[test]
    fn what_is_woken_many_times_is_reconciled_once() {
        let (queue, now) = (queue(), Instant::now());
        for _ in 0..10 {
            queue.wake_at(place("a"), now);
        }
        let due = queue.take_at(now + BURST).unwrap();
        assert_eq!(due, Due { place: place("a"), waited: Some(BURST) });
        assert!(queue.take_at(now + HOUR).is_none());
    }

    #[test]
    fn what_is_woken_while_it_runs_runs_once_more_and_never_twice_at_a_time() {
        let (queue, now) = (queue(), Instant::now());
        queue.wake_at(place("a"), now);
        queue.take_at(now + BURST).unwrap();
        queue.wake_at(place("a"), now + BURST);
        assert_eq!(queue.take_at(now + HOUR), None, "it runs");
        queue.done_at(&place("a"), HOUR, Duration::ZERO, now + BURST);
        assert!(queue.take_at(now + BURST * 2).is_some());
    }

    #[test]
    fn an_object_that_is_woken_all_the_time_does_not_pass_the_others() {
        let (queue, start) = (queue(), Instant::now());
        queue.wake_at(place("loud"), start);
        queue.wake_at(place("quiet"), start);
        let now = start + BURST;
        assert_eq!(queue.take_at(now).unwrap().place, place("loud"));
        queue.wake_at(place("loud"), now);
        queue.done_at(&place("loud"), HOUR, Duration::ZERO, now);
        assert_eq!(queue.take_at(now + BURST).unwrap().place, place("quiet"));
    }

    #[test]
    fn a_failed_object_waits_for_its_pause_whoever_wakes_it() {
        let (queue, now) = (queue(), Instant::now());
        let pause = Duration::from_secs(2);
        queue.wake_at(place("a"), now);
        queue.take_at(now + BURST).unwrap();
        queue.done_at(&place("a"), HOUR, pause, now);
        queue.wake_at(place("a"), now + BURST);
        assert!(queue.take_at(now + pause - BURST).is_none());
        assert!(queue.take_at(now + pause).is_some());
    }

    #[test]
    fn a_settled_object_comes_again_at_its_time() {
        let (queue, now) = (queue(), Instant::now());
        queue.wake_at(place("a"), now);
        queue.take_at(now + BURST).unwrap();
        queue.done_at(&place("a"), HOUR, Duration::ZERO, now);
        assert_eq!(queue.take_at(now + BURST), None);
        assert_eq!(queue.take_at(now + HOUR + BURST).unwrap().waited, None);
    }

    #[test]
    fn nothing_stays_of_what_is_gone() {
        let (queue, now) = (queue(), Instant::now());
        queue.wake_at(place("a"), now);
        queue.take_at(now + BURST).unwrap();
        queue.gone(&place("a"));
        assert!(queue.lock().entries.is_empty() && queue.lock().turns.is_empty());
    }

    #[tokio::test]
    async fn a_waiting_worker_is_woken() {
        let queue = std::sync::Arc::new(queue());
        let waiting = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move { queue.wait_for_one().await }
        });
        tokio::task::yield_now().await;
        queue.wake(place("a"));
        waiting.await.unwrap();
        assert_eq!(queue.take().unwrap().place, place("a"));
    }
}
