//! What a consumer remembers of partitions whose batches failed: to process them by themselves, and less of them, until only the event that
//! cannot be processed is left, and to leave that alone for longer and longer. The other partitions go on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The partitions in trouble.
#[derive(Debug, Default)]
pub(super) struct Troubles(HashMap<i32, Trouble>);

#[derive(Debug)]
struct Trouble {
    /// The most events to take at once.
    limit: u32,
    /// How often in a row a single event failed.
    failures: u32,
    avoid_until: Instant,
}

impl Troubles {
    /// The partitions that are to be left alone now.
    pub(super) fn avoided(&self) -> Vec<i32> {
        let now = Instant::now();
        self.0.iter().filter(|(_, trouble)| trouble.avoid_until > now).map(|(partition, _)| *partition).collect()
    }

    /// The most events to take from `partition`, and nothing beside it; `None` if it is not in trouble.
    pub(super) fn limit(&self, partition: i32) -> Option<u32> {
        self.0.get(&partition).map(|trouble| trouble.limit)
    }

    /// A batch failed in which `partition` was among others: the next batch is of it alone, and as large as any.
    pub(super) fn suspected(&mut self, partition: i32, batch: u32) {
        self.0.entry(partition).or_insert_with(|| Trouble { limit: batch, failures: 0, avoid_until: Instant::now() });
    }

    /// A batch was processed: the next may be larger.
    pub(super) fn succeeded(&mut self, partition: i32, batch: u32) {
        if let Some(trouble) = self.0.get_mut(&partition) {
            trouble.limit = trouble.limit.saturating_mul(2);
            trouble.failures = 0;
            if trouble.limit >= batch {
                self.0.remove(&partition);
            }
        }
    }

    /// A batch of `events` failed: the next is half as large. How long the partition is left alone.
    pub(super) fn failed(&mut self, partition: i32, events: u32) -> Duration {
        let now = Instant::now();
        let trouble = self.0.entry(partition).or_insert_with(|| Trouble { limit: events, failures: 0, avoid_until: now });
        trouble.limit = (events / 2).max(1);
        let pause = if events > 1 {
            Duration::ZERO
        } else {
            trouble.failures = trouble.failures.saturating_add(1);
            (SHORTEST_PAUSE * 2_u32.saturating_pow((trouble.failures - 1).min(16))).min(LONGEST_PAUSE)
        };
        trouble.avoid_until = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_batch_is_halved_down_to_the_event_that_fails_which_is_then_left_alone() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.limit(3), None);
        assert_eq!(troubles.failed(3, 4), Duration::ZERO);
        assert_eq!(troubles.limit(3), Some(2));
        assert_eq!(troubles.failed(3, 2), Duration::ZERO);
        assert_eq!(troubles.limit(3), Some(1));
        assert_eq!(troubles.failed(3, 1), SHORTEST_PAUSE);
        assert_eq!(troubles.avoided(), [3]);
        assert_eq!(troubles.failed(3, 1), SHORTEST_PAUSE * 2);
        for _ in 0..40 {
            assert!(troubles.failed(3, 1) <= LONGEST_PAUSE);
        }
        assert_eq!(troubles.limit(4), None, "the other partitions are not concerned");
    }

    #[test]
    fn a_partition_that_recovers_grows_back_to_whole_batches() {
        let mut troubles = Troubles::default();
        troubles.failed(0, 8);
        troubles.succeeded(0, 16);
        assert_eq!(troubles.limit(0), Some(8));
        troubles.succeeded(0, 16);
        assert_eq!(troubles.limit(0), None);
        assert!(troubles.avoided().is_empty());
    }

    #[test]
    fn a_partition_that_failed_among_others_is_tried_whole_and_by_itself() {
        let mut troubles = Troubles::default();
        troubles.failed(0, 8);
        for partition in 0..3 {
            troubles.suspected(partition, 16);
        }
        assert_eq!([0, 1, 2, 3].map(|partition| troubles.limit(partition)), [Some(4), Some(16), Some(16), None]);
        troubles.succeeded(1, 16);
        assert_eq!(troubles.limit(1), None);
        troubles.failed(2, 16);
        assert_eq!(troubles.limit(2), Some(8));
    }
}
