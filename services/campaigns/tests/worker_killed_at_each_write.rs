//! A worker killed (SIGKILL) in the middle of each write of each transaction, and while it commits: purchases are qualified, counted, parked, released
//! and dead-lettered once, and the totals are the model's, to the cent; starts and ends are announced and winners fixed once; each prize is paid or
//! dead-lettered once.
//!
//! Triggers hold a write until the worker that waits for it is dead, and then its session ends too, so that nothing of the transaction stays; held
//! at the commit, the transaction is committed after its worker's death.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campaigns::domain::{CampaignContent, CampaignId, CampaignTimes, CatalogueEntry, Purchase};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use tenantry_kit::date::Date;
use tenantry_kit::time::UtcDateTime;

use crate::fixture::{Slot, eventually, purchase};
use crate::payments::{KEY, LONG, over, paying_slot, time_passes};
use crate::payments_killed::{LEDGER, ends};
use crate::processing::accept;
use crate::rates_model::{Model, campaign_in, days_before, parked, purchase_of, today};
use crate::receiver::{Reaction, Receiver};

const MONTHS: f64 = 200.0 * 86_400.0;
const PURCHASES: i64 = 40;
const WINNERS: i64 = 3;
const DELIVERIES: usize = 4;

/// While purchases are qualified, and while they are counted.
const PROCESSING: [&str; 10] = [
    "insert purchase_dead_letters",
    "insert stream_events qualified_purchase_events",
    "update stream_positions purchase_events",
    "commit stream_positions purchase_events",
    "insert parked_purchases",
    "insert campaign_totals",
    "update campaign_results",
    "insert stream_events results_calculation_update_events",
    "update stream_positions qualified_purchase_events",
    "commit stream_positions qualified_purchase_events",
];

/// While parked purchases are released.
const RELEASING: [&str; 5] = [
    "delete parked_purchases",
    "insert campaign_totals",
    "update campaign_results",
    "insert stream_events results_calculation_update_events",
    "commit parked_purchases",
];

/// While a start is announced.
const ANNOUNCING: [&str; 4] =
    ["update campaigns", "update campaign_catalogue", "insert stream_events campaigns_lifecycle", "commit campaigns"];

/// While a campaign is completed.
const COMPLETING: [&str; 3] = ["insert campaign_winners", "update campaigns", "commit campaigns"];

/// What the receiver of prizes answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answers {
    Yes,
    No,
    Busy,
    BusyAtFirst,
    NothingAtFirst,
}

impl Answers {
    fn to(self, requests_before: usize) -> Reaction {
        match self {
            Self::BusyAtFirst if requests_before == 0 => Reaction::status(503),
            Self::NothingAtFirst if requests_before == 0 => Reaction::Hang,
            Self::Yes | Self::BusyAtFirst | Self::NothingAtFirst => Reaction::Take,
            Self::Busy => Reaction::status(503),
            Self::No => Reaction::status(422),
        }
    }
}

/// While payments are enqueued, taken from the queue and kept, completed, tried again, and refused; and what the receiver answers.
const PAYING: [(&str, Answers); 16] = [
    ("insert queue_deduplications", Answers::Yes),
    ("insert queue_messages", Answers::Yes),
    ("insert prize_payments", Answers::Yes),
    ("enqueue campaigns", Answers::Yes),
    ("commit insert queue_messages", Answers::Yes),
    ("lock queue_messages", Answers::Yes),
    ("commit lock queue_messages", Answers::Yes),
    ("extend queue_messages", Answers::NothingAtFirst),
    ("delete queue_messages", Answers::Yes),
    ("update prize_payments", Answers::Yes),
    ("commit delete queue_messages", Answers::Yes),
    ("abandon queue_messages", Answers::BusyAtFirst),
    ("commit abandon queue_messages", Answers::BusyAtFirst),
    ("delete queue_messages", Answers::No),
    ("insert queue_dead_letters", Answers::No),
    ("commit insert queue_dead_letters", Answers::No),
];

/// While payments become dead letters that nobody refused.
const GIVING_UP: [&str; 3] = ["delete queue_messages", "insert queue_dead_letters", "commit insert queue_dead_letters"];

