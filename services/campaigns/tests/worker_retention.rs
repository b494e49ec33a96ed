//! Retention: events and dead letters go when their time is over, and not before; what waits for an exchange rate stays.

use std::time::Duration;

use campaigns::domain::Purchase;
use campaigns::settings::Settings;
use campaigns::worker::{Payments, WorkerMetrics, run_stages_with};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Slot, eventually, purchase};
use crate::processing::accept;
use crate::rates_model::{parked, purchase_of};

const DAY: Duration = Duration::from_secs(86_400);

/// Runs a worker with these settings until `condition` holds.
async fn work_until(slot: &Slot, settings: &Settings, what: &str, condition: impl AsyncFn() -> bool) {
    let (shutdown, settings) = (CancellationToken::new(), settings.clone());
    let (store, streams, stop) = (slot.store.clone(), slot.streams.clone(), shutdown.clone());
    let worker =
        tokio::spawn(async move { run_stages_with(&settings, store, streams, WorkerMetrics::default(), Payments::held(), stop).await });
    eventually(what, async || condition().await).await;
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}

async fn dead_letters(slot: &Slot) -> Vec<i64> {
    let letters = slot.store.purchase_dead_letters(None, None, 1000).await.unwrap();
    letters.iter().map(|kept| kept.letter.user_id.get()).collect()
}

#[tokio::test]
async fn events_and_dead_letters_go_when_their_time_is_over_and_what_waits_for_a_rate_stays() {
    let slot = Slot::new().await;
    // too late for what is bought now
    slot.campaign(10, -10.0 * 86_400.0, -2.0 * 86_400.0).await;
    let running = slot.campaign(11, -10.0 * 86_400.0, 86_400.0 * 30.0).await;
    let settings = Settings { stream_retention_hours: 24, dead_letter_retention_days: 3, ..Settings::default() };
    let late = |event: &str, user| Purchase {
        timestamp: purchase("any", user, 10, 1).timestamp.saturating_add("-72h".parse().unwrap()),
        ..purchase(event, user, 10, 500)
    };
    let mut waits = purchase_of("waits", 5, "7.00", "USD", None);
    waits.item_id = campaigns::domain::ItemId::new(11).unwrap();
    for purchase in [late("first", 1), waits, purchase("counts", 6, 11, 500)] {
        accept(&slot, &purchase).await;
    }
    work_until(&slot, &settings, "the first is processed", async || slot.lag().await == 0 && parked(&slot).await == 1).await;
    assert_eq!((dead_letters(&slot).await, slot.events("purchase_events").await.len()), (vec![1], 3));

    slot.test.shift_time(2 * DAY).await.unwrap();
    accept(&slot, &late("second", 2)).await;
    work_until(&slot, &settings, "old events are deleted", async || {
        slot.lag().await == 0 && slot.events("purchase_events").await.len() == 1
    })
    .await;
    assert_eq!(dead_letters(&slot).await, [2, 1], "dead letters stay for longer");

    slot.test.shift_time(4 * DAY).await.unwrap();
    work_until(&slot, &settings, "the first dead letter is deleted", async || dead_letters(&slot).await == [2]).await;
    assert_eq!((parked(&slot).await, slot.totals(running).await.len()), (1, 1));
}

#[tokio::test]
async fn dead_letters_are_deleted_in_bounded_batches_and_young_ones_stay() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 600.0).await;
    let mut connection = slot.test.connect().await.unwrap();
    for (count, days) in [(25, 10), (5, 1)] {
        sqlx::query(
            "INSERT INTO purchase_dead_letters (reason, detail, campaign_id, user_id, amount, currency, purchased_at, arrival, dead_lettered_at)
             SELECT 'too_late', '', $1, 1, 1, 'EUR', now(), number, tenantry_now() - make_interval(days => $3)
             FROM generate_series(1, $2) number",
        )
        .bind(campaign.get())
        .bind(count)
        .bind(days)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    let mut deleted = Vec::new();
    for _ in 0..4 {
        deleted.push(slot.store.delete_old_dead_letters(3 * DAY, 10).await.unwrap());
    }
    assert_eq!(deleted, [10, 10, 5, 0]);
    assert_eq!(dead_letters(&slot).await.len(), 5);
}
