//! Purchases in all currencies, by dated rates: converted, parked, released.

use campaigns::domain::Purchase;
use campaigns::domain::rates::DatedRate;

use crate::fixture::{Slot, eventually};
use crate::processing::{accept, processed, work_until};
use crate::rates_model::{Model, campaign_in, days_before, parked, purchase_of, today};

const MONTH: f64 = 30.0 * 86_400.0;

#[tokio::test]
async fn totals_are_in_the_campaigns_currency_by_the_rates_of_the_purchases_days() {
    let slot = Slot::new().await;
    let (in_euros, in_yen, in_dinars) =
        (campaign_in(&slot, "EUR", -MONTH).await, campaign_in(&slot, "JPY", -MONTH).await, campaign_in(&slot, "KWD", -MONTH).await);
    let today = today(&slot).await;
    let mut model = Model::default();
    let mut rates: Vec<DatedRate> = Vec::new();
    for days in 0..20 {
        let date = days_before(today, days);
        rates.push(model.put("USD", date, 11_532 + days * 37));
        rates.push(model.put("JPY", date, 1_678_600 - days * 1_013));
        rates.push(model.put("KWD", date, 3_537 + days));
        rates.push(model.put("GBP", date, 8_513 - days * 11));
    }
    slot.store.put_rates(&rates).await.unwrap();
    let codes = ["EUR", "USD", "GBP", "KWD", "JPY"];
    let purchases: Vec<Purchase> = (0..200_i64)
        .map(|number| {
            let code = codes[number as usize % codes.len()];
            let amount =
                if code == "JPY" { format!("{}", 50 + number * 3) } else { format!("{}.{:02}", 1 + number % 40, number * 7 % 100) };
            purchase_of(number, 1 + number % 13, &amount, code, Some(days_before(today, 1 + number % 19)))
        })
        .collect();
    for purchase in &purchases {
        accept(&slot, purchase).await;
    }
    processed(&slot).await;
    for (campaign, code) in [(in_euros, "EUR"), (in_yen, "JPY"), (in_dinars, "KWD")] {
        assert_eq!(slot.totals(campaign).await, model.totals(&slot, &purchases, code).await, "{code}");
    }
    assert_eq!(parked(&slot).await, 0);
}

#[tokio::test]
async fn a_day_without_a_rate_takes_the_last_one_before_it_at_most_seven_days_older() {
    let slot = Slot::new().await;
    let campaign = campaign_in(&slot, "EUR", -MONTH).await;
    let (mut model, today) = (Model::default(), today(&slot).await);
    let friday = days_before(today, 10);
    let rates = [model.put("USD", friday, 20_000), model.put("USD", days_before(friday, 1), 10_000), model.put("USD", today, 40_000)];
    slot.store.put_rates(&rates).await.unwrap();
    let at = |days: i64| Some(days_before(friday, -days));
    let purchases = [
        purchase_of("of the day", 1, "10.00", "USD", at(0)),
        purchase_of("two days later", 2, "10.00", "USD", at(2)),
        purchase_of("seven days later", 3, "10.00", "USD", at(7)),
        purchase_of("eight days later", 4, "10.00", "USD", at(8)),
    ];
    for purchase in &purchases {
        accept(&slot, purchase).await;
    }
    processed(&slot).await;
    let totals: Vec<(i64, String)> =
        slot.totals(campaign).await.iter().map(|total| (total.user_id.get(), total.total.to_string())).collect();
    assert_eq!(totals, [(1, "5.00".to_owned()), (2, "5.00".to_owned()), (3, "5.00".to_owned())]);
    assert_eq!(slot.totals(campaign).await, model.totals(&slot, &purchases, "EUR").await);
    let gaps = slot.store.rate_gaps(7).await.unwrap();
    assert_eq!((gaps.len(), gaps[0].key.currency.code(), gaps[0].key.date, gaps[0].purchases), (1, "USD", days_before(friday, -8), 1));
}