/// The place of a write is its operation, its table, and the topic where the table has one.
const GATES: &str = "
    CREATE TABLE held (place text PRIMARY KEY);
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE here text := coalesce(TG_ARGV[0], lower(TG_OP)) || ' ' || TG_TABLE_NAME;
    BEGIN
        IF TG_TABLE_NAME LIKE 'stream_%' THEN
            here := here || ' ' || (SELECT name FROM stream_topics WHERE id = NEW.topic_id);
        END IF;
        IF EXISTS (SELECT FROM held WHERE place = here) THEN
            PERFORM pg_advisory_xact_lock(4711);
        END IF;
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER hold BEFORE INSERT ON purchase_dead_letters FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE INSERT ON stream_events FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE UPDATE ON stream_positions FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE INSERT OR DELETE ON parked_purchases FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE INSERT ON campaign_totals FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE UPDATE ON campaign_results FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE INSERT ON purchases_past_end FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE UPDATE ON campaigns FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE UPDATE ON campaign_catalogue FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE INSERT ON campaign_winners FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE CONSTRAINT TRIGGER hold_commit AFTER UPDATE ON campaigns
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold('commit');
    CREATE CONSTRAINT TRIGGER hold_commit AFTER UPDATE ON stream_positions
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold('commit');
    CREATE CONSTRAINT TRIGGER hold_commit AFTER DELETE ON parked_purchases
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold('commit');";

