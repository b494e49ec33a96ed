//! How long many things took, in memory of a fixed size.

use std::time::Duration;

/// Counts of durations in steps of the same length. What is longer than all steps counts as the last.
#[derive(Debug, Clone)]
pub struct Times {
    step: Duration,
    counts: Vec<u32>,
}

impl Times {
    /// For times of some hundred nanoseconds, up to a millisecond.
    pub fn of_calls() -> Self {
        Self::new(Duration::from_nanos(10), 100_000)
    }

    /// For times of some microseconds and more, up to a second.
    pub fn of_answers() -> Self {
        Self::new(Duration::from_micros(1), 1_000_000)
    }

    /// For times of some milliseconds and more, up to a minute.
    pub fn of_deliveries() -> Self {
        Self::new(Duration::from_micros(200), 300_000)
    }

    fn new(step: Duration, steps: usize) -> Self {
        // Touched now, so that nothing is measured of a first use.
        let mut counts = vec![1; steps];
        counts.fill(0);
        Self { step, counts }
    }

    pub fn add(&mut self, time: Duration) {
        let step = usize::try_from(time.as_nanos() / self.step.as_nanos()).unwrap_or(usize::MAX);
        let last = self.counts.len() - 1;
        self.counts[step.min(last)] += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            *own += others;
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The time within which that part was done, in seconds, rounded up to a step; NaN of nothing.
    pub fn percentile(&self, part: f64) -> f64 {
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let step = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        step.map_or(f64::NAN, |step| (step + 1) as f64 * self.step.as_secs_f64())
    }
}

/// The middle one; NaN of nothing.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let (mut times, mut more) = (Times::of_calls(), Times::of_calls());
        assert!(times.percentile(0.5).is_nan());
        (1..=90).for_each(|step| times.add(Duration::from_nanos(step * 100 - 1)));
        (91..=100).for_each(|step| more.add(Duration::from_nanos(step * 100 - 1)));
        times.merge(&more);
        let at = |part| (times.percentile(part) * 1e9).round() as u64;
        assert_eq!((times.count(), at(0.5), at(0.99), at(1.0)), (100, 5000, 9900, 10_000));
        more.add(Duration::from_secs(7));
        assert!((more.percentile(1.0) - 0.001).abs() < 1e-9);
    }

    #[test]
    fn the_median_of_rounds() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }
}
