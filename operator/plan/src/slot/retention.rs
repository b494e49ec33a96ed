//! Services that the slot does not run any more. Their logins end once their last pod is gone; their data stay for the
//! group's `retainFor`. Since when, the comment of the service's owner role says: no status is needed to know it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use tenantry_crds::names::SERVICE_LABEL;

use super::content::Content;
use crate::live::{Live, label};
use crate::names::{Comment, Purpose, schema};
use crate::{DatabaseFacts, DatabaseStep, RoleFacts, SlotFacts, Step};

/// What leads to pods.
const MAKERS: [&str; 2] = ["Deployment", "Job"];

/// The steps for services that have roles in the database and are not in the revision.
pub(crate) fn retired(facts: &SlotFacts, content: &Content<'_>, server: &DatabaseFacts, live: &Live<'_>) -> Vec<Step> {
    let Some(group) = &facts.group else { return vec![] };
    if !server.comment.as_ref().is_some_and(|comment| content.identity.owns(comment.as_deref())) {
        return vec![];
    }
    let present: BTreeSet<&str> = content.with_database().map(|service| service.name).collect();
    let mut removed: BTreeMap<String, Removed<'_>> = BTreeMap::new();
    for (name, role) in &server.roles {
        let comment = role.comment.as_deref().filter(|comment| content.identity.owns(Some(comment))).and_then(Comment::parse);
        if let Some(service) = comment.and_then(|comment| comment.service).filter(|service| !present.contains(service.as_str())) {
            removed.entry(service).or_default().roles.insert(name, role);
        }
    }
    let ended = removed.into_iter().filter(|(service, _)| !has_pods(service, live));
    let steps = ended.flat_map(|(service, removed)| removed.steps(&service, content, facts.now.0, group.spec.retained_seconds()));
    steps.map(Step::Database).collect()
}

/// What is left of a service.
#[derive(Default)]
struct Removed<'a> {
    roles: BTreeMap<&'a String, &'a RoleFacts>,
}

impl Removed<'_> {
    fn steps(&self, service: &str, content: &Content<'_>, now: Timestamp, retained_seconds: i64) -> Vec<DatabaseStep> {
        let identity = &content.identity;
        let owner = identity.role(service, Purpose::Owner);
        let Some(found) = self.roles.get(&owner) else {
            // Without an owner there never was a schema.
            return self.roles.keys().map(|role| DatabaseStep::DropRole { role: (*role).clone() }).collect();
        };
        let comment = found.comment.as_deref().and_then(Comment::parse);
        let since = comment.and_then(|comment| comment.removed).and_then(|since| Some((since.parse::<Timestamp>().ok()?, since)));
        let logins: Vec<String> = self.roles.iter().filter(|(_, role)| role.login).map(|(name, _)| (*name).clone()).collect();
        match since {
            Some((since, removed)) if logins.is_empty() => {
                let over = now.duration_since(since).as_secs() >= retained_seconds;
                let step = over.then(|| DatabaseStep::DropService {
                    database: identity.database(),
                    schema: schema(service),
                    owner,
                    removed,
                    roles: self.roles.keys().map(|name| (*name).clone()).collect(),
                });
                step.into_iter().collect()
            }
            _ => {
                let removed = since.map_or_else(|| now.to_string(), |(_, text)| text);
                let comment = Comment { removed: Some(removed), ..identity.role_comment(service, None) }.to_string();
                vec![DatabaseStep::RetireService { owner, comment, logins }]
            }
        }
    }
}

fn has_pods(service: &str, live: &Live<'_>) -> bool {
    let pods = live.pods().iter().filter_map(|pod| pod.metadata.labels.as_ref()?.get(SERVICE_LABEL));
    pods.into_iter().any(|label| label == service)
        || MAKERS.iter().flat_map(|kind| live.owned(kind)).any(|object| label(object, SERVICE_LABEL) == Some(service))
}
