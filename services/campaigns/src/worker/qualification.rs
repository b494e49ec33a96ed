//! Qualification (PQS): which campaigns a purchase counts for, by its item and its own time.
//!
//! The campaigns are read in the transaction that qualifies, so that a campaign counts every purchase accepted after it was created, whichever
//! worker qualifies, and by the times that it has then. One that is created after a purchase was qualified does not count it, but an end that is moved
//! later takes in what was dated past it.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::PgConnection;
use tenantry_kit::stream::{Event, Handler, HandlerError, NewEvent, Topic, append};
use tenantry_kit::time::UtcDateTime;

use crate::domain::dead_letter::{PurchaseDeadLetter, TOO_LATE};
use crate::domain::{Campaign, ItemId, Purchase, QualificationRules, Verdict};
use crate::store::events::{PurchaseEvent, QualifiedPurchaseEvent};
use crate::store::{Topics, bury, keep_past_end, lock_ends, qualifying_campaigns};

/// The handler of `purchase_events`.
#[derive(Debug)]
pub(super) struct Qualification {
    rules: QualificationRules,
    qualified: Arc<Topic>,
}

/// A purchase, its number in the order of acceptance, and when it was accepted: the event is appended in the transaction that accepts.
struct Accepted {
    purchase: Purchase,
    arrival: i64,
    at: UtcDateTime,
}

impl Qualification {
    pub(super) fn new(topics: &Topics, rules: QualificationRules) -> Self {
        Self { rules, qualified: Arc::clone(&topics.qualified_purchase_events) }
    }
}

impl Handler for Qualification {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        let purchases = events.iter().map(accepted).collect::<Result<Vec<Accepted>, _>>()?;
        // A campaign whose end was still to come when a purchase was accepted can be moved over it.
        let first = purchases.iter().map(|accepted| accepted.purchase.timestamp.min(accepted.at)).min();
        let last = purchases.iter().map(|accepted| accepted.purchase.timestamp).max();
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        let items: BTreeSet<i64> = purchases.iter().map(|accepted| accepted.purchase.item_id.get()).collect();
        let items: Vec<i64> = items.into_iter().collect();
        let campaigns = qualifying_campaigns(transaction, &items, first, last).await?;
        let (mut qualified, mut dead, mut past_end) = (Vec::with_capacity(purchases.len()), Vec::new(), Vec::new());
        for accepted in &purchases {
            for campaign in campaigns.get(&accepted.purchase.item_id).into_iter().flatten() {
                match self.rules.judge(campaign, &accepted.purchase, accepted.at) {
                    Verdict::Counts => qualified.push(qualified_event(accepted, campaign)),
                    Verdict::PastEnd => past_end.push((campaign.item_id, qualified_event(accepted, campaign))),
                    Verdict::TooLate { since } => dead.push(too_late(accepted, campaign, since)),
                    Verdict::DoesNotConcern => {}
                }
            }
        }
        qualified.extend(keep(transaction, past_end).await?);
        bury(transaction, &dead).await?;
        let qualified = qualified.iter().map(|event| NewEvent::new(event.user_id.get(), event)).collect::<Result<Vec<_>, _>>()?;
        Ok(append(transaction, &self.qualified, &qualified).await?)
    }
}

/// Keeps purchases of these items that are dated past the end of their campaign. An end that was moved since it was read is seen here, and cannot be
/// moved before this is committed: what it takes in by now is given back, to be counted.
async fn keep(
    transaction: &mut PgConnection,
    past_end: Vec<(ItemId, QualifiedPurchaseEvent)>,
) -> Result<Vec<QualifiedPurchaseEvent>, HandlerError> {
    if past_end.is_empty() {
        return Ok(Vec::new());
    }
    let campaigns: BTreeSet<i64> = past_end.iter().map(|(_, purchase)| purchase.campaign_id.get()).collect();
    let campaigns: Vec<i64> = campaigns.into_iter().collect();
    let ends = lock_ends(transaction, &campaigns).await?;
    let (mut counts, mut kept) = (Vec::new(), Vec::new());
    for (item, purchase) in past_end {
        match ends.get(&purchase.campaign_id) {
            Some((now_of, end)) if *now_of == item && purchase.timestamp < *end => counts.push(purchase),
            Some((now_of, _)) if *now_of == item => kept.push(purchase),
            // it is for another item now
            _ => {}
        }
    }
    keep_past_end(transaction, &kept).await?;
    Ok(counts)
}

fn accepted(event: &Event) -> Result<Accepted, HandlerError> {
    let (purchase, arrival) = event.decode().map(PurchaseEvent::into_purchase)?;
    Ok(Accepted { purchase, arrival, at: event.appended_at })
}

fn qualified_event(accepted: &Accepted, campaign: &Campaign) -> QualifiedPurchaseEvent {
    let Purchase { event_id, user_id, amount, timestamp, .. } = accepted.purchase.clone();
    QualifiedPurchaseEvent { event_id: Some(event_id), user_id, campaign_id: campaign.id, amount, timestamp, arrival: accepted.arrival }
}

fn too_late(accepted: &Accepted, campaign: &Campaign, since: UtcDateTime) -> PurchaseDeadLetter {
    let Purchase { event_id, user_id, amount, timestamp, .. } = accepted.purchase.clone();
    let detail =
        format!("it was accepted at {}; the campaign ended at {} and took late purchases until {since}", accepted.at, campaign.times.end());
    PurchaseDeadLetter {
        reason: TOO_LATE,
        detail,
        campaign_id: campaign.id,
        event_id: Some(event_id),
        user_id,
        amount,
        timestamp,
        arrival: accepted.arrival,
    }
}
