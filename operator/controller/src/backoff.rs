//! How long to wait before an object that failed is tried again: per object, doubling, with jitter.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Failures in a row, by key.
#[derive(Debug)]
pub struct Backoff<K> {
    failures: Mutex<HashMap<K, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// Until then another failure, of a try that an event brought about, is the same failure still.
    until: Instant,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self { failures: Mutex::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// Notes a failure at `now` and gives the time to wait: 1, 2, 4 ... 300 seconds, each between half of it and the whole.
    pub fn failed(&self, key: K, now: Instant) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failures.get(&key).copied();
        if let Some(before) = before.filter(|before| now < before.until) {
            return before.until - now;
        }
        let count = before.map_or(0, |before| before.count.saturating_add(1));
        let wait = FIRST.saturating_mul(1 << count.min(9)).min(LONGEST).mul_f64(rand::rng().random_range(0.5..=1.0));
        failures.insert(key, Failures { count, until: now + wait });
        wait
    }

    /// Forgets the failures of a key.
    pub fn succeeded(&self, key: &K) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// A duration within 10 % of the given one, so that what began together does not come together for ever.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_begin_anew_after_a_success() {
        let backoff = Backoff::default();
        let mut now = Instant::now();
        for index in 0..12 {
            let wait = backoff.failed("a", now);
            let full = Duration::from_secs(1 << index).min(LONGEST);
            assert!(wait <= full && wait >= full / 2, "{index}: {wait:?}");
            now += wait;
        }
        assert!(backoff.failed("b", now) <= FIRST, "another object is not held back");
        backoff.succeeded(&"a");
        assert!(backoff.failed("a", now) <= FIRST);
    }

    #[test]
    fn failures_while_waiting_do_not_make_the_wait_longer() {
        let backoff = Backoff::default();
        let now = Instant::now();
        let wait = backoff.failed("a", now);
        for _ in 0..20 {
            assert_eq!(backoff.failed("a", now + wait / 2), wait - wait / 2);
        }
        assert!(backoff.failed("a", now + wait) <= FIRST * 2);
    }
}
