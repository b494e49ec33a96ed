//! The database's clock, read now and then: between readings its time is the last reading and what has passed since by the
//! monotonic clock, so that a purchase needs no round trip for it, and the pods' own clocks do not matter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tenantry_kit::time::UtcDateTime;

use crate::store::{Store, StoreError};

/// How long a reading is used before the clock is read again, beside the requests.
const MAX_AGE: Duration = Duration::from_secs(30);
/// A request waits for the clock to be read when the reading is older: the machine may have slept, which the monotonic clock does not see.
const WAITING_AGE: Duration = Duration::from_secs(300);
/// While the database does not answer, it is asked again after this; the last reading is used meanwhile.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct DatabaseClock {
    store: Store,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    reading: Option<Reading>,
    tried: Option<Instant>,
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
        Self { store, state: Arc::default() }
    }

    /// The time. Once it was read, it is told while the database does not answer, too.
    ///
    /// # Errors
    /// When the clock has never been read, and the database does not answer.
    pub(super) async fn now(&self) -> Result<UtcDateTime, StoreError> {
        let (reading, is_due) = self.look();
        let Some(reading) = reading else { return self.read().await };
        if !is_due {
            return Ok(reading.now());
        }
        if reading.taken.elapsed() < WAITING_AGE {
            let clock = self.clone();
            tokio::spawn(
                async move { clock.read().await.inspect_err(|error| tracing::debug!(%error, "the database's clock cannot be read")) },
            );
            return Ok(reading.now());
        }
        match self.read().await {
            Err(error) if error.is_unavailable() => Ok(reading.now()),
            outcome => outcome,
        }
    }

    /// The last reading, and whether the caller is to read the clock again.
    fn look(&self) -> (Option<Reading>, bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = state.reading.is_none_or(|reading| reading.taken.elapsed() >= MAX_AGE);
        let is_due = is_old && state.tried.is_none_or(|tried| tried.elapsed() >= RETRY);
        if is_due {
            state.tried = Some(Instant::now());
        }
        (state.reading, is_due)
    }

    async fn read(&self) -> Result<UtcDateTime, StoreError> {
        let reading = Reading { time: self.store.now().await?, taken: Instant::now() };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).reading = Some(reading);
        Ok(reading.now())
    }
}
