//! One delivery: the handler's work, and the answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::held::Held;
use super::{Backoff, Handler, HandlerError};
use crate::database::Database;
use crate::queue::metrics::Counters;
use crate::queue::{Abandoned, DeadLetterReason, LockedMessage, Queue, QueueError};

/// The longest that recording a message's effect may take, from begin to commit.
const RECORD_TIMEOUT: Duration = Duration::from_secs(60);
/// While the database is not available, an answer is tried again after the shortest time, then twice as long, up to the longest.
const SHORTEST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(3);

/// What all deliveries of a consumer share.
#[derive(Debug)]
pub(super) struct Work<H> {
    pub(super) database: Database,
    pub(super) queue: Arc<Queue>,
    pub(super) handler: H,
    pub(super) backoff: Backoff,
    pub(super) time_limit: Duration,
    pub(super) counters: Counters,
    pub(super) held: Held,
    /// The time for finishing is over: what is not finished is given back.
    pub(super) stopping: CancellationToken,
}

/// How the handler's part ended.
enum Ending<E> {
    Handled(E),
    Failed(HandlerError),
    /// The message is somebody else's.
    Lost,
    Stopped,
}

/// Why an answer was not recorded.
enum Failure {
    Queue(QueueError),
    Handler(HandlerError),
}

impl Failure {
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Queue(error) => error.is_unavailable(),
            Self::Handler(error) => error.is_unavailable(),
        }
    }
}

impl<E: Into<QueueError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Queue(error.into())
    }
}

impl<H: Handler> Work<H> {
    pub(super) async fn deliver(self: Arc<Self>, message: LockedMessage) {
        let began = Instant::now();
        let lost = self.held.begin(message.token, began + self.queue.lock_duration());
        let ending = tokio::select! {
            ending = self.handle(&message) => ending,
            () = lost.cancelled() => Ending::Lost,
            () = self.stopping.cancelled() => Ending::Stopped,
        };
        self.held.end(message.id());
        self.counters.handled(began.elapsed());
        match ending {
            Ending::Handled(effect) => match self.answer(|| self.complete(&message, &effect)).await {
                Ok(()) => self.counters.completed(),
                Err(Failure::Handler(error)) => self.fail(&message, &error).await,
                Err(Failure::Queue(error)) => self.unanswered(&message, &error),
            },
            Ending::Failed(error) => self.fail(&message, &error).await,
            Ending::Stopped => self.abandon(&message, Duration::ZERO, "the consumer was stopped").await,
            Ending::Lost => {
                let (queue, message) = (self.queue.name(), message.id());
                tracing::warn!(queue, %message, "a message's lock was lost while it was handled; it is delivered again");
            }
        }
    }

    async fn handle(&self, message: &LockedMessage) -> Ending<H::Effect> {
        let handling = AssertUnwindSafe(async { self.handler.handle(message).await }).catch_unwind();
        match timeout(self.time_limit, handling).await {
            Ok(Ok(Ok(effect))) => Ending::Handled(effect),
            Ok(Ok(Err(error))) => Ending::Failed(error),
            Ok(Err(panic)) => Ending::Failed(panicked(&*panic)),
            Err(_) => Ending::Failed(HandlerError::again(format!("the handler took longer than {} s", self.time_limit.as_secs_f64()))),
        }
    }

    /// Completes first: from then on the row is this transaction's, and the lock cannot run out before the commit.
    async fn complete(&self, message: &LockedMessage, effect: &H::Effect) -> Result<(), Failure> {
        let record = async {
            let mut transaction = self.database.begin().await?;
            self.queue.complete(&mut transaction, message.token).await?;
            let record = AssertUnwindSafe(async { self.handler.record(&mut transaction, message, effect).await }).catch_unwind();
            record.await.unwrap_or_else(|panic| Err(panicked(&*panic))).map_err(Failure::Handler)?;
            transaction.commit().await?;
            Ok(())
        };
        match timeout(RECORD_TIMEOUT, record).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Handler(HandlerError::again("recording the effect took too long"))),
        }
    }

    async fn fail(&self, message: &LockedMessage, error: &HandlerError) {
        if let HandlerError::Permanent { reason, error } = error {
            self.dead_letter(message, reason, error).await;
            return;
        }
        let wait = match error {
            HandlerError::Again { after: Some(after), .. } => *after,
            _ => self.backoff.after(message.deliveries, rand::random_range(0.0..1.0)),
        };
        self.abandon(message, wait, &error.to_string()).await;
    }

    async fn abandon(&self, message: &LockedMessage, wait: Duration, error: &str) {
        let abandon = || async {
            let mut connection = self.database.acquire().await?;
            Ok::<Abandoned, Failure>(self.queue.abandon(&mut connection, message.token, wait, Some(error)).await?)
        };
        let (queue, id, deliveries) = (self.queue.name(), message.id(), message.deliveries);
        match self.answer(abandon).await {
            Ok(Abandoned::Again) => {
                self.counters.abandoned();
                tracing::warn!(queue, message = %id, deliveries, wait_seconds = wait.as_secs_f64(), error, "a message is delivered again");
            }
            Ok(Abandoned::DeadLettered) => {
                self.counters.dead_lettered(&DeadLetterReason::DELIVERY_LIMIT, 1);
                tracing::error!(queue, message = %id, deliveries, error, reason = %DeadLetterReason::DELIVERY_LIMIT, "a message is a dead letter");
            }
            Err(Failure::Queue(error)) => self.unanswered(message, &error),
            Err(Failure::Handler(error)) => self.unanswered(message, &error),
        }
    }

    async fn dead_letter(&self, message: &LockedMessage, reason: &DeadLetterReason, error: &str) {
        let bury = || async {
            let mut connection = self.database.acquire().await?;
            Ok::<(), Failure>(self.queue.dead_letter(&mut connection, message.token, reason, error).await?)
        };
        let (queue, id, deliveries) = (self.queue.name(), message.id(), message.deliveries);
        match self.answer(bury).await {
            Ok(()) => {
                self.counters.dead_lettered(reason, 1);
                tracing::error!(queue, message = %id, deliveries, error, %reason, "a message is a dead letter");
            }
            Err(Failure::Queue(error)) => self.unanswered(message, &error),
            Err(Failure::Handler(error)) => self.unanswered(message, &error),
        }
    }

    /// Answers, again and again while the database is not available, for as long as the lock lasts; once more only when stopping.
    async fn answer<T, F>(&self, answer: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let deadline = Instant::now() + self.queue.lock_duration();
        let mut wait = SHORTEST_RETRY;
        loop {
            match answer().await {
                Err(failure) if failure.is_unavailable() && Instant::now() < deadline && !self.stopping.is_cancelled() => {}
                outcome => return outcome,
            }
            tokio::select! {
                () = sleep(wait.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = self.stopping.cancelled() => {}
            }
            wait = (wait * 2).min(LONGEST_RETRY);
        }
    }

    /// Nothing is lost: the message is delivered again when its lock runs out, unless this answer or another one was recorded.
    fn unanswered(&self, message: &LockedMessage, error: &dyn std::fmt::Display) {
        tracing::warn!(queue = self.queue.name(), message = %message.id(), %error, "an answer was not taken");
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> HandlerError {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    HandlerError::again(format!("the handler panicked: {}", message.unwrap_or("(no message)")))
}
