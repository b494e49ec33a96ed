//! The messages that handlers work on, for whoever keeps their locks. A message whose lock is lost is somebody else's: its handler is told to
//! give up.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::queue::{LockToken, MessageId};

#[derive(Debug, Default)]
pub(super) struct Held(Mutex<HashMap<MessageId, Lock>>);

#[derive(Debug)]
struct Lock {
    token: LockToken,
    /// By this process's clock, and rather too early.
    ends: Instant,
    lost: CancellationToken,
}

impl Held {
    /// A handler begins; the token is cancelled when the lock is lost.
    pub(super) fn begin(&self, token: LockToken, ends: Instant) -> CancellationToken {
        let lost = CancellationToken::new();
        self.locks().insert(token.message(), Lock { token, ends, lost: lost.clone() });
        lost
    }

    /// A handler has ended: the message is being answered.
    pub(super) fn end(&self, message: MessageId) {
        self.locks().remove(&message);
    }

    pub(super) fn tokens(&self) -> Vec<LockToken> {
        self.locks().values().map(|lock| lock.token).collect()
    }

    pub(super) fn extended(&self, tokens: &[LockToken], ends: Instant) {
        let mut locks = self.locks();
        for token in tokens {
            if let Some(lock) = locks.get_mut(&token.message()).filter(|lock| lock.token == *token) {
                lock.ends = ends;
            }
        }
    }

    pub(super) fn lose(&self, messages: &[MessageId]) {
        let locks = self.locks();
        for lock in messages.iter().filter_map(|message| locks.get(message)) {
            lock.lost.cancel();
        }
    }

    /// Nobody could be asked, but the time is over.
    pub(super) fn lose_overdue(&self) {
        let now = Instant::now();
        for lock in self.locks().values().filter(|lock| lock.ends <= now) {
            lock.lost.cancel();
        }
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<MessageId, Lock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn token() -> LockToken {
        LockToken { message: MessageId::generate(), lock: Uuid::new_v4() }
    }

    #[test]
    fn a_lock_is_lost_when_the_database_says_so_or_when_its_time_is_over() {
        let (held, now) = (Held::default(), Instant::now());
        let tokens = [token(), token(), token()];
        let lost: Vec<CancellationToken> = tokens.iter().map(|token| held.begin(*token, now)).collect();
        let lost = || lost.iter().map(CancellationToken::is_cancelled).collect::<Vec<_>>();
        held.lose(&[tokens[0].message()]);
        assert_eq!(lost(), [true, false, false]);
        held.extended(&tokens[1..2], now + Duration::from_secs(60));
        held.lose_overdue();
        assert_eq!(lost(), [true, false, true]);
    }

    #[test]
    fn a_message_that_is_being_answered_is_not_extended() {
        let (held, token) = (Held::default(), token());
        held.begin(token, Instant::now());
        assert_eq!(held.tokens(), [token]);
        held.end(token.message());
        assert!(held.tokens().is_empty());
    }
}
