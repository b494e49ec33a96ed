//! A consumer of one queue: locks messages, lets the handler work on several at a time, keeps their locks, and answers.

mod backoff;
mod delivery;
mod front;
mod handler;
mod held;
mod polling;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub use backoff::Backoff;
pub use handler::{Handler, HandlerError};

use super::{LockedBatch, Queue, QueueError, QueueMetrics};
use crate::database::Database;
use crate::stream::Wake;
use delivery::Work;
use front::Front;
use held::Held;
use polling::Polling;

const CONCURRENCY: usize = 8;
const TIME_LIMIT: Duration = Duration::from_secs(300);
/// Within the time that a process has to stop, with room for giving back what is not finished.
const GRACE: Duration = Duration::from_secs(10);
/// A lock is extended this often within its duration, so that it outlives an extension that fails.
const EXTENSIONS: u32 = 3;
const SHORTEST_EXTENSION: Duration = Duration::from_millis(50);

/// Consumes one queue. Several, in one process or many, share its messages.
#[derive(Debug)]
pub struct Consumer {
    database: Database,
    queue: Arc<Queue>,
    concurrency: usize,
    backoff: Backoff,
    time_limit: Duration,
    grace: Duration,
    woken_by: Wake,
    metrics: QueueMetrics,
}

impl Consumer {
    /// A consumer of `queue`, which a migration creates: 8 messages at a time, each for at most 5 minutes.
    #[must_use]
    pub fn new(database: Database, queue: Arc<Queue>, metrics: &QueueMetrics) -> Self {
        Self {
            database,
            queue,
            concurrency: CONCURRENCY,
            backoff: Backoff::default(),
            time_limit: TIME_LIMIT,
            grace: GRACE,
            woken_by: Wake::default(),
            metrics: metrics.clone(),
        }
    }

    /// Handles at most `messages` at a time. Each takes a connection while its answer is recorded, not while it is handled.
    #[must_use]
    pub fn with_concurrency(mut self, messages: usize) -> Self {
        self.concurrency = messages.max(1);
        self
    }

    /// Delivers a message that failed again after that time.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// A handler that takes longer than `limit` for a message has failed.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// After shutdown, what is in work may go on for `grace`, instead of 10 seconds; then it is abandoned.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Looks for messages when `wake` says so, and not only after its interval.
    #[must_use]
    pub fn woken_by(mut self, wake: Wake) -> Self {
        self.woken_by = wake;
        self
    }

    /// Whether the queue exists: a consumer of one that does not would wait for ever.
    ///
    /// # Errors
    /// [`QueueError::UnknownQueue`], or the database's.
    pub async fn check(&self) -> Result<(), QueueError> {
        let mut connection = self.database.acquire().await?;
        self.queue.id(&mut connection).await.map(drop)
    }

    /// Consumes until `shutdown`; what is in work is finished first, or abandoned after the grace. Failures are logged and counted, and
    /// tried again.
    pub async fn run<H: Handler>(self, handler: H, shutdown: CancellationToken) {
        let work = Arc::new(Work {
            database: self.database.clone(),
            counters: self.metrics.of_queue(self.queue.name()),
            queue: Arc::clone(&self.queue),
            backoff: self.backoff,
            time_limit: self.time_limit,
            held: Held::default(),
            stopping: CancellationToken::new(),
            handler,
        });
        let deliver = async {
            let mut deliveries = JoinSet::new();
            self.deliver(&work, &mut deliveries, &shutdown).await;
            if timeout(self.grace, finish(&mut deliveries)).await.is_err() {
                tracing::warn!(queue = self.queue.name(), messages = deliveries.len(), "stopping: messages in work are given back");
                work.stopping.cancel();
                finish(&mut deliveries).await;
            }
        };
        tokio::select! {
            () = deliver => {}
            never = self.keep_locks(&work) => match never {},
        }
    }

    /// Locks messages and starts to work on them, until `shutdown`.
    async fn deliver<H: Handler>(&self, work: &Arc<Work<H>>, deliveries: &mut JoinSet<()>, shutdown: &CancellationToken) {
        let (mut polling, mut front) = (Polling::new(Instant::now()), Front::default());
        loop {
            let free = self.concurrency - deliveries.len();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(ended) = deliveries.join_next() => {
                    note(ended);
                    let free = self.concurrency - deliveries.len();
                    if free * 2 >= self.concurrency {
                        polling.has_room(Instant::now());
                    }
                }
                () = self.due(&polling), if free > 0 => match self.lock(free, &mut front).await {
                    Ok(batch) => {
                        polling.found(&batch, Instant::now());
                        self.note(work, &batch);
                        for message in batch.messages {
                            deliveries.spawn(Arc::clone(work).deliver(message));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(queue = self.queue.name(), %error, "messages cannot be locked");
                        polling.failed(rand::random_range(0.0..1.0), Instant::now());
                    }
                },
            }
        }
    }

    async fn due(&self, polling: &Polling) {
        tokio::select! {
            () = sleep_until(polling.next()) => {}
            () = self.woken_by.woken() => {}
        }
    }

    async fn lock(&self, limit: usize, front: &mut Front) -> Result<LockedBatch, QueueError> {
        let mut connection = self.database.acquire().await?;
        let (limit, now) = (u32::try_from(limit).unwrap_or(u32::MAX), Instant::now());
        let from = front.from(now);
        let batch = self.queue.lock_from(&mut connection, limit, self.queue.lock_duration(), from).await?;
        front.found(&batch, from, now);
        Ok(batch)
    }

    fn note<H>(&self, work: &Work<H>, batch: &LockedBatch) {
        work.counters.delivered(batch.messages.len());
        for (message, reason) in &batch.dead_lettered {
            work.counters.dead_lettered(reason, 1);
            tracing::error!(queue = self.queue.name(), %message, %reason, "a message is a dead letter");
        }
    }

    /// Extends the locks of what is in work, for ever, and has handlers give up whose lock is lost.
    async fn keep_locks<H>(&self, work: &Work<H>) -> Infallible {
        let duration = self.queue.lock_duration();
        loop {
            sleep((duration / EXTENSIONS).max(SHORTEST_EXTENSION)).await;
            let tokens = work.held.tokens();
            if tokens.is_empty() {
                continue;
            }
            let asked = Instant::now();
            let outcome = match self.database.acquire().await {
                Ok(mut connection) => self.queue.extend(&mut connection, &tokens, duration).await,
                Err(error) => Err(error.into()),
            };
            match outcome {
                Ok(()) => work.held.extended(&tokens, asked + duration),
                Err(QueueError::StaleLock { messages }) => {
                    work.held.extended(&tokens, asked + duration);
                    work.held.lose(&messages);
                }
                Err(error) => {
                    tracing::warn!(queue = self.queue.name(), %error, "locks cannot be extended");
                    work.held.lose_overdue();
                }
            }
        }
    }
}

async fn finish(deliveries: &mut JoinSet<()>) {
    while let Some(ended) = deliveries.join_next().await {
        note(ended);
    }
}

/// A handler's panic is caught where it happens; this would be our own.
fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a delivery broke off; its message is delivered again when its lock runs out");
    }
}
