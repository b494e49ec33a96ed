//! Workers killed (SIGKILL), their sessions ended (`pg_terminate_backend`), locks run out, and a receiver that takes and does not say so: each prize
//! is taken once, each message is completed or dead-lettered once, and nobody is told more often than deliveries allow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tenantry_harness::process::Process;

use crate::fixture::{Slot, eventually};
use crate::payments::{KEY, over, paying_slot, time_passes};
use crate::receiver::{Reaction, Receiver};

const WINNERS: i64 = 30;
const DELIVERIES: usize = 4;
const ROUNDS: usize = 16;

/// Notes each end of a message, in the transaction that brings it about.
pub const LEDGER: &str = "
    CREATE TABLE ends (message uuid, what text);
    CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'DELETE' THEN INSERT INTO ends VALUES (OLD.id, 'left'); RETURN OLD; END IF;
        IF TG_OP = 'INSERT' THEN INSERT INTO ends VALUES (NEW.id, 'dead'); RETURN NEW; END IF;
        INSERT INTO ends VALUES (NEW.message_id, 'paid'); RETURN NEW;
    END $$;
    CREATE TRIGGER note_end AFTER DELETE ON queue_messages FOR EACH ROW EXECUTE FUNCTION note_end();
    CREATE TRIGGER note_end AFTER INSERT ON queue_dead_letters FOR EACH ROW EXECUTE FUNCTION note_end();
    CREATE TRIGGER note_end AFTER UPDATE OF paid_at ON prize_payments FOR EACH ROW EXECUTE FUNCTION note_end();";

fn bad_reaction(random: &mut StdRng) -> Reaction {
    let then = |reaction| Reaction::TakeAnd(Box::new(reaction));
    match random.random_range(0..20) {
        0..6 => Reaction::Take,
        6..9 => then(Reaction::Cut),
        9..11 => then(Reaction::Hang),
        11..13 => then(Reaction::status(503)),
        13..16 => Reaction::status(500),
        16 => Reaction::status(422),
        17 => Reaction::Hang,
        _ => Reaction::Cut,
    }
}

struct Chaos {
    slot: Slot,
    receiver: Receiver,
    workers: Vec<Process>,
    random: StdRng,
    redriven: BTreeMap<String, usize>,
}

impl Chaos {
    async fn start(seed: u64) -> Self {
        let mut reactions = StdRng::seed_from_u64(seed);
        let receiver = Receiver::start(KEY, move |_, _| bad_reaction(&mut reactions)).await;
        let slot = paying_slot(&receiver.url(), json!({ "deliveryLimit": DELIVERIES })).await;
        sqlx::raw_sql(LEDGER).execute(&mut slot.test.connect().await.unwrap()).await.unwrap();
        let workers = Vec::new();
        Self { slot, receiver, workers, random: StdRng::seed_from_u64(!seed), redriven: BTreeMap::new() }
    }

    /// What waits for a back-off or a lock comes again.
    async fn time_passes(&mut self) {
        time_passes(&self.slot, Duration::from_secs(self.random.random_range(61..900))).await;
    }

    async fn end_sessions(&self, share: f64) {
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'campaigns/worker' AND random() < $1",
        )
        .bind(share)
        .execute(&mut self.slot.test.connect().await.unwrap())
        .await
        .unwrap();
    }

    fn replace_worker(&mut self) {
        let index = self.random.random_range(0..self.workers.len());
        std::mem::replace(&mut self.workers[index], self.slot.worker()).kill().unwrap();
    }

    async fn redrive(&mut self) {
        for letter in self.slot.store.payment_dead_letters(None, None, 1000).await.unwrap() {
            assert!(letter.deliveries as usize <= DELIVERIES, "{letter:?}");
            assert!(self.slot.store.redrive_payment(letter.id).await.unwrap());
            *self.redriven.entry(letter.id.to_string()).or_default() += 1;
        }
    }

    /// Waits until the receiver hears more, or a moment has passed in which it did not.
    async fn something_happens(&self) {
        let (before, deadline) = (self.receiver.received().len(), Instant::now() + Duration::from_millis(700));
        eventually("more is received", async || self.receiver.received().len() > before || Instant::now() > deadline).await;
    }

    async fn unpaid(&self) -> i64 {
        let unpaid = self.slot.store.unpaid_prizes().await.unwrap();
        unpaid.held + unpaid.waiting + unpaid.dead
    }
}

/// How often each message has ended, and how, by the ledger.
pub async fn ends(slot: &Slot) -> BTreeMap<String, BTreeMap<String, usize>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT message::text, what FROM ends").fetch_all(&mut slot.test.connect().await.unwrap()).await.unwrap();
    let mut ends: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for (message, what) in rows {
        *ends.entry(message).or_default().entry(what).or_default() += 1;
    }
    ends
}

async fn each_prize_is_taken_once(seed: u64) {
    let mut chaos = Chaos::start(seed).await;
    let campaign = over(&chaos.slot, 1..=WINNERS).await;
    chaos.workers = vec![chaos.slot.worker(), chaos.slot.worker()];
    for _ in 0..ROUNDS {
        chaos.something_happens().await;
        match chaos.random.random_range(0..5) {
            0 | 1 => chaos.replace_worker(),
            2 => chaos.end_sessions(0.7).await,
            3 => chaos.redrive().await,
            _ => {}
        }
        chaos.time_passes().await;
    }
    chaos.receiver.now(|_, _| Reaction::Take);
    let deadline = Instant::now() + Duration::from_secs(90);
    while chaos.slot.store.winners(campaign).await.unwrap().is_none() || chaos.unpaid().await > 0 {
        assert!(Instant::now() < deadline, "seed {seed}: {} are unpaid", chaos.unpaid().await);
        chaos.redrive().await;
        chaos.something_happens().await;
        chaos.time_passes().await;
    }

    let taken = chaos.receiver.taken();
    let told: Vec<Value> = taken.values().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let users: BTreeSet<i64> = told.iter().map(|body| body["data"]["userId"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!((users, told.len() as i64), ((1..=WINNERS).collect(), WINNERS), "seed {seed}");
    let cents = |body: &Value| body["data"]["prize"]["value"].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    assert_eq!(told.iter().map(cents).sum::<i64>(), 10_000, "seed {seed}");
    let ends = ends(&chaos.slot).await;
    assert_eq!(ends.keys().collect::<Vec<_>>(), taken.keys().collect::<Vec<_>>(), "seed {seed}");
    for (message, ends) in &ends {
        let (dead, lives) = (ends.get("dead").copied().unwrap_or(0), 1 + chaos.redriven.get(message).copied().unwrap_or(0));
        assert_eq!(
            (ends["paid"], dead, ends["left"]),
            (1, lives - 1, lives),
            "seed {seed}: {message}: once in each life, and the last paid"
        );
        let sent = chaos.receiver.received().iter().filter(|received| received.id == *message).count();
        assert!(sent <= lives * DELIVERIES, "seed {seed}: {message} was sent {sent} times in {lives} lives");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_prize_is_taken_once_whatever_is_killed() {
    for seed in [20_261_128, 5, 1_789] {
        each_prize_is_taken_once(seed).await;
    }
}
