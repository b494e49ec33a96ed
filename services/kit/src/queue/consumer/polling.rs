//! When to look for messages next. An idle consumer asks every two seconds; one that finds as much as it asked for asks again at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::queue::LockedBatch;

/// Without messages, a consumer looks again after the shortest interval, then after twice as long, up to the longest.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
/// While the database is not available, a consumer asks again after at most this, and the jitter.
const LONGEST_OUTAGE: Duration = Duration::from_secs(3);
const JITTER: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Polling {
    interval: Duration,
    next: Instant,
    /// Whether there was more than could be taken.
    has_more: bool,
}

impl Polling {
    pub(super) fn new(now: Instant) -> Self {
        Self { interval: SHORTEST, next: now, has_more: false }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// That many were found. What is more is left until there is room for a good part of it ([`Self::has_room`]), or a moment has passed.
    pub(super) fn found(&mut self, batch: &LockedBatch, now: Instant) {
        let is_empty = batch.messages.is_empty() && batch.dead_lettered.is_empty();
        self.has_more = batch.is_full;
        if is_empty {
            self.next = now + self.interval;
            self.interval = (self.interval * 2).min(LONGEST);
        } else {
            self.interval = SHORTEST;
            // All that was found may have been dead: then there is room at once.
            self.next = if batch.is_full && batch.messages.is_empty() { now } else { now + SHORTEST };
        }
    }

    /// Half of what can be handled at a time is free.
    pub(super) fn has_room(&mut self, now: Instant) {
        if self.has_more {
            self.next = now;
        }
    }

    /// The database did not answer; `jitter` is from 0 to 1.
    pub(super) fn failed(&mut self, jitter: f64, now: Instant) {
        self.next = now + self.interval + JITTER.mul_f64(jitter);
        self.interval = (self.interval * 2).min(LONGEST_OUTAGE);
        self.has_more = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{DeadLetterReason, MessageId};

    fn empty() -> LockedBatch {
        let front = crate::time::UtcDateTime::now();
        LockedBatch { messages: Vec::new(), dead_lettered: Vec::new(), is_full: false, front }
    }

    #[test]
    fn an_idle_consumer_asks_once_in_two_seconds() {
        let begin = Instant::now();
        let mut polling = Polling::new(begin);
        let mut polls = 0;
        while polling.next() < begin + Duration::from_secs(60) {
            polling.found(&empty(), polling.next());
            polls += 1;
        }
        assert!(polls <= 36, "{polls} in the first minute");
    }

    #[test]
    fn a_consumer_that_finds_only_dead_messages_asks_again_at_once_while_there_are_more() {
        let now = Instant::now();
        let mut polling = Polling::new(now);
        let dead = vec![(MessageId::generate(), DeadLetterReason::EXPIRED)];
        polling.found(&LockedBatch { dead_lettered: dead.clone(), is_full: true, ..empty() }, now);
        assert_eq!(polling.next(), now);
        polling.found(&LockedBatch { dead_lettered: dead, ..empty() }, now);
        assert_eq!(polling.next(), now + SHORTEST);
        polling.has_room(now);
        assert_eq!(polling.next(), now + SHORTEST, "there was nothing more");
    }

    #[test]
    fn an_outage_is_waited_for_in_seconds_and_not_in_minutes() {
        let now = Instant::now();
        let mut polling = Polling::new(now);
        for _ in 0..20 {
            polling.failed(1.0, now);
        }
        assert_eq!(polling.next(), now + LONGEST_OUTAGE + JITTER);
    }
}
