//! Answers: complete, abandon, extend, dead-letter; each takes effect once, and is refused with a stale token.

use std::time::Duration;

use tenantry_kit::queue::{Abandoned, DeadLetterReason, LockToken, Queue, QueueError};

use crate::fixture::{Fixture, contents, message};

const MINUTE: Duration = Duration::from_secs(60);
const WRONG: DeadLetterReason = DeadLetterReason::new("wrong");

/// Tries every answer with that token; each must be refused, and change nothing.
async fn every_answer_is_refused(fixture: &Fixture, token: LockToken) {
    let mut connection = fixture.database.acquire().await.unwrap();
    let queue = &fixture.queue;
    let before = fixture.state().await;
    let outcomes = [
        ("complete", queue.complete(&mut connection, token).await),
        ("complete all", queue.complete_all(&mut connection, &[token]).await),
        ("abandon", queue.abandon(&mut connection, token, Duration::ZERO, None).await.map(drop)),
        ("extend", queue.extend(&mut connection, &[token], MINUTE).await),
        ("dead-letter", queue.dead_letter(&mut connection, token, &WRONG, "wrong").await),
    ];
    for (answer, outcome) in outcomes {
        let Err(QueueError::StaleLock { messages }) = outcome else { panic!("{answer}: {outcome:?}") };
        assert_eq!(messages, [token.message()], "{answer}");
    }
    assert_eq!(fixture.state().await, before);
}

#[tokio::test]
async fn a_token_is_stale_once_the_lock_has_run_out_also_while_nobody_else_holds_it() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["only"]).await;
    let token = fixture.lock_one().await.token;
    fixture.test.shift_time(5 * MINUTE).await.unwrap();
    every_answer_is_refused(&fixture, token).await;
}

#[tokio::test]
async fn a_token_is_stale_once_another_consumer_has_the_message() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["only"]).await;
    let former = fixture.lock_one().await.token;
    fixture.test.shift_time(5 * MINUTE).await.unwrap();
    let current = fixture.lock_one().await.token;
    every_answer_is_refused(&fixture, former).await;
    fixture.queue.complete(&mut fixture.database.acquire().await.unwrap(), current).await.unwrap();
    every_answer_is_refused(&fixture, current).await;
}

#[tokio::test]
async fn a_token_is_stale_once_it_was_answered_with() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["completed", "abandoned", "dead"]).await;
    let tokens: Vec<LockToken> = fixture.lock(3).await.iter().map(|message| message.token).collect();
    let mut connection = fixture.database.acquire().await.unwrap();
    fixture.queue.complete(&mut connection, tokens[0]).await.unwrap();
    fixture.queue.abandon(&mut connection, tokens[1], Duration::ZERO, None).await.unwrap();
    fixture.queue.dead_letter(&mut connection, tokens[2], &WRONG, "wrong").await.unwrap();
    for token in &tokens {
        every_answer_is_refused(&fixture, *token).await;
    }
    // Not even when the same message is delivered for the first time again.
    fixture.queue.redrive(&mut connection, &[tokens[2].message()]).await.unwrap();
    assert_eq!(fixture.lock(10).await.len(), 2);
    for token in tokens {
        every_answer_is_refused(&fixture, token).await;
    }
}

#[tokio::test]
async fn an_effect_in_the_completing_transaction_happens_once_whoever_is_faster() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["payment"]).await;
    let slow = fixture.lock_one().await.token;
    fixture.test.shift_time(5 * MINUTE).await.unwrap();
    let fast = fixture.lock_one().await.token;
    for (token, is_current) in [(slow, false), (fast, true), (slow, false), (fast, false)] {
        let mut transaction = fixture.database.begin().await.unwrap();
        sqlx::query("INSERT INTO effects (key, payload) VALUES ('paid', 'once')").execute(&mut *transaction).await.unwrap();
        match fixture.queue.complete(&mut transaction, token).await {
            Ok(()) => transaction.commit().await.unwrap(),
            Err(error) => {
                assert!(matches!(error, QueueError::StaleLock { .. }) && !is_current, "{error}");
                transaction.rollback().await.unwrap();
            }
        }
    }
    assert_eq!(fixture.effects().await.len(), 1);
}

