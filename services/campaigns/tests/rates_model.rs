//! What totals must be, found in another way than the service's: in whole numbers, one purchase after the other.

use std::collections::{BTreeMap, HashMap};

use campaigns::domain::rates::DatedRate;
use campaigns::domain::{CampaignId, ItemId, Purchase, Reached, Total, UserId};
use rust_decimal::Decimal;
use tenantry_kit::date::Date;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use crate::fixture::Slot;

const MAX_AGE_DAYS: i64 = 7;

/// Rates as a number of ten-thousandths, by code and day.
#[derive(Debug, Default)]
pub struct Model(HashMap<(String, Date), i128>);

impl Model {
    /// Notes a rate of at most 4 decimals, and returns it for the store.
    pub fn put(&mut self, code: &str, date: Date, ten_thousandths: i64) -> DatedRate {
        self.0.insert((code.to_owned(), date), i128::from(ten_thousandths));
        let rate = Decimal::new(ten_thousandths, 4).to_string().parse().unwrap();
        DatedRate { date, currency: code.parse().unwrap(), rate }
    }

    fn rate(&self, code: &str, date: Date) -> Option<i128> {
        match code {
            "EUR" => Some(10_000),
            code => (0..=MAX_AGE_DAYS).find_map(|days| self.0.get(&(code.to_owned(), days_before(date, days))).copied()),
        }
    }

    /// The amount in minor units of the currency; `None` while a rate is missing.
    fn convert(&self, amount: Money, date: Date, to: &str) -> Option<i128> {
        let from = amount.currency().code();
        let units: i128 = amount.value().to_string().replace('.', "").parse().unwrap();
        if from == to {
            return Some(units);
        }
        let (dividend, divisor) = (units * self.rate(to, date)? * power(to), self.rate(from, date)? * power(from));
        let (whole, rest) = (dividend / divisor, dividend % divisor);
        Some(if 2 * rest > divisor || (2 * rest == divisor && whole % 2 == 1) { whole + 1 } else { whole })
    }

    /// The totals in that currency. Purchases that wait for a rate, and those that are worth nothing, are left out.
    pub async fn totals(&self, slot: &Slot, purchases: &[Purchase], currency: &str) -> Vec<Total> {
        let arrivals: Vec<(String, i64)> =
            sqlx::query_as("SELECT event_id, arrival FROM purchases").fetch_all(&mut slot.test.connect().await.unwrap()).await.unwrap();
        let arrivals: HashMap<String, i64> = arrivals.into_iter().collect();
        let mut totals: BTreeMap<i64, (i128, UtcDateTime, i64)> = BTreeMap::new();
        for purchase in purchases {
            let Some(units) = self.convert(purchase.amount, purchase.timestamp.date(), currency).filter(|units| *units > 0) else {
                continue;
            };
            let reached = (purchase.timestamp, arrivals[purchase.event_id.as_str()]);
            let total = totals.entry(purchase.user_id.get()).or_insert((0, reached.0, reached.1));
            total.0 += units;
            if reached > (total.1, total.2) {
                (total.1, total.2) = reached;
            }
        }
        let total = |(user, (units, at, arrival)): (i64, (i128, UtcDateTime, i64))| Total {
            user_id: UserId::new(user).unwrap(),
            total: Decimal::from_i128_with_scale(units, decimals(currency)),
            reached: Reached { at, arrival },
        };
        totals.into_iter().map(total).collect()
    }
}

fn decimals(code: &str) -> u32 {
    match code {
        "JPY" | "KRW" => 0,
        "KWD" => 3,
        _ => 2,
    }
}

fn power(code: &str) -> i128 {
    10_i128.pow(decimals(code))
}

/// The day so many days before.
pub fn days_before(date: Date, days: i64) -> Date {
    let noon: UtcDateTime = format!("{date}T12:00:00Z").parse().unwrap();
    UtcDateTime::from_unix_micros(noon.unix_micros() - days * 86_400_000_000).unwrap().date()
}

/// Today by the database's clock.
pub async fn today(slot: &Slot) -> Date {
    slot.store.now().await.unwrap().date()
}

/// A purchase in any currency at noon of a day; today's at the system's time.
pub fn purchase_of(event: impl ToString, user: i64, amount: &str, code: &str, date: Option<Date>) -> Purchase {
    Purchase {
        event_id: event.to_string().parse().unwrap(),
        user_id: UserId::new(user).unwrap(),
        item_id: ItemId::new(10).unwrap(),
        amount: Money::new(amount.parse().unwrap(), code.parse().unwrap()).unwrap(),
        timestamp: date.map_or_else(UtcDateTime::now, |date| format!("{date}T12:00:00Z").parse().unwrap()),
    }
}

/// A campaign for item 10 whose totals are in that currency, from `start` seconds from now for ten minutes from now.
pub async fn campaign_in(slot: &Slot, code: &str, start: f64) -> CampaignId {
    let id = slot.campaign(10, start, 600.0).await;
    sqlx::query("UPDATE campaigns SET currency = $2 WHERE id = $1")
        .bind(id.get())
        .bind(code)
        .execute(&mut slot.test.connect().await.unwrap())
        .await
        .unwrap();
    id
}

/// How many purchases wait for a rate.
pub async fn parked(slot: &Slot) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM parked_purchases").fetch_one(&mut slot.test.connect().await.unwrap()).await.unwrap()
}
