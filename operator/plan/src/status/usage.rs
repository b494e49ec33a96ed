//! The statuses of a class and of a release.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use tenantry_crds::{Release, ReleaseStatus, ResourceGroupClass, ResourceGroupClassStatus};

use super::conditions::Conditions;
use super::verdict::{Verdict, verdicts};
use crate::{Now, Outcome, Plan};

/// The class's status: how many groups use it.
pub fn class_status(class: &ResourceGroupClass, users: &[String], plan: &Plan, outcome: &Outcome, now: Now) -> ResourceGroupClassStatus {
    let before = class.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    ResourceGroupClassStatus {
        observed_generation: class.metadata.generation.unwrap_or_default(),
        conditions: conditions(&class.metadata, before, plan, outcome, &now),
        groups: count(users),
    }
}

/// The release's status: how many slots use it.
pub fn release_status(release: &Release, users: &[String], plan: &Plan, outcome: &Outcome, now: Now) -> ReleaseStatus {
    let before = release.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    ReleaseStatus {
        observed_generation: release.metadata.generation.unwrap_or_default(),
        conditions: conditions(&release.metadata, before, plan, outcome, &now),
        slots: count(users),
    }
}

/// A finalizer that was just set or taken off does not make the object unready: it takes effect with the same request.
fn conditions(metadata: &ObjectMeta, before: &[Condition], plan: &Plan, outcome: &Outcome, now: &Now) -> Vec<Condition> {
    let mut plan = plan.clone();
    plan.tracks.iter_mut().for_each(|track| track.waves.clear());
    let verdicts = verdicts(&plan, outcome);
    let verdict = Verdict::overall(verdicts.iter().map(|(_, verdict)| verdict));
    let mut conditions = Conditions::new(before, metadata.generation.unwrap_or_default(), now);
    conditions.summary(&verdict, "");
    conditions.finish()
}

fn count(users: &[String]) -> u32 {
    u32::try_from(users.len()).unwrap_or(u32::MAX)
}