#[tokio::test]
async fn many_are_completed_at_once_and_the_stale_among_them_are_named() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(0..10).await;
    let tokens: Vec<LockToken> = fixture.lock(10).await.iter().map(|message| message.token).collect();
    let mut connection = fixture.database.acquire().await.unwrap();
    fixture.queue.complete_all(&mut connection, &tokens[..3]).await.unwrap();
    fixture.queue.complete_all(&mut connection, &[]).await.unwrap();
    assert_eq!(fixture.queued().await, 7);

    let mut transaction = fixture.database.begin().await.unwrap();
    fixture.queue.complete_all(&mut transaction, &tokens).await.unwrap_err();
    transaction.rollback().await.unwrap();
    assert_eq!(fixture.queued().await, 7, "all or none, in a transaction");

    let error = fixture.queue.complete_all(&mut connection, &tokens).await.unwrap_err();
    let QueueError::StaleLock { messages } = error else { panic!("{error}") };
    assert_eq!(messages, tokens[..3].iter().map(|token| token.message()).collect::<Vec<_>>());
    assert_eq!(fixture.queued().await, 0);
}

#[tokio::test]
async fn an_abandoned_message_comes_again_after_its_delay_with_what_went_wrong() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["only"]).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    let first = fixture.lock_one().await;
    let abandoned = fixture.queue.abandon(&mut connection, first.token, Duration::ZERO, Some("no\0 answer")).await.unwrap();
    assert_eq!(abandoned, Abandoned::Again);
    let second = fixture.lock_one().await;
    assert_eq!((second.deliveries, second.last_error.as_deref()), (2, Some("no answer")));
    fixture.queue.abandon(&mut connection, second.token, 10 * MINUTE, None).await.unwrap();
    fixture.test.shift_time(9 * MINUTE).await.unwrap();
    assert!(fixture.lock(1).await.is_empty());
    fixture.test.shift_time(10 * MINUTE).await.unwrap();
    assert_eq!(fixture.lock_one().await.last_error.as_deref(), Some("no answer"), "the last that is known");
}

#[tokio::test]
async fn a_delay_ends_with_the_time_to_live() {
    let fixture = Fixture::new().await;
    fixture.enqueue(message("short").with_time_to_live(2 * MINUTE)).await;
    let locked = fixture.lock_one().await;
    fixture.queue.abandon(&mut fixture.database.acquire().await.unwrap(), locked.token, 60 * MINUTE, None).await.unwrap();
    fixture.test.shift_time(2 * MINUTE).await.unwrap();
    assert_eq!(fixture.queue.sweep(&fixture.database, Duration::MAX, &fixture.queues).await.unwrap().expired, 1);
}

#[tokio::test]
async fn a_message_abandoned_for_the_last_time_is_a_dead_letter_at_once() {
    let fixture = Fixture::new().await.with_queue(Queue::new("payments").with_delivery_limit(2));
    fixture.enqueue_all(["poison", "good"]).await;
    let mut connection = fixture.database.acquire().await.unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let messages = fixture.lock(1).await;
        outcomes.push(fixture.queue.abandon(&mut connection, messages[0].token, Duration::ZERO, Some("refused")).await.unwrap());
        // Who abandoned goes behind the others.
        assert_eq!(contents(&messages), [["poison", "good"][outcomes.len() - 1]]);
    }
    assert_eq!(outcomes, [Abandoned::Again, Abandoned::Again]);
    let poison = fixture.lock(1).await.remove(0);
    let outcome = fixture.queue.abandon(&mut connection, poison.token, 60 * MINUTE, Some("refused again")).await.unwrap();
    assert_eq!(outcome, Abandoned::DeadLettered);
    let letter = fixture.dead_letters().await.remove(0);
    assert_eq!((letter.id, letter.deliveries, letter.reason), (poison.id(), 2, DeadLetterReason::DELIVERY_LIMIT));
    assert_eq!(letter.last_error.as_deref(), Some("refused again"));
}

#[tokio::test]
async fn a_dead_lettered_message_keeps_its_content_reason_error_and_times() {
    let fixture = Fixture::new().await;
    fixture.enqueue_all(["wrong one"]).await;
    let locked = fixture.lock_one().await;
    let error = "ü".repeat(3000);
    fixture.queue.dead_letter(&mut fixture.database.acquire().await.unwrap(), locked.token, &WRONG, &error).await.unwrap();
    let letter = fixture.dead_letters().await.remove(0);
    assert_eq!((letter.id, &letter.reason, letter.deliveries), (locked.id(), &WRONG, 1));
    assert_eq!(letter.last_error.unwrap().chars().count(), 2000);
    assert_eq!((letter.payload, letter.enqueued_at, letter.delivered_at), (locked.payload, locked.enqueued_at, Some(locked.delivered_at)));
    assert!(letter.dead_lettered_at >= locked.delivered_at && letter.expires_at > letter.dead_lettered_at);
    assert_eq!(fixture.queued().await, 0);
}
