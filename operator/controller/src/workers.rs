//! A bound on reconciles that work at the same time. One that waits for a PostgreSQL server gives its place to another
//! meanwhile: a server that hangs instead of refusing holds back the slots that are on it, and no other.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reconciles that may wait beside one that works.
const WAITING: usize = 8;

tokio::task_local! {
    static PLACE: RefCell<Option<Held>>;
}

/// A worker's place, and the workers that it goes back to.
struct Held {
    workers: Workers,
    working: Working,
}

/// A worker's place, which is counted as long as it is taken.
#[derive(Debug)]
struct Working {
    _permit: OwnedSemaphorePermit,
    count: Gauge,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.count.dec();
    }
}

/// The workers of one kind. Clones share them.
#[derive(Debug, Clone)]
pub struct Workers {
    working: Arc<Semaphore>,
    count: Gauge,
    begun: Arc<Semaphore>,
}

/// The right to begin one reconcile.
#[derive(Debug)]
pub struct Turn {
    workers: Workers,
    working: Working,
    begun: OwnedSemaphorePermit,
}

impl Workers {
    /// So many, of which those that work are added to `working`.
    pub fn new(count: u16, working: Gauge) -> Self {
        let count = usize::from(count);
        let begun = Arc::new(Semaphore::new(count * (1 + WAITING)));
        Self { working: Arc::new(Semaphore::new(count)), count: working, begun }
    }

    async fn working(&self) -> Working {
        let permit = permit(&self.working).await;
        self.count.inc();
        Working { _permit: permit, count: self.count.clone() }
    }

    /// Waits until another reconcile may begin.
    pub async fn turn(&self) -> Turn {
        let begun = permit(&self.begun).await;
        Turn { workers: self.clone(), working: self.working().await, begun }
    }
}

impl Turn {
    /// Does the work of one reconcile.
    pub async fn work<T>(self, work: impl Future<Output = T>) -> T {
        let Self { workers, working, begun } = self;
        let result = PLACE.scope(RefCell::new(Some(Held { workers, working })), work).await;
        drop(begun);
        result
    }
}

/// Waits for something outside of the cluster without occupying a worker. Outside of a reconcile it just waits.
pub async fn aside<T>(waiting: impl Future<Output = T>) -> T {
    let held = PLACE.try_with(RefCell::take).ok().flatten();
    let workers = held.map(|Held { workers, working }| {
        drop(working);
        workers
    });
    let result = waiting.await;
    if let Some(workers) = workers {
        let working = workers.working().await;
        // It is still the same task.
        let _ = PLACE.try_with(|place| place.replace(Some(Held { workers, working })));
    }
    result
}

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_owned().await.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn one_that_waits_aside_lets_another_work_and_goes_on_after_it() {
        let workers = Workers::new(1, Gauge::default());
        let (answer, answered) = oneshot::channel::<()>();
        let waiting = tokio::spawn(workers.turn().await.work(async {
            aside(answered).await.unwrap();
            "went on"
        }));
        let other = timeout(LONG, workers.turn()).await.expect("the waiting one occupies no worker");
        answer.send(()).unwrap();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the only worker is taken");
        drop(other);
        assert_eq!(timeout(LONG, waiting).await.unwrap().unwrap(), "went on");
    }

    #[tokio::test]
    async fn those_that_wait_are_bounded_too() {
        let workers = Workers::new(1, Gauge::default());
        let mut waiting = Vec::new();
        for _ in 0..=WAITING {
            let (answer, answered) = oneshot::channel::<()>();
            let turn = timeout(LONG, workers.turn()).await.unwrap();
            waiting.push((answer, tokio::spawn(turn.work(async { aside(answered).await.is_ok() }))));
        }
        assert!(timeout(Duration::from_millis(50), workers.turn()).await.is_err());
        for (answer, task) in waiting {
            answer.send(()).unwrap();
            assert!(task.await.unwrap());
        }
        timeout(LONG, workers.turn()).await.expect("all have ended");
    }
}
