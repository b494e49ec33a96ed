//! The status of a slot.

use tenantry_crds::{RunningService, Slot, SlotStatus};

use super::conditions::Conditions;
use super::verdict::{Verdict, verdicts};
use crate::names::schema;
use crate::slot::{Content, placement};
use crate::{Now, Observation, Outcome, Plan, SlotFacts, TrackName, reasons};

/// The conditions that a slot has while it lives.
const PARTS: [&str; 3] = ["DataServicesReady", "SchemaCurrent", "WorkloadsReady"];

/// The slot's status after that plan was executed with that outcome.
pub fn slot_status(slot: &Slot, facts: &SlotFacts, plan: &Plan, outcome: &Outcome, now: Now) -> SlotStatus {
    let before = slot.status.clone().unwrap_or_default();
    let generation = slot.metadata.generation.unwrap_or_default();
    let verdicts = verdicts(plan, outcome);
    let overall = Verdict::overall(verdicts.iter().map(|(_, verdict)| verdict));
    let of = |name: TrackName| verdicts.iter().find(|(track, _)| track.name == name).map(|(_, verdict)| verdict);
    let mut conditions = Conditions::new(&before.conditions, generation, &now);

    if slot.metadata.deletion_timestamp.is_some() {
        deletion(&mut conditions, of(TrackName::Teardown));
        return SlotStatus { observed_generation: generation, conditions: conditions.finish(), ..before };
    }
    let content = Content::of(slot, facts).and_then(Result::ok);
    conditions.summary(&overall, &ready_message(content.as_ref()));
    match (of(TrackName::Data), of(TrackName::Workloads)) {
        (Some(data), Some(workloads)) => parts(&mut conditions, data, workloads),
        _ => PARTS.iter().for_each(|part| conditions.keep(part)),
    }
    let rolled_out = content.as_ref().filter(|_| of(TrackName::Workloads) == Some(&Verdict::Ready));
    SlotStatus {
        observed_generation: generation,
        conditions: conditions.finish(),
        running_release: rolled_out.map(|content| content.release.to_owned()).or(before.running_release),
        database: before.database.or_else(|| content.as_ref().and_then(placement)),
        services: rolled_out.map_or(before.services, |content| running(slot, content, facts)),
    }
}

fn ready_message(content: Option<&Content<'_>>) -> String {
    content.map_or_else(String::new, |content| {
        let services: Vec<&str> = content.services.iter().map(|service| service.name).collect();
        format!("runs release {} of {}", content.release, if services.is_empty() { "no service".to_owned() } else { services.join(", ") })
    })
}

fn deletion(conditions: &mut Conditions<'_>, teardown: Option<&Verdict>) {
    let (reason, message) = teardown.and_then(Verdict::because).unwrap_or((reasons::DELETING, "the slot is being deleted"));
    let verdict = match teardown {
        Some(stalled @ Verdict::Stalled { .. }) => stalled.clone(),
        _ => Verdict::Reconciling { reason, message: message.to_owned() },
    };
    conditions.summary(&verdict, "");
    PARTS.iter().for_each(|part| conditions.keep(part));
    if [reasons::DELETING, reasons::RECONCILING].contains(&reason) {
        conditions.set("DeletionBlocked", "False", reasons::NOT_BLOCKED, message);
    } else {
        conditions.set("DeletionBlocked", "True", reason, message);
    }
}

/// The parts of a slot. What cannot be said since something before it is missing is `Unknown`.
fn parts(conditions: &mut Conditions<'_>, data: &Verdict, workloads: &Verdict) {
    let migration = [reasons::MIGRATING, reasons::MIGRATION_FAILED];
    let [services, schema, pods] = PARTS;
    if matches!(workloads, Verdict::Idle { .. }) {
        PARTS.iter().for_each(|part| conditions.part(part, workloads, "Unknown"));
        return;
    }
    match data.because() {
        Some((reason, _)) if migration.contains(&reason) => {
            conditions.part(services, &Verdict::Ready, "");
            conditions.part(schema, data, "False");
        }
        _ => {
            conditions.part(services, data, "False");
            conditions.part(schema, data, "Unknown");
        }
    }
    match (data, workloads) {
        // No track of workloads was planned: what is wrong with the revision says the data track.
        (Verdict::Stalled { .. }, Verdict::Ready) => conditions.part(pods, data, "Unknown"),
        _ => conditions.part(pods, workloads, "False"),
    }
}

fn running(slot: &Slot, content: &Content<'_>, facts: &SlotFacts) -> Vec<RunningService> {
    let namespace = slot.metadata.namespace.as_deref().unwrap_or_default();
    let version = |service: &str| match &facts.database {
        Observation::Known(database) => database.schemas.get(&schema(service)).and_then(|schema| schema.version),
        Observation::NotAsked | Observation::Failed { .. } => None,
    };
    content
        .services
        .iter()
        .map(|service| RunningService {
            name: service.name.to_owned(),
            image: service.released.image.clone(),
            schema_version: version(service.name),
            url: service.released.roles.api.as_ref().map(|api| format!("http://{}.{namespace}.svc:{}", service.name, api.port)),
        })
        .collect()
}
