//! ResourceGroup: its namespaces and Slots.

use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use tenantry_crds::ResourceGroup;
use tenantry_plan::Step;
use tenantry_plan::status::group_status;

use super::{Again, Done, ended};
use crate::apply::{self, Planned, Target};
use crate::context::Context;
use crate::error::ReconcileError;
use crate::metrics::Ended;
use crate::primary::Primary;
use crate::{observe, report};

/// A foreign namespace is not watched: whether it went is looked at this often while a group wants its name.
const STALLED_AGAIN: Duration = Duration::from_secs(15);

pub async fn reconcile(group: Arc<ResourceGroup>, context: Arc<Context>) -> Result<Done, ReconcileError> {
    let facts = observe::group(&group, &context).await.map_err(ReconcileError::Observe)?;
    let plan = tenantry_plan::group(&group, &facts);
    let target = Target { planned: Planned { kind: ResourceGroup::KIND, meta: group.meta() }, database: None };
    let outcome = apply::tracks(&plan.tracks, &target, &context).await;
    // A Slot counts once its group's status lists it: those that were just made are listed at once.
    let mut steps = plan.tracks.iter().flat_map(|track| &track.waves).flat_map(|wave| &wave.steps);
    let made = steps.any(|step| !matches!(step, Step::AddFinalizer(_)));
    let facts = if made { observe::group(&group, &context).await.map_err(ReconcileError::Observe)? } else { facts };
    let ended = ended(&plan, &outcome);
    let mut again = Again::After(if ended == Ended::Settled { context.resync_interval } else { STALLED_AGAIN });
    if !report::is_gone(&plan, &outcome) {
        let status = group_status(&group, &facts, &plan, &outcome, report::now());
        again = again.at_most(report::status(&*group, status, ended, &context).await.map_err(ReconcileError::Report)?);
    }
    match report::failure(&outcome) {
        Some(failure) => Err(ReconcileError::Apply(failure)),
        None => Ok(Done::new(ended, again)),
    }
}
