//! The status of a slot.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use tenantry_crds::{DatabasePlacement, RunningCredential, RunningService, Slot, SlotStatus};

use super::conditions::{Conditions, blocks_deletion};
use super::verdict::{Verdict, verdicts};
use crate::live::Live;
use crate::names::schema;
use crate::slot::{Content, Credentials, NETWORK_CONDITION, Probing, credentials_of_slot};
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
    let place = crate::slot::place(slot);
    let network = match Probing::of(slot, facts, &place) {
        Some(probing) => {
            let (record, status, reason, message) = probing.report(&Live::new(&facts.live), &now);
            conditions.set(NETWORK_CONDITION, status, reason, &message);
            record
        }
        None => {
            conditions.keep(NETWORK_CONDITION);
            before.network
        }
    };
    let settled = content.is_some() && [TrackName::Data, TrackName::Workloads].iter().all(|track| of(*track) == Some(&Verdict::Ready));
    let rolled_out = content.as_ref().filter(|_| of(TrackName::Workloads) == Some(&Verdict::Ready));
    SlotStatus {
        observed_generation: generation,
        conditions: conditions.finish(),
        running_release: rolled_out.map(|content| content.release.to_owned()).or(before.running_release),
        class_generation: if settled { facts.class.as_ref().and_then(|class| class.metadata.generation) } else { before.class_generation },
        database: content.as_ref().and_then(placement).or(before.database),
        network,
        services: rolled_out.map_or(before.services, |content| running(slot, content, facts)),
    }
}

/// Where the slot's database is, or is to be; none where it needs none, or where that is not known.
fn placement(content: &Content<'_>) -> Option<DatabasePlacement> {
    content.placement.server().map(|server| DatabasePlacement { server: server.name.clone(), name: content.identity.database() })
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
    [NETWORK_CONDITION].iter().chain(&PARTS).for_each(|part| conditions.keep(part));
    if blocks_deletion(reason) {
        conditions.set("DeletionBlocked", "True", reason, message);
    } else {
        conditions.set("DeletionBlocked", "False", reasons::NOT_BLOCKED, message);
    }
}

/// The parts of a slot. What cannot be said since something before it is missing is `Unknown`.
fn parts(conditions: &mut Conditions<'_>, data: &Verdict, workloads: &Verdict) {
    let migration = [reasons::MIGRATING, reasons::MIGRATION_FAILED];
    let rotation = reasons::ROTATING_CREDENTIALS;
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
        // Both logins are good meanwhile.
        Some((reason, _)) if reason == rotation => {
            conditions.part(services, &Verdict::Ready, "");
            conditions.part(schema, &Verdict::Ready, "");
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

/// The login that a service's pods use.
fn running_credential(credentials: &BTreeMap<String, Credentials>, service: &str) -> Option<RunningCredential> {
    let note = &credentials.get(service)?.current.note;
    let since = Timestamp::from_second(note.since).ok()?.to_string();
    Some(RunningCredential { generation: note.generation, since })
}

fn running(slot: &Slot, content: &Content<'_>, facts: &SlotFacts) -> Vec<RunningService> {
    let namespace = slot.metadata.namespace.as_deref().unwrap_or_default();
    let version = |service: &str| match &facts.database {
        Observation::Known(database) => database.schemas.get(&schema(service)).and_then(|schema| schema.version),
        Observation::NotAsked | Observation::Failed { .. } => None,
    };
    let credentials = credentials_of_slot(facts, content);
    content
        .services
        .iter()
        .map(|service| RunningService {
            name: service.name.to_owned(),
            image: service.released.image.clone(),
            schema_version: version(service.name),
            credential: running_credential(&credentials, service.name),
            url: service.released.roles.api.as_ref().map(|api| format!("http://{}.{namespace}.svc:{}", service.name, api.port)),
        })
        .collect()
}