/// What is done to a message is told by its lock.
const PAYMENT_GATES: &str = "
    CREATE TRIGGER hold_enqueue BEFORE UPDATE ON campaigns FOR EACH ROW
        WHEN (NEW.payments_enqueued_at IS DISTINCT FROM OLD.payments_enqueued_at) EXECUTE FUNCTION hold('enqueue');
    CREATE TRIGGER hold BEFORE INSERT OR DELETE ON queue_deduplications FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE INSERT OR DELETE ON queue_messages FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE INSERT ON queue_dead_letters FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold BEFORE INSERT OR UPDATE ON prize_payments FOR EACH ROW EXECUTE FUNCTION hold();
    CREATE TRIGGER hold_lock BEFORE UPDATE ON queue_messages FOR EACH ROW
        WHEN (NEW.lock_token IS NOT NULL AND NEW.lock_token IS DISTINCT FROM OLD.lock_token) EXECUTE FUNCTION hold('lock');
    CREATE TRIGGER hold_extend BEFORE UPDATE ON queue_messages FOR EACH ROW
        WHEN (NEW.lock_token = OLD.lock_token) EXECUTE FUNCTION hold('extend');
    CREATE TRIGGER hold_abandon BEFORE UPDATE ON queue_messages FOR EACH ROW
        WHEN (NEW.lock_token IS NULL) EXECUTE FUNCTION hold('abandon');
    CREATE CONSTRAINT TRIGGER hold_commit_insert AFTER INSERT ON queue_messages
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold('commit insert');
    CREATE CONSTRAINT TRIGGER hold_commit_delete AFTER DELETE ON queue_messages
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold('commit delete');
    CREATE CONSTRAINT TRIGGER hold_commit_lock AFTER UPDATE ON queue_messages DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (NEW.lock_token IS NOT NULL AND NEW.lock_token IS DISTINCT FROM OLD.lock_token) EXECUTE FUNCTION hold('commit lock');
    CREATE CONSTRAINT TRIGGER hold_commit_abandon AFTER UPDATE ON queue_messages DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (NEW.lock_token IS NULL) EXECUTE FUNCTION hold('commit abandon');
    CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT ON queue_dead_letters
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold('commit insert');";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_are_exact_when_a_worker_is_killed_in_each_write() {
    let slot = Slot::new().await;
    let campaign = campaign_in(&slot, "EUR", -MONTHS).await;
    // every purchase was made while this one ran, and is too late for it
    let ended = slot.campaign(10, -MONTHS, -5.0 * 86_400.0).await;
    let mut gates = slot.test.connect().await.unwrap();
    sqlx::raw_sql(GATES).execute(&mut gates).await.unwrap();
    let (mut model, today) = (Model::default(), today(&slot).await);
    let mut purchases = Vec::new();
    for (round, place) in PROCESSING.into_iter().chain(RELEASING).enumerate() {
        // a day of its own for each round, too far from the others to borrow a rate
        let day = days_before(today, 10 * (round as i64 + 1));
        let known = [model.put("USD", day, 11_532 + round as i64), model.put("GBP", day, 8_513 - round as i64)];
        slot.store.put_rates(&known).await.unwrap();
        purchases.extend(accept_batch(&slot, round, day).await);
        let is_processing = round < PROCESSING.len();
        if is_processing {
            kill_at(&slot, &mut gates, place).await;
        }
        let worker = slot.worker();
        eventually("everything is processed", async || slot.lag().await == 0).await;
        assert_eq!(parked(&slot).await, PURCHASES / 4, "those in won wait: {place}");
        drop(worker);
        slot.store.put_rates(&[model.put("KRW", days_before(day, 3), 14_871_234)]).await.unwrap();
        if !is_processing {
            kill_at(&slot, &mut gates, place).await;
        }
        let _worker = slot.worker();
        eventually("what waited is released", async || parked(&slot).await == 0).await;
        assert_eq!(slot.totals(campaign).await, model.totals(&slot, &purchases, "EUR").await, "{place}");
    }
    let late = purchases.len() as i64;
    assert_eq!(late_letters(&mut gates, ended.get()).await, (late, late), "each late purchase is a dead letter once");
    for id in [campaign, ended] {
        let version = slot.store.results_version(id).await.unwrap().unwrap();
        let updates = slot.events("results_calculation_update_events").await;
        let of_campaign = updates.iter().filter(|event| event["campaignId"] == id.to_string()).count();
        assert_eq!(of_campaign as i64, version, "each change is announced once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_are_announced_and_winners_fixed_once_when_a_worker_is_killed_in_each_write() {
    let slot = Slot::new().await;
    let mut gates = slot.test.connect().await.unwrap();
    sqlx::raw_sql(GATES).execute(&mut gates).await.unwrap();
    let announced = async |id: CampaignId| {
        let events = slot.events("campaigns_lifecycle").await;
        let of_campaign = events.iter().filter(|event| event["campaignId"] == id.to_string());
        of_campaign.map(|event| event["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for place in ANNOUNCING {
        let id = slot.campaign(11, -1.0, 1_000_000.0).await;
        kill_at(&slot, &mut gates, place).await;
        let _worker = slot.worker();
        eventually("the start is announced", async || announced(id).await == ["Start"]).await;
    }
    for (round, place) in COMPLETING.into_iter().enumerate() {
        let id = slot.campaign(10, -600.0, -1.0).await;
        let made = slot.store.now().await.unwrap().saturating_add("-5m".parse().unwrap());
        let bought = Purchase { timestamp: made, ..purchase(format!("wins {round}"), 1 + round as i64, 10, 500) };
        accept(&slot, &bought).await;
        {
            let _worker = slot.worker();
            eventually("it is over", async || slot.lag().await == 0 && announced(id).await == ["Start", "End"]).await;
        }
        // past the grace, and the time for what is not seen yet
        slot.test.shift_time(Duration::from_secs(7200 * (1 + round as u64))).await.unwrap();
        kill_at(&slot, &mut gates, place).await;
        let _worker = slot.worker();
        eventually("there is a winner", async || slot.store.winners(id).await.unwrap().is_some()).await;
        let winners: Vec<i64> = slot.store.winners(id).await.unwrap().unwrap().iter().map(|winner| winner.user_id.get()).collect();
        assert_eq!((winners, announced(id).await), (vec![1 + round as i64], vec!["Start".to_owned(), "End".to_owned()]), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dated_past_the_end_is_kept_once_when_a_worker_is_killed_as_it_keeps_it() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 60.0).await;
    let mut gates = slot.test.connect().await.unwrap();
    sqlx::raw_sql(GATES).execute(&mut gates).await.unwrap();
    for number in 0..20 {
        let ahead = purchase(number, 1 + number, 10, 500);
        let ahead = Purchase { timestamp: ahead.timestamp.saturating_add("200s".parse().unwrap()), ..ahead };
        accept(&slot, &ahead).await;
    }
    kill_at(&slot, &mut gates, "insert purchases_past_end").await;
    let _worker = slot.worker();
    eventually("everything is processed", async || slot.lag().await == 0).await;
    assert_eq!(slot.totals(campaign).await, []);
    let later = |entry: &CatalogueEntry, now: UtcDateTime| {
        let times = CampaignTimes::new(entry.campaign.times.start(), now.saturating_add("1h".parse().unwrap())).unwrap();
        entry.changed(CampaignContent { times, ..entry.campaign.content() }, now)
    };
    slot.store.update_campaign(campaign, later).await.unwrap();
    eventually("everything is processed", async || slot.lag().await == 0).await;
    let totals = slot.totals(campaign).await;
    assert!(totals.len() == 20 && totals.iter().all(|total| total.total == 5.into()), "{totals:?}");
}

/// A receiver, a slot that pays by it, and its gates.
async fn paying() -> (Receiver, Slot, PgConnection) {
    let receiver = Receiver::start(KEY, |_, _| Reaction::Take).await;
    // Patient, so that a lock is extended before the receiver is given up.
    let slot = paying_slot(&receiver.url(), json!({ "deliveryLimit": DELIVERIES, "timeoutSeconds": 40 })).await;
    let mut gates = slot.test.connect().await.unwrap();
    for statements in [GATES, PAYMENT_GATES, LEDGER] {
        run(&mut gates, statements).await;
    }
    (receiver, slot, gates)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_prize_is_paid_or_refused_once_when_a_worker_is_killed_in_each_write() {
    let (receiver, slot, mut gates) = paying().await;
    for (place, answers) in PAYING {
        receiver.now(move |_, before| answers.to(before));
        let campaign = over(&slot, 1..=WINNERS).await;
        kill_at(&slot, &mut gates, place).await;
        time_passes(&slot, LONG).await;
        pay_out(&slot, campaign).await;
        let (end, requests) = match answers {
            Answers::No => ("dead", 1),
            Answers::BusyAtFirst => ("paid", 2),
            _ => ("paid", 1),
        };
        // One more for the worker that was killed.
        assert_ended_once(&slot, &receiver, campaign, end, requests + 1, place).await;
    }
    let requests = receiver.received().len();
    time_passes(&slot, 30 * LONG).await;
    kill_at(&slot, &mut gates, "delete queue_deduplications").await;
    let _worker = slot.worker();
    let remembered = "SELECT count(*) FROM queue_deduplications";
    eventually("no enqueuing is remembered", async || count(&slot, remembered).await == 0).await;
    assert_eq!((count(&slot, MESSAGES).await, receiver.received().len()), (0, requests), "and yet nothing is paid again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_prize_is_given_up_once_when_a_worker_is_killed_in_each_write() {
    let (receiver, slot, mut gates) = paying().await;
    receiver.now(|_, before| Answers::Busy.to(before));
    for place in GIVING_UP {
        let too_often = over(&slot, 1..=WINNERS).await;
        all_tries_but_one(&slot).await;
        kill_at(&slot, &mut gates, place).await;
        time_passes(&slot, LONG).await;
        pay_out(&slot, too_often).await;
        assert_ended_once(&slot, &receiver, too_often, "dead", DELIVERIES, place).await;

        let unanswered = over(&slot, 1..=WINNERS).await;
        all_tries_but_one(&slot).await;
        kill_at(&slot, &mut gates, "commit lock queue_messages").await;
        time_passes(&slot, LONG).await;
        kill_at(&slot, &mut gates, place).await;
        pay_out(&slot, unanswered).await;
        assert_ended_once(&slot, &receiver, unanswered, "dead", DELIVERIES - 1, place).await;

        slot.remove_credential("webhook/key");
        let late = over(&slot, 1..=WINNERS).await;
        {
            let _worker = slot.worker();
            eventually("all wait for a key", async || count(&slot, MESSAGES).await == WINNERS).await;
        }
        time_passes(&slot, 15 * 12 * LONG).await;
        kill_at(&slot, &mut gates, place).await;
        pay_out(&slot, late).await;
        assert_ended_once(&slot, &receiver, late, "dead", 0, place).await;
        slot.write_credential("webhook/key", KEY);
    }
}

const MESSAGES: &str = "SELECT count(*) FROM queue_messages";

async fn count(slot: &Slot, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&mut slot.test.connect().await.unwrap()).await.unwrap()
}

/// Has a busy receiver asked until one delivery of each message is left, which is due then.
async fn all_tries_but_one(slot: &Slot) {
    let worker = slot.worker();
    for tries in 1..DELIVERIES {
        let tried = "SELECT coalesce(sum(deliveries), 0)::bigint FROM queue_messages WHERE lock_token IS NULL";
        eventually("all were tried", async || count(slot, tried).await == WINNERS * tries as i64).await;
        if tries + 1 < DELIVERIES {
            time_passes(slot, LONG).await;
        }
    }
    drop(worker);
    time_passes(slot, LONG).await;
}

/// Has a worker fix the winners and pay until the queue is empty, however often it takes.
async fn pay_out(slot: &Slot, campaign: CampaignId) {
    let _worker = slot.worker();
    eventually("its winners are fixed", async || slot.store.winners(campaign).await.unwrap().is_some()).await;
    loop {
        let in_work = "SELECT count(*) FROM queue_messages WHERE lock_token IS NOT NULL OR visible_at <= tenantry_now()";
        eventually("nothing is in work", async || count(slot, in_work).await == 0).await;
        if count(slot, MESSAGES).await == 0 {
            return;
        }
        time_passes(slot, LONG).await;
    }
}

/// Each winner's one message has ended once, and by that; the receiver was told of it under that id alone, and not too often.
async fn assert_ended_once(slot: &Slot, receiver: &Receiver, campaign: CampaignId, end: &str, most_requests: usize, place: &str) {
    let winners = slot.store.winners(campaign).await.unwrap().unwrap();
    assert_eq!(winners.iter().map(|winner| winner.user_id.get()).collect::<BTreeSet<_>>(), (1..=WINNERS).collect(), "{place}");
    let payments = sqlx::query_as("SELECT user_id::text, message_id::text FROM prize_payments WHERE campaign_id = $1").bind(campaign.get());
    let payments: BTreeMap<String, String> =
        payments.fetch_all(&mut slot.test.connect().await.unwrap()).await.unwrap().into_iter().collect();
    assert_eq!(payments.len() as i64, WINNERS, "{place}");
    let mut requests: BTreeMap<String, usize> = BTreeMap::new();
    for received in receiver.received() {
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        if body["data"]["campaignId"] == campaign.to_string() {
            assert_eq!(payments[body["data"]["userId"].as_str().unwrap()], received.id, "{place}");
            *requests.entry(received.id).or_default() += 1;
        }
    }
    let (ends, taken) = (ends(slot).await, receiver.taken());
    for message in payments.values() {
        assert_eq!(ends[message], BTreeMap::from([(end.to_owned(), 1), ("left".to_owned(), 1)]), "{place}");
        assert_eq!(taken.contains_key(message), end == "paid", "{place}");
        let requests = requests.get(message).copied().unwrap_or(0);
        assert!(requests <= most_requests, "{place}: {requests} requests");
    }
}

async fn accept_batch(slot: &Slot, round: usize, day: Date) -> Vec<Purchase> {
    let mut batch = Vec::new();
    for number in 0..PURCHASES {
        let (code, amount) = match number % 4 {
            0 => ("EUR", format!("{}.{:02}", 1 + number, number)),
            1 => ("USD", format!("{}.{:02}", 1 + number * 3, number)),
            2 => ("GBP", format!("{}.{:02}", 1 + number * 7, number)),
            _ => ("KRW", format!("{}", 10_000 + number * 333)),
        };
        let purchase = purchase_of(format!("{round}-{number}"), 1 + number % 9, &amount, code, Some(day));
        accept(slot, &purchase).await;
        batch.push(purchase);
    }
    batch
}

/// Starts a worker, waits until it is in the write at `place`, and kills it there; its sessions too, unless they commit.
async fn kill_at(slot: &Slot, gates: &mut PgConnection, place: &str) {
    run(gates, "SELECT pg_advisory_lock(4711)").await;
    run(gates, &format!("INSERT INTO held VALUES ('{place}')")).await;
    let worker = slot.worker();
    eventually(place, async || waiting(slot).await > 0).await;
    worker.kill().unwrap();
    if !place.starts_with("commit") {
        run(gates, &format!("SELECT pg_terminate_backend(pid, 60000) FROM {WAITING}")).await;
    }
    run(gates, "DELETE FROM held").await;
    run(gates, "SELECT pg_advisory_unlock(4711)").await;
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.unwrap();
}

const WAITING: &str = "pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted AND datname = current_database()";

/// How many sessions wait at a gate.
async fn waiting(slot: &Slot) -> i64 {
    let waiting = AssertSqlSafe(format!("SELECT count(*) FROM {WAITING}"));
    sqlx::query_scalar(waiting).fetch_one(&mut slot.test.connect().await.unwrap()).await.unwrap()
}

/// The dead letters of a campaign, and how many purchases they are of.
async fn late_letters(connection: &mut PgConnection, campaign: i64) -> (i64, i64) {
    sqlx::query_as("SELECT count(*), count(DISTINCT event_id) FROM purchase_dead_letters WHERE reason = 'too_late' AND campaign_id = $1")
        .bind(campaign)
        .fetch_one(connection)
        .await
        .unwrap()
}
