//! From where a consumer looks for messages. What was completed stays in the index by visibility until the table is vacuumed, which a long
//! query can hold up; who began at its end each time would step over all of it each time.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::queue::LockedBatch;
use crate::time::UtcDateTime;

/// A message can come to be seen later than it is visible: when its transaction commits. Nearly all have ended after this time.
const LATE: SignedDuration = SignedDuration::from_secs(20);
/// For the rest, the whole is looked through this often.
const WHOLE: Duration = Duration::from_secs(30);

/// What is known of the front of a queue.
#[derive(Debug, Default)]
pub(super) struct Front {
    known: Option<UtcDateTime>,
    looked_through: Option<Instant>,
}

impl Front {
    /// Since when what is looked at next became visible; `None` for all there is.
    pub(super) fn from(&self, now: Instant) -> Option<UtcDateTime> {
        let is_due = self.looked_through.is_none_or(|then| now.duration_since(then) >= WHOLE);
        if is_due { None } else { self.known.map(|front| front.saturating_add(-LATE)) }
    }

    /// This was found when looking from there.
    pub(super) fn found(&mut self, batch: &LockedBatch, from: Option<UtcDateTime>, now: Instant) {
        self.known = Some(batch.front);
        if from.is_none() {
            self.looked_through = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_looks_from_a_while_before_the_front_and_now_and_then_at_all() {
        let begin = Instant::now();
        let time = |seconds: i64| UtcDateTime::from_unix_micros(seconds * 1_000_000).unwrap();
        let batch = |front| LockedBatch { messages: Vec::new(), dead_lettered: Vec::new(), is_full: false, front };
        let mut front = Front::default();
        assert_eq!(front.from(begin), None);
        front.found(&batch(time(1000)), None, begin);
        assert_eq!(front.from(begin), Some(time(980)));
        let later = begin + Duration::from_secs(29);
        front.found(&batch(time(1029)), front.from(later), later);
        assert_eq!(front.from(later), Some(time(1009)));
        assert_eq!(front.from(begin + WHOLE), None);
    }
}
