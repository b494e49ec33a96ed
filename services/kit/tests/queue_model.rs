//! Any sequence of operations, some rolled back, over any course of time: the queue is what a small, obvious model says. The database's
//! clock stands still but for the model's.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sqlx::PgConnection;
use tenantry_kit::queue::{Abandoned, DeadLetterReason, Enqueued, LockToken, MessageId, NewMessage, Queue, QueueError};

use crate::fixture::Fixture;

const LIMIT: u32 = 3;
const LIFE: u64 = 14 * 86_400;
const WINDOW: u64 = 86_400;
const KEPT: u64 = 30 * 86_400;
const WRONG: DeadLetterReason = DeadLetterReason::new("wrong");
const NOT_ANSWERED: &str = "not answered";

#[derive(Debug, Clone)]
enum Operation {
    Enqueue(Vec<(Option<u8>, u64, Option<u64>)>),
    Lock { limit: u32, duration: u64 },
    Complete(usize),
    CompleteAll(Vec<usize>),
    Abandon { token: usize, delay: u64 },
    Extend { tokens: Vec<usize>, duration: u64 },
    DeadLetter(usize),
    Redrive(Vec<usize>),
    RedriveByReason { wrong: bool, limit: u32 },
    Sweep,
    Pass(u64),
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Message {
    visible_at: u64,
    expires_at: u64,
    deliveries: u32,
    lock: Option<LockToken>,
    error: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Letter {
    reason: DeadLetterReason,
    deliveries: u32,
    error: Option<String>,
    at: u64,
}

/// What the queue should be. Times are seconds since the beginning.
#[derive(Debug, Clone, Default)]
struct Model {
    now: u64,
    messages: BTreeMap<MessageId, Message>,
    letters: BTreeMap<MessageId, Letter>,
    windows: HashMap<u8, (MessageId, u64)>,
}

impl Model {
    fn enqueue(&mut self, id: MessageId, key: Option<u8>, delay: u64, life: Option<u64>) -> Enqueued {
        if let Some(key) = key {
            match self.windows.get(&key) {
                Some((other, ends)) if *ends > self.now => return Enqueued::Duplicate(*other),
                _ => drop(self.windows.insert(key, (id, self.now + WINDOW))),
            }
        }
        let visible_at = self.now + delay;
        self.messages.insert(id, Message { visible_at, expires_at: visible_at + life.unwrap_or(LIFE), ..Message::default() });
        Enqueued::New(id)
    }

    fn visible(&self) -> Vec<MessageId> {
        let mut visible: Vec<(u64, MessageId)> = self
            .messages
            .iter()
            .filter(|(_, message)| message.visible_at <= self.now)
            .map(|(id, message)| (message.visible_at, *id))
            .collect();
        visible.sort();
        visible.into_iter().map(|(_, id)| id).collect()
    }

    fn holds(&self, token: LockToken) -> bool {
        self.messages.get(&token.message()).is_some_and(|message| message.lock == Some(token) && message.visible_at > self.now)
    }

    fn bury(&mut self, id: MessageId, reason: DeadLetterReason, error: Option<String>) {
        let message = self.messages.remove(&id).unwrap();
        self.letters.insert(id, Letter { reason, deliveries: message.deliveries, error, at: self.now });
    }

    fn redrive(&mut self, id: MessageId) {
        let letter = self.letters.remove(&id).unwrap();
        let message = Message { visible_at: self.now, expires_at: self.now + LIFE, error: letter.error, ..Message::default() };
        self.messages.insert(id, message);
    }
}

fn forgotten(message: &Message) -> Option<String> {
    if message.lock.is_some() { Some(NOT_ANSWERED.to_owned()) } else { message.error.clone() }
}

/// The state of a run: the model, and what a caller has kept.
struct Run<'a> {
    fixture: &'a Fixture,
    queue: Queue,
    model: Model,
    tokens: Vec<LockToken>,
    ids: Vec<MessageId>,
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, QueueError>) -> Vec<MessageId> {
    match outcome {
        Ok(_) => Vec::new(),
        Err(QueueError::StaleLock { messages } | QueueError::NoSuchDeadLetter { messages, .. }) => messages,
        Err(error) => panic!("{error}"),
    }
}

impl Run<'_> {
    fn token(&self, index: usize) -> Option<LockToken> {
        (!self.tokens.is_empty()).then(|| self.tokens[index % self.tokens.len()])
    }