#[tokio::test]
async fn purchases_without_a_rate_wait_name_the_gap_and_count_once_the_rate_is_there() {
    let slot = Slot::new().await;
    let campaign = campaign_in(&slot, "GBP", -MONTH).await;
    let (mut model, today) = (Model::default(), today(&slot).await);
    let day = days_before(today, 3);
    let purchases: Vec<Purchase> =
        (0..2500_i64).map(|number| purchase_of(number, 1 + number % 7, &format!("{}.55", 1 + number % 90), "USD", Some(day))).collect();
    for purchase in &purchases {
        accept(&slot, purchase).await;
    }
    processed(&slot).await;
    assert_eq!(slot.totals(campaign).await, []);
    let gaps: Vec<_> =
        slot.store.rate_gaps(7).await.unwrap().iter().map(|gap| (gap.key.currency.code(), gap.key.date, gap.purchases)).collect();
    assert_eq!(gaps, [("GBP", day, 2500), ("USD", day, 2500)]);

    // one of the two rates is not enough
    slot.store.put_rates(&[model.put("USD", day, 11_532)]).await.unwrap();
    processed(&slot).await;
    assert_eq!((slot.store.rate_gaps(7).await.unwrap().len(), parked(&slot).await), (1, 2500));

    slot.store.put_rates(&[model.put("GBP", days_before(day, 2), 8_513)]).await.unwrap();
    work_until(&slot, "nothing waits", async || slot.lag().await == 0 && parked(&slot).await == 0).await;
    assert_eq!(slot.totals(campaign).await, model.totals(&slot, &purchases, "GBP").await);
    assert_eq!(slot.store.rate_gaps(7).await.unwrap(), []);
    let version = slot.store.results_version(campaign).await.unwrap().unwrap();
    assert_eq!(slot.events("results_calculation_update_events").await.len() as i64, version);
    assert!((3..=20).contains(&version), "a batch that is released is announced once: {version}");
}

#[tokio::test]
async fn a_rate_that_is_changed_does_not_change_what_was_converted() {
    let slot = Slot::new().await;
    let campaign = campaign_in(&slot, "EUR", -MONTH).await;
    let (mut model, day) = (Model::default(), days_before(today(&slot).await, 3));
    slot.store.put_rates(&[model.put("USD", day, 20_000)]).await.unwrap();
    accept(&slot, &purchase_of("before", 1, "10.00", "USD", Some(day))).await;
    processed(&slot).await;
    let put = slot.store.put_rates(&[model.put("USD", day, 10_000)]).await.unwrap();
    assert_eq!((put.new, put.changed, put.unchanged), (0, 1, 0));
    accept(&slot, &purchase_of("after", 2, "10.00", "USD", Some(day))).await;
    processed(&slot).await;
    let totals: Vec<String> = slot.totals(campaign).await.iter().map(|total| total.total.to_string()).collect();
    assert_eq!(totals, ["5.00", "10.00"]);
}

#[tokio::test]
async fn an_amount_that_is_worth_nothing_or_too_much_is_a_dead_letter_and_changes_no_total() {
    let slot = Slot::new().await;
    let campaign = campaign_in(&slot, "EUR", -MONTH).await;
    let in_rupiah = campaign_in(&slot, "IDR", -MONTH).await;
    let day = days_before(today(&slot).await, 3);
    let mut model = Model::default();
    slot.store.put_rates(&[model.put("IDR", day, 178_763_200)]).await.unwrap();
    accept(&slot, &purchase_of("nothing", 1, "0.01", "IDR", Some(day))).await;
    accept(&slot, &purchase_of("much", 2, "1000000000000000.00", "EUR", Some(day))).await;
    processed(&slot).await;
    let letters = slot.store.purchase_dead_letters(None, None, 10).await.unwrap();
    let mut reasons: Vec<_> = letters
        .iter()
        .map(|kept| (kept.letter.campaign_id, kept.letter.reason.to_string(), kept.letter.event_id.clone().unwrap().to_string()))
        .collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [(campaign, "worth_nothing".to_owned(), "nothing".to_owned()), (in_rupiah, "too_large".to_owned(), "much".to_owned())]
    );
    let users = async |id| slot.totals(id).await.iter().map(|total| total.user_id.get()).collect::<Vec<_>>();
    assert_eq!((users(campaign).await, users(in_rupiah).await), (vec![2], vec![1]));
}

#[tokio::test]
async fn what_waits_and_what_is_dead_is_in_the_workers_metrics() {
    let slot = Slot::new().await;
    campaign_in(&slot, "EUR", -MONTH).await;
    let day = days_before(today(&slot).await, 3);
    accept(&slot, &purchase_of("waits", 1, "1.00", "USD", Some(day))).await;
    let port = tenantry_harness::janitor::free_port().unwrap();
    let _worker = slot.worker_on(port);
    let metrics = async || match reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await {
        Ok(response) => response.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    };
    eventually("the metrics tell of it", async || {
        let metrics = metrics().await;
        ["parked_purchases 1\n", "exchange_rate_gaps 1\n", "purchase_dead_letters{reason=\"too_late\"} 0\n"]
            .iter()
            .all(|line| metrics.contains(line))
    })
    .await;
}
