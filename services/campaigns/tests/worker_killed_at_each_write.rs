//! A worker killed (SIGKILL) in the middle of each write of each transaction, and while it commits: purchases are qualified, counted, parked, released
//! and dead-lettered once, and the totals are the model's, to the cent; starts and ends are announced and winners fixed once.
//!
//! Triggers hold a write until the worker that waits for it is dead; held at the commit, the transaction is committed after its worker's death.

use std::time::Duration;

use campaigns::domain::{CampaignContent, CampaignId, CampaignTimes, CatalogueEntry, Purchase, PurchaseAcceptance};
use sqlx::{AssertSqlSafe, PgConnection};
use tenantry_kit::date::Date;
use tenantry_kit::time::UtcDateTime;

use crate::fixture::{Slot, eventually, purchase};
use crate::rates_model::{Model, campaign_in, days_before, parked, purchase_of, today};

const MONTHS: f64 = 200.0 * 86_400.0;
const PURCHASES: i64 = 40;

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
        assert_eq!(slot.store.accept_purchase(&bought).await.unwrap(), PurchaseAcceptance::Accepted);
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
        assert_eq!(slot.store.accept_purchase(&ahead).await.unwrap(), PurchaseAcceptance::Accepted);
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
        assert_eq!(slot.store.accept_purchase(&purchase).await.unwrap(), PurchaseAcceptance::Accepted);
        batch.push(purchase);
    }
    batch
}

/// Starts a worker, waits until it is in the write at `place`, and kills it there.
async fn kill_at(slot: &Slot, gates: &mut PgConnection, place: &str) {
    run(gates, "SELECT pg_advisory_lock(4711)").await;
    run(gates, &format!("INSERT INTO held VALUES ('{place}')")).await;
    let worker = slot.worker();
    eventually(place, async || waiting(slot).await > 0).await;
    worker.kill().unwrap();
    run(gates, "DELETE FROM held").await;
    run(gates, "SELECT pg_advisory_unlock(4711)").await;
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.unwrap();
}

/// How many sessions wait at a gate.
async fn waiting(slot: &Slot) -> i64 {
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
                   WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted AND datname = current_database()";
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
