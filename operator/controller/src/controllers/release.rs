//! Release: immutable, and cannot be deleted while a slot runs it.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use tenantry_crds::Release;
use tenantry_plan::status::release_status;

use super::{Again, Done, ended};
use crate::apply::{self, Planned, Target};
use crate::context::Context;
use crate::error::ReconcileError;
use crate::primary::Primary;
use crate::{observe, report};

pub async fn reconcile(release: Arc<Release>, context: Arc<Context>) -> Result<Done, ReconcileError> {
    let users = observe::users_of_release(&release.name_any(), &context.caches);
    let plan = tenantry_plan::release(&release, &users);
    let target = Target { planned: Planned { kind: Release::KIND, meta: release.meta() }, database: None };
    let outcome = apply::tracks(&plan.tracks, &target, &context).await;
    let ended = ended(&plan, &outcome);
    let mut again = Again::After(context.resync_interval);
    if !report::is_gone(&plan, &outcome) || release.metadata.deletion_timestamp.is_none() {
        let status = release_status(&release, &users, &plan, &outcome, report::now());
        again = again.at_most(report::status(&*release, status, ended, &context).await.map_err(ReconcileError::Report)?);
    }
    match report::failure(&outcome) {
        Some(failure) => Err(ReconcileError::Apply(failure)),
        None => Ok(Done::new(ended, again).counting(&users)),
    }
}
