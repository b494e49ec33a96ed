//! What qualified purchases add to totals, in the campaigns' currencies. What cannot be converted yet is parked, what cannot ever count is
//! a dead letter: all in the caller's transaction.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::currency::Currency;
use tenantry_kit::queue::DeadLetterReason;

use crate::domain::dead_letter::{PurchaseDeadLetter, TOO_LARGE, WORTH_NOTHING};
use crate::domain::rates::{ConversionError, RateKey, rates_needed};
use crate::domain::{CampaignId, Reached, Total, UserId};
use crate::store::events::QualifiedPurchaseEvent;
use crate::store::{Addition, StoreError, bury, currencies_of, park, rates_for};

/// How purchases are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conversion {
    /// How much older than the purchase's day a rate may be.
    pub(super) max_rate_age_days: u32,
}

impl Conversion {
    /// One addition for each campaign and user, in the order of their ids. Purchases without a rate are parked, those whose counterpart is
    /// nothing or too much are dead letters.
    pub(super) async fn convert(
        self,
        transaction: &mut PgConnection,
        purchases: Vec<QualifiedPurchaseEvent>,
    ) -> Result<Vec<Addition>, StoreError> {
        let currencies = campaign_currencies(transaction, &purchases).await?;
        let currency_of = |purchase: &QualifiedPurchaseEvent| currencies.get(&purchase.campaign_id).copied().ok_or_else(unknown_campaign);
        let mut needed: HashSet<RateKey> = HashSet::new();
        for purchase in &purchases {
            needed.extend(rates_needed(purchase.amount.currency(), currency_of(purchase)?, purchase.timestamp.date()));
        }
        let needed: Vec<RateKey> = needed.into_iter().collect();
        let rates = rates_for(transaction, &needed, self.max_rate_age_days).await?;

        let (mut sums, mut parked, mut dead) = (Sums::default(), Vec::new(), Vec::new());
        for purchase in purchases {
            let currency = currency_of(&purchase)?;
            match rates.convert(purchase.amount, purchase.timestamp.date(), currency) {
                Ok(amount) => sums.add(&purchase, amount.value())?,
                Err(ConversionError::MissingRate(_)) => parked.push((purchase, currency)),
                Err(error @ ConversionError::WorthNothing(_)) => dead.push(dead_letter(purchase, WORTH_NOTHING, &error)),
                Err(error @ ConversionError::TooLarge(_)) => dead.push(dead_letter(purchase, TOO_LARGE, &error)),
            }
        }
        park(transaction, &parked).await?;
        bury(transaction, &dead).await?;
        Ok(sums.into_additions())
    }
}

async fn campaign_currencies(
    transaction: &mut PgConnection,
    purchases: &[QualifiedPurchaseEvent],
) -> Result<HashMap<CampaignId, Currency>, StoreError> {
    let campaigns: BTreeSet<i64> = purchases.iter().map(|purchase| purchase.campaign_id.get()).collect();
    let campaigns: Vec<i64> = campaigns.into_iter().collect();
    currencies_of(transaction, &campaigns).await
}

/// The sums of purchases by campaign and user.
#[derive(Default)]
struct Sums(BTreeMap<(CampaignId, UserId), Total>);

impl Sums {
    fn add(&mut self, purchase: &QualifiedPurchaseEvent, amount: Decimal) -> Result<(), StoreError> {
        let reached = Reached { at: purchase.timestamp, arrival: purchase.arrival };
        match self.0.entry((purchase.campaign_id, purchase.user_id)) {
            Entry::Vacant(entry) => {
                entry.insert(Total { user_id: purchase.user_id, total: amount, reached });
            }
            Entry::Occupied(mut entry) => {
                let sum = entry.get_mut();
                sum.total = sum.total.checked_add(amount).ok_or_else(too_many_digits)?;
                sum.reached = sum.reached.max(reached);
            }
        }
        Ok(())
    }

    fn into_additions(self) -> Vec<Addition> {
        self.0.into_iter().map(|((campaign_id, _), total)| Addition { campaign_id, total }).collect()
    }
}

fn dead_letter(purchase: QualifiedPurchaseEvent, reason: DeadLetterReason, error: &ConversionError) -> PurchaseDeadLetter {
    let QualifiedPurchaseEvent { event_id, user_id, campaign_id, amount, timestamp, arrival } = purchase;
    PurchaseDeadLetter { reason, detail: error.to_string(), campaign_id, event_id, user_id, amount, timestamp, arrival }
}

fn unknown_campaign() -> StoreError {
    StoreError::Row { what: "a qualified purchase", reason: "there is no such campaign".to_owned() }
}

fn too_many_digits() -> StoreError {
    StoreError::Row { what: "the purchases of a user", reason: "their sum has more than 28 digits".to_owned() }
}
