//! Qualification (PQS): which campaigns a purchase counts for, by its item and its own time.
//!
//! The campaigns are read in the transaction that qualifies, so that a campaign counts every purchase accepted after it was created, whichever
//! worker qualifies. One that is created after a purchase was qualified does not count it.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::PgConnection;
use tenantry_kit::stream::{Event, Handler, HandlerError, NewEvent, Topic, append};

use crate::domain::Purchase;
use crate::store::events::{PurchaseEvent, QualifiedPurchaseEvent};
use crate::store::{Topics, qualifying_campaigns};

/// The handler of `purchase_events`.
#[derive(Debug)]
pub(super) struct Qualification {
    qualified: Arc<Topic>,
}

impl Qualification {
    pub(super) fn new(topics: &Topics) -> Self {
        Self { qualified: Arc::clone(&topics.qualified_purchase_events) }
    }
}

impl Handler for Qualification {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        let purchases: Vec<(Purchase, i64)> =
            events.iter().map(|event| event.decode().map(PurchaseEvent::into_purchase)).collect::<Result<_, _>>()?;
        let times = || purchases.iter().map(|(purchase, _)| purchase.timestamp);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
        let items: BTreeSet<i64> = purchases.iter().map(|(purchase, _)| purchase.item_id.get()).collect();
        let items: Vec<i64> = items.into_iter().collect();
        let campaigns = qualifying_campaigns(transaction, &items, first, last).await?;
        let mut qualified = Vec::with_capacity(purchases.len());
        for (purchase, arrival) in &purchases {
            let candidates = campaigns.get(&purchase.item_id).into_iter().flatten();
            for campaign in candidates.filter(|campaign| campaign.qualifies(purchase)) {
                let event = QualifiedPurchaseEvent {
                    user_id: purchase.user_id,
                    campaign_id: campaign.id,
                    amount: purchase.amount,
                    timestamp: purchase.timestamp,
                    arrival: *arrival,
                };
                qualified.push(NewEvent::new(purchase.user_id.get(), &event)?);
            }
        }
        Ok(append(transaction, &self.qualified, &qualified).await?)
    }
}
