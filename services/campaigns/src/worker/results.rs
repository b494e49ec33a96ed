//! Results (RCS): adds qualified purchases to the totals, and says that they changed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::PgConnection;
use tenantry_kit::stream::{Event, Handler, HandlerError, NewEvent, Topic, append};

use crate::domain::{CampaignId, Reached, Total, UserId};
use crate::store::events::{ChangedTotal, QualifiedPurchaseEvent, ResultsCalculationUpdateEvent};
use crate::store::{Addition, Topics, add_to_totals, raise_versions};

/// The handler of `qualified_purchase_events`.
#[derive(Debug)]
pub(super) struct Results {
    updates: Arc<Topic>,
}

impl Results {
    pub(super) fn new(topics: &Topics) -> Self {
        Self { updates: Arc::clone(&topics.results_calculation_update_events) }
    }
}

impl Handler for Results {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        let additions = reduce(events)?;
        let mut changes = add_to_totals(transaction, &additions).await?;
        let campaigns: BTreeSet<i64> = additions.iter().map(|addition| addition.campaign_id.get()).collect();
        let campaigns: Vec<i64> = campaigns.into_iter().collect();
        let updates = raise_versions(transaction, &campaigns)
            .await?
            .into_iter()
            .map(|(campaign_id, version, timestamp)| {
                let changes = changes.remove(&campaign_id).unwrap_or_default().into_iter().map(ChangedTotal::from).collect();
                let update = ResultsCalculationUpdateEvent { campaign_id, timestamp, version, changes: Some(changes) };
                NewEvent::new(campaign_id.get(), &update)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(append(transaction, &self.updates, &updates).await?)
    }
}

/// One addition for each campaign and user, in the order of their ids.
fn reduce(events: &[Event]) -> Result<Vec<Addition>, HandlerError> {
    let mut totals: BTreeMap<(CampaignId, UserId), Total> = BTreeMap::new();
    for event in events {
        let purchase: QualifiedPurchaseEvent = event.decode()?;
        let reached = Reached { at: purchase.timestamp, arrival: purchase.arrival };
        match totals.entry((purchase.campaign_id, purchase.user_id)) {
            Entry::Vacant(entry) => {
                entry.insert(Total { user_id: purchase.user_id, total: purchase.amount.value(), reached });
            }
            Entry::Occupied(mut entry) => {
                let total = entry.get_mut();
                total.total =
                    total.total.checked_add(purchase.amount.value()).ok_or_else(|| event.refuse("the total would have too many digits"))?;
                total.reached = total.reached.max(reached);
            }
        }
    }
    Ok(totals.into_iter().map(|((campaign_id, _), total)| Addition { campaign_id, total }).collect())
}