    /// Different messages, as a caller has them.
    fn chosen(&self, indices: &[usize]) -> Vec<LockToken> {
        let mut chosen: Vec<LockToken> = Vec::new();
        for token in indices.iter().filter_map(|index| self.token(*index)) {
            if chosen.iter().all(|other| other.message() != token.message()) {
                chosen.push(token);
            }
        }
        chosen
    }

    fn stale(&self, tokens: &[LockToken]) -> Vec<MessageId> {
        tokens.iter().filter(|token| !self.model.holds(**token)).map(|token| token.message()).collect()
    }

    async fn apply(&mut self, connection: &mut PgConnection, operation: &Operation) {
        match operation {
            Operation::Enqueue(messages) => {
                let new: Vec<NewMessage> = messages.iter().map(new_message).collect();
                let enqueued = self.queue.enqueue_all(connection, &new).await.unwrap();
                assert_eq!(enqueued.len(), messages.len());
                for ((key, delay, life), enqueued) in messages.iter().zip(enqueued) {
                    assert_eq!(self.model.enqueue(enqueued.id(), *key, *delay, *life), enqueued);
                    self.ids.push(enqueued.id());
                }
            }
            Operation::Lock { limit, duration } => self.lock(connection, *limit, *duration).await,
            Operation::Complete(index) => {
                let Some(token) = self.token(*index) else { return };
                assert_eq!(refused(self.queue.complete(connection, token).await), self.stale(&[token]));
                if self.model.holds(token) {
                    self.model.messages.remove(&token.message());
                }
            }
            Operation::CompleteAll(indices) => {
                let tokens = self.chosen(indices);
                assert_eq!(refused(self.queue.complete_all(connection, &tokens).await), self.stale(&tokens));
                for token in tokens {
                    if self.model.holds(token) {
                        self.model.messages.remove(&token.message());
                    }
                }
            }
            Operation::Abandon { token, delay } => {
                let Some(token) = self.token(*token) else { return };
                let outcome = self.queue.abandon(connection, token, seconds(*delay), Some("abandoned")).await;
                self.abandoned(token, *delay, outcome);
            }
            Operation::Extend { tokens, duration } => {
                let tokens = self.chosen(tokens);
                assert_eq!(refused(self.queue.extend(connection, &tokens, seconds(*duration)).await), self.stale(&tokens));
                for token in tokens.into_iter().filter(|token| self.model.holds(*token)).collect::<Vec<_>>() {
                    self.model.messages.get_mut(&token.message()).unwrap().visible_at = self.model.now + duration;
                }
            }
            Operation::DeadLetter(index) => {
                let Some(token) = self.token(*index) else { return };
                let outcome = self.queue.dead_letter(connection, token, &WRONG, "refused").await;
                assert_eq!(refused(outcome), self.stale(&[token]));
                if self.model.holds(token) {
                    self.model.bury(token.message(), WRONG, Some("refused".to_owned()));
                }
            }
            Operation::Redrive(indices) => {
                let mut ids: Vec<MessageId> =
                    indices.iter().filter(|_| !self.ids.is_empty()).map(|index| self.ids[index % self.ids.len()]).collect();
                ids.sort();
                ids.dedup();
                let (there, missing): (Vec<_>, Vec<_>) = ids.iter().partition(|id| self.model.letters.contains_key(id));
                assert_eq!(refused(self.queue.redrive(connection, &ids).await), missing);
                there.into_iter().for_each(|id| self.model.redrive(id));
            }
            Operation::RedriveByReason { wrong, limit } => {
                let reason = if *wrong { WRONG } else { DeadLetterReason::DELIVERY_LIMIT };
                let mut redriven = self.queue.redrive_by_reason(connection, &reason, *limit).await.unwrap();
                let mut letters: Vec<(u64, MessageId)> =
                    self.model.letters.iter().filter(|(_, letter)| letter.reason == reason).map(|(id, letter)| (letter.at, *id)).collect();
                letters.sort();
                let mut expected: Vec<MessageId> = letters.into_iter().take(*limit as usize).map(|(_, id)| id).collect();
                redriven.sort();
                expected.sort();
                assert_eq!(redriven, expected);
                expected.into_iter().for_each(|id| self.model.redrive(id));
            }
            Operation::Sweep | Operation::Pass(_) => unreachable!("not in a transaction of the caller's"),
        }
    }

