//! How long a message that failed is left alone: per message, doubling, with jitter.

use std::time::Duration;

/// The time between a delivery that failed and the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(600))
    }
}

impl Backoff {
    /// `first` after the first delivery, twice as long after each further one, up to `longest`; of each, between half and the whole.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The time after that many deliveries; `jitter` is from 0 to 1.
    pub(super) fn after(self, deliveries: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(deliveries.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.longest).mul_f64((0.5 + jitter / 2.0).clamp(0.5, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_time_doubles_with_each_delivery_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        let times: Vec<u64> = [0, 1, 2, 3, 4, 5, 6, u32::MAX].map(|deliveries| backoff.after(deliveries, 1.0).as_secs()).into();
        assert_eq!(times, [1, 1, 2, 4, 8, 10, 10, 10]);
    }

    proptest! {
        #[test]
        fn jitter_takes_away_at_most_half(deliveries in 0_u32..40, jitter in 0.0..1.0) {
            let (time, whole) = (Backoff::default().after(deliveries, jitter), Backoff::default().after(deliveries, 1.0));
            prop_assert!(whole / 2 <= time && time <= whole);
        }
    }
}
