//! The database's clock, read now and then: between readings its time is the last reading and what has passed since by the
//! monotonic clock, so that a purchase needs no round trip for it, and the pods' own clocks do not matter.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tenantry_kit::time::UtcDateTime;

use crate::store::{Store, StoreError};

/// How long a reading is used.
const MAX_AGE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct DatabaseClock {
    store: Store,
    reading: Mutex<Option<Reading>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    time: UtcDateTime,
    taken: Instant,
}

impl Reading {
    fn now(self) -> UtcDateTime {
        self.time.saturating_add(SignedDuration::try_from(self.taken.elapsed()).unwrap_or(SignedDuration::MAX))
    }
}

impl DatabaseClock {
    pub(super) fn new(store: Store) -> Self {
        Self { store, reading: Mutex::new(None) }
    }

    /// The time.
    ///
    /// # Errors
    /// When the clock is due to be read, and the database does not answer.
    pub(super) async fn now(&self) -> Result<UtcDateTime, StoreError> {
        let last = *self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = last.filter(|reading| reading.taken.elapsed() < MAX_AGE) {
            return Ok(reading.now());
        }
        let reading = Reading { time: self.store.now().await?, taken: Instant::now() };
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
        Ok(reading.now())
    }
}