    async fn lock(&mut self, connection: &mut PgConnection, limit: u32, duration: u64) {
        let batch = self.queue.lock_for(connection, limit, seconds(duration)).await.unwrap();
        let candidates: Vec<MessageId> = self.model.visible().into_iter().take(limit as usize).collect();
        assert_eq!(batch.is_full, candidates.len() == limit as usize);
        let (mut locked, mut dead) = (batch.messages.iter(), batch.dead_lettered.iter());
        for id in candidates {
            let message = self.model.messages[&id].clone();
            let is_expired = message.expires_at <= self.model.now;
            if is_expired || message.deliveries >= LIMIT {
                let reason = if is_expired { DeadLetterReason::EXPIRED } else { DeadLetterReason::DELIVERY_LIMIT };
                assert_eq!(dead.next(), Some(&(id, reason.clone())));
                self.model.bury(id, reason, forgotten(&message));
            } else {
                let delivered = locked.next().expect("a message is delivered");
                assert_eq!((delivered.id(), delivered.deliveries), (id, message.deliveries + 1));
                self.tokens.push(delivered.token);
                let entry = self.model.messages.get_mut(&id).unwrap();
                entry.visible_at = self.model.now + duration;
                entry.deliveries += 1;
                entry.error = forgotten(&message);
                entry.lock = Some(delivered.token);
            }
        }
        assert_eq!((locked.next(), dead.next()), (None, None));
    }

    fn abandoned(&mut self, token: LockToken, delay: u64, outcome: Result<Abandoned, QueueError>) {
        if !self.model.holds(token) {
            assert_eq!(refused(outcome), [token.message()]);
            return;
        }
        let now = self.model.now;
        let message = self.model.messages.get_mut(&token.message()).unwrap();
        if message.deliveries >= LIMIT {
            assert_eq!(outcome.unwrap(), Abandoned::DeadLettered);
            self.model.bury(token.message(), DeadLetterReason::DELIVERY_LIMIT, Some("abandoned".to_owned()));
        } else {
            assert_eq!(outcome.unwrap(), Abandoned::Again);
            message.visible_at = (now + delay).min(message.expires_at);
            message.lock = None;
            message.error = Some("abandoned".to_owned());
        }
    }

    async fn sweep(&mut self) {
        let swept = self.queue.sweep(&self.fixture.database, seconds(KEPT), &self.fixture.queues).await.unwrap();
        let now = self.model.now;
        let windows = self.model.windows.len();
        self.model.windows.retain(|_, (_, ends)| *ends > now);
        assert_eq!(swept.deduplications, (windows - self.model.windows.len()) as u64);
        let expired: Vec<MessageId> = self.model.visible().into_iter().filter(|id| self.model.messages[id].expires_at <= now).collect();
        assert_eq!(swept.expired, expired.len() as u64);
        for id in expired {
            let error = forgotten(&self.model.messages[&id]);
            self.model.bury(id, DeadLetterReason::EXPIRED, error);
        }
        let letters = self.model.letters.len();
        self.model.letters.retain(|_, letter| letter.at + KEPT > now);
        assert_eq!(swept.dead_letters, (letters - self.model.letters.len()) as u64);
    }

    async fn pass(&mut self, time: u64) {
        self.model.now += time;
        let expression = format!("timestamptz '2030-01-01 00:00:00+00' + interval '{} seconds'", self.model.now);
        self.fixture.test.set_time(&expression).await.unwrap();
    }

