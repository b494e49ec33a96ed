//! Results (RCS): adds qualified purchases to the totals, and says that they changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::PgConnection;
use tenantry_kit::stream::{Event, Handler, HandlerError, NewEvent, Topic, append};

use super::conversion::Conversion;
use crate::store::events::{ChangedTotal, QualifiedPurchaseEvent, ResultsCalculationUpdateEvent};
use crate::store::{Addition, Topics, add_to_totals, raise_versions};

/// The handler of `qualified_purchase_events`.
#[derive(Debug, Clone)]
pub(super) struct Results {
    conversion: Conversion,
    updates: Arc<Topic>,
}

impl Results {
    pub(super) fn new(topics: &Topics, conversion: Conversion) -> Self {
        Self { conversion, updates: Arc::clone(&topics.results_calculation_update_events) }
    }

    /// Counts purchases, in the caller's transaction.
    pub(super) async fn count(&self, transaction: &mut PgConnection, purchases: Vec<QualifiedPurchaseEvent>) -> Result<(), HandlerError> {
        let additions = self.conversion.convert(transaction, purchases).await?;
        self.add(transaction, &additions).await
    }

    async fn add(&self, transaction: &mut PgConnection, additions: &[Addition]) -> Result<(), HandlerError> {
        let mut changes = add_to_totals(transaction, additions).await?;
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

impl Handler for Results {
    async fn handle(&mut self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandlerError> {
        let purchases = events.iter().map(Event::decode).collect::<Result<Vec<QualifiedPurchaseEvent>, _>>()?;
        self.count(transaction, purchases).await
    }
}
