//! The statuses of a class and of a release.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use tenantry_crds::{Release, ReleaseStatus, ResourceGroupClass, ResourceGroupClassStatus, RetainedDatabase};

use super::conditions::Conditions;
use super::verdict::{Verdict, verdicts};
use crate::names::Comment;
use crate::{Now, Outcome, Plan};

/// The most retained databases that a class's status lists.
const LISTED: usize = 100;

/// The class's status: how many groups use it, and what slots left behind on its servers. `retained` has, by server, the names
/// and comments of the databases there, or nothing of a server that does not answer: of that one the last answer stands.
pub fn class_status(
    class: &ResourceGroupClass,
    users: &[String],
    retained: &BTreeMap<String, Option<BTreeMap<String, String>>>,
    plan: &Plan,
    outcome: &Outcome,
    now: Now,
) -> ResourceGroupClassStatus {
    let before = class.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    ResourceGroupClassStatus {
        observed_generation: class.metadata.generation.unwrap_or_default(),
        conditions: conditions(&class.metadata, before, plan, outcome, &now),
        groups: count(users),
        retained_databases: retained_databases(class, retained),
    }
}

fn retained_databases(class: &ResourceGroupClass, answers: &BTreeMap<String, Option<BTreeMap<String, String>>>) -> Vec<RetainedDatabase> {
    let mut all = Vec::new();
    for (server, answer) in answers {
        match answer {
            Some(databases) => all.extend(databases.iter().filter_map(|(name, comment)| retained_database(server, name, comment))),
            None => {
                let before = class.status.iter().flat_map(|status| &status.retained_databases);
                all.extend(before.filter(|database| database.server == *server).cloned());
            }
        }
    }
    all.sort_by(|one, other| other.retained_at.cmp(&one.retained_at));
    all.truncate(LISTED);
    all.sort_by(|one, other| (&one.server, &one.name).cmp(&(&other.server, &other.name)));
    all
}

fn retained_database(server: &str, name: &str, comment: &str) -> Option<RetainedDatabase> {
    let comment = Comment::parse(comment)?;
    let (server, name) = (server.to_owned(), name.to_owned());
    Some(RetainedDatabase {
        server,
        name,
        group: comment.name.unwrap_or(comment.group),
        slot: comment.slot,
        retained_at: comment.retained?,
    })
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