    /// Compares every message and dead letter with the model's.
    async fn compare(&self, connection: &mut PgConnection) {
        let rows: Vec<(MessageId, i64, i64, i32, bool, Option<String>)> = sqlx::query_as(
            "SELECT id, extract(epoch FROM visible_at - timestamptz '2030-01-01 00:00:00+00')::bigint,
                 extract(epoch FROM expires_at - timestamptz '2030-01-01 00:00:00+00')::bigint, deliveries, lock_token IS NOT NULL, last_error
             FROM queue_messages",
        )
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        let messages: BTreeMap<MessageId, _> = rows
            .into_iter()
            .map(|(id, visible_at, expires_at, deliveries, is_locked, error)| {
                (id, (visible_at as u64, expires_at as u64, deliveries as u32, is_locked, error.map(shortened)))
            })
            .collect();
        let expected: BTreeMap<MessageId, _> = self
            .model
            .messages
            .iter()
            .map(|(id, message)| {
                let Message { visible_at, expires_at, deliveries, lock, error } = message.clone();
                (*id, (visible_at, expires_at, deliveries, lock.is_some(), error))
            })
            .collect();
        assert_eq!(messages, expected);
        let letters: BTreeMap<MessageId, Letter> = self
            .queue
            .dead_letters(connection, None, None, 100_000)
            .await
            .unwrap()
            .into_iter()
            .map(|letter| {
                let at = (letter.dead_lettered_at.unix_micros() / 1_000_000 - 1_893_456_000) as u64;
                (letter.id, Letter { reason: letter.reason, deliveries: letter.deliveries, error: letter.last_error.map(shortened), at })
            })
            .collect();
        assert_eq!(letters, self.model.letters);
    }
}

fn shortened(error: String) -> String {
    if error.contains(NOT_ANSWERED) { NOT_ANSWERED.to_owned() } else { error }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn new_message((key, delay, life): &(Option<u8>, u64, Option<u64>)) -> NewMessage {
    let mut message = NewMessage::new(&"content").unwrap().with_delay(seconds(*delay));
    if let Some(life) = life {
        message = message.with_time_to_live(seconds(*life));
    }
    match key {
        Some(key) => message.with_deduplication_id(key).unwrap(),
        None => message,
    }
}

fn operations() -> impl Strategy<Value = Vec<(Operation, bool)>> {
    let times = || prop::sample::select(vec![0_u64, 1, 60, 300]);
    let indices = || prop::collection::vec(any::<usize>(), 0..5);
    let message = (prop::option::of(0..3_u8), times(), prop::option::of(prop::sample::select(vec![1_u64, 60, 7200])));
    let operation = prop_oneof![
        4 => prop::collection::vec(message, 0..5).prop_map(Operation::Enqueue),
        6 => (1..5_u32, times()).prop_map(|(limit, duration)| Operation::Lock { limit, duration }),
        2 => any::<usize>().prop_map(Operation::Complete),
        1 => indices().prop_map(Operation::CompleteAll),
        3 => (any::<usize>(), times()).prop_map(|(token, delay)| Operation::Abandon { token, delay }),
        2 => (indices(), times()).prop_map(|(tokens, duration)| Operation::Extend { tokens, duration }),
        1 => any::<usize>().prop_map(Operation::DeadLetter),
        2 => indices().prop_map(Operation::Redrive),
        1 => (any::<bool>(), 1..3_u32).prop_map(|(wrong, limit)| Operation::RedriveByReason { wrong, limit }),
        2 => Just(Operation::Sweep),
        5 => prop::sample::select(vec![1_u64, 60, 300, 3600, WINDOW, WINDOW, LIFE, KEPT]).prop_map(Operation::Pass),
    ];
    prop::collection::vec((operation, prop::bool::weighted(0.15)), 1..60)
}

async fn run(fixture: &Fixture, operations: &[(Operation, bool)]) {
    let mut connection = fixture.test.connect().await.unwrap();
    sqlx::raw_sql("TRUNCATE queue_messages, queue_dead_letters, queue_deduplications").execute(&mut connection).await.unwrap();
    let queue = Queue::new("payments").with_delivery_limit(LIMIT);
    let mut run = Run { fixture, queue, model: Model::default(), tokens: Vec::new(), ids: Vec::new() };
    run.pass(0).await;
    for (operation, is_rolled_back) in operations {
        match operation {
            Operation::Sweep => run.sweep().await,
            Operation::Pass(time) => run.pass(*time).await,
            operation if *is_rolled_back => {
                let before = run.model.clone();
                let mut transaction = fixture.database.begin().await.unwrap();
                run.apply(&mut transaction, operation).await;
                transaction.rollback().await.unwrap();
                run.model = before;
            }
            operation => run.apply(&mut connection, operation).await,
        }
        run.compare(&mut connection).await;
    }
}

#[test]
fn a_queue_is_what_the_model_says_after_any_operations_at_any_times() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let config = Config { cases: 96, max_shrink_iters: 400, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&operations(), |operations| {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(&fixture, &operations))));
            outcome.map_err(|_| TestCaseError::fail("the queue and the model differ, see above"))
        })
        .unwrap();
}
