//! ResourceGroupClass: what the platform offers, which cannot be deleted while a group uses it.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use tenantry_crds::ResourceGroupClass;
use tenantry_plan::status::class_status;

use super::{Again, Done, ended};
use crate::apply::{self, Planned, Target};
use crate::context::Context;
use crate::error::ReconcileError;
use crate::primary::Primary;
use crate::{observe, report};

pub async fn reconcile(class: Arc<ResourceGroupClass>, context: Arc<Context>) -> Result<Done, ReconcileError> {
    let users = observe::users_of_class(&class.name_any(), &context.caches);
    let plan = tenantry_plan::class(&class, &users);
    let target = Target { planned: Planned { kind: ResourceGroupClass::KIND, meta: class.meta() }, database: None };
    let outcome = apply::tracks(&plan.tracks, &target, &context).await;
    // Only then, since it can hang. A server that does not answer says so in the slots; the class is Ready all the same.
    let retained = observe::retained(&context.servers, &class.spec.postgres.servers).await;
    let ended = ended(&plan, &outcome);
    // Nothing in the cluster tells that a retained database was taken over, or dropped by whoever has had enough of it.
    let listed = retained.values().flatten().any(|databases| !databases.is_empty());
    let mut again = Again::After(if listed { context.secret_interval } else { context.resync_interval });
    if !report::is_gone(&plan, &outcome) || class.metadata.deletion_timestamp.is_none() {
        let status = class_status(&class, &users, &retained, &plan, &outcome, report::now());
        again = again.at_most(report::status(&*class, status, ended, &context).await.map_err(ReconcileError::Report)?);
    }
    match report::failure(&outcome) {
        Some(failure) => Err(ReconcileError::Apply(failure)),
        None => Ok(Done::new(ended, again).counting(&users)),
    }
}
