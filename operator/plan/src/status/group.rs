//! The status of a group: Ready means that all its slots are.

use tenantry_crds::{ResourceGroup, ResourceGroupStatus, Slot, SlotSummary};

use super::conditions::{Conditions, blocks_deletion};
use super::verdict::{Verdict, verdicts};
use crate::group::members;
use crate::{GroupFacts, Now, Outcome, Plan, reasons};

/// The group's status after that plan was executed with that outcome.
pub fn group_status(group: &ResourceGroup, facts: &GroupFacts, plan: &Plan, outcome: &Outcome, now: Now) -> ResourceGroupStatus {
    let before = group.status.clone().unwrap_or_default();
    let generation = group.metadata.generation.unwrap_or_default();
    let members: Vec<&Slot> = members(group, facts).collect();
    let mut slots: Vec<SlotSummary> = members.iter().map(|slot| summary(slot)).collect();
    slots.sort_by(|one, other| one.name.cmp(&other.name));

    let mut states: Vec<Verdict> =
        verdicts(plan, outcome).into_iter().map(|(track, verdict)| named(track.slot.as_deref(), verdict)).collect();
    let wanted: Vec<&str> = group.spec.slots.iter().map(|template| template.name.as_str()).collect();
    let deleted = group.metadata.deletion_timestamp.is_some();
    if deleted {
        states.push(Verdict::Reconciling { reason: reasons::DELETING, message: "the group is being deleted".to_owned() });
    } else {
        states.extend(wanted.iter().map(|name| {
            let slot = members.iter().find(|slot| slot.metadata.name.as_deref() == Some(name));
            named(Some(name), state(slot.copied()))
        }));
    }
    let blocked = states.iter().filter_map(Verdict::because).find(|(reason, _)| deleted && blocks_deletion(reason));
    let blocked = blocked.map(|(reason, message)| (reason, message.to_owned()));
    let ready = slots.iter().filter(|slot| slot.ready && wanted.contains(&slot.name.as_str())).count();

    let mut conditions = Conditions::new(&before.conditions, generation, &now);
    conditions.summary(&together(&states), &format!("all {} slots are ready", wanted.len()));
    if deleted {
        match blocked {
            Some((reason, message)) => conditions.set("DeletionBlocked", "True", reason, &message),
            None => conditions.set("DeletionBlocked", "False", reasons::NOT_BLOCKED, ""),
        }
    }
    ResourceGroupStatus {
        observed_generation: generation,
        conditions: conditions.finish(),
        slots,
        ready_slots: Some(format!("{ready}/{}", wanted.len())),
    }
}

/// The gravest of the states, with what is to be said of all slots that are not ready.
fn together(states: &[Verdict]) -> Verdict {
    let overall = Verdict::overall(states.iter());
    let mut messages: Vec<&str> = states.iter().filter_map(|state| Some(state.because()?.1)).collect();
    messages.dedup();
    let said = messages.join("; ");
    match overall {
        Verdict::Ready => Verdict::Ready,
        Verdict::Idle { reason, .. } => Verdict::Idle { reason, message: said },
        Verdict::Reconciling { reason, .. } => Verdict::Reconciling { reason, message: said },
        Verdict::Stalled { reason, .. } => Verdict::Stalled { reason, message: said },
    }
}

/// A slot's own state as the group tells it.
fn state(slot: Option<&Slot>) -> Verdict {
    let pending = || Verdict::Reconciling { reason: reasons::SLOTS_NOT_READY, message: "has not been looked at yet".to_owned() };
    let Some(slot) = slot else { return pending() };
    let Some(status) = slot.status.as_ref().filter(|_| is_current(slot)) else { return pending() };
    let condition = |type_: &str| status.conditions.iter().find(|condition| condition.type_ == type_);
    let is_true = |type_: &str| condition(type_).is_some_and(|condition| condition.status == "True");
    let Some(ready) = condition("Ready") else { return pending() };
    let message = format!("{}: {}", ready.reason, ready.message);
    match (ready.status.as_str(), is_true("Stalled"), is_true("Reconciling")) {
        ("True", _, _) => Verdict::Ready,
        (_, true, _) => Verdict::Stalled { reason: reasons::SLOTS_NOT_READY, message },
        (_, false, true) => Verdict::Reconciling { reason: reasons::SLOTS_NOT_READY, message },
        (_, false, false) => Verdict::Idle { reason: reasons::SLOTS_NOT_READY, message },
    }
}

fn named(slot: Option<&str>, verdict: Verdict) -> Verdict {
    let Some(slot) = slot else { return verdict };
    let name = |message: String| format!("{slot}: {message}");
    match verdict {
        Verdict::Ready => Verdict::Ready,
        Verdict::Reconciling { reason, message } => Verdict::Reconciling { reason, message: name(message) },
        Verdict::Stalled { reason, message } => Verdict::Stalled { reason, message: name(message) },
        Verdict::Idle { reason, message } => Verdict::Idle { reason, message: name(message) },
    }
}

fn is_current(slot: &Slot) -> bool {
    slot.status.as_ref().map(|status| status.observed_generation) == slot.metadata.generation
}

fn summary(slot: &Slot) -> SlotSummary {
    let conditions = slot.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").filter(|_| is_current(slot));
    SlotSummary {
        name: slot.metadata.name.clone().unwrap_or_default(),
        namespace: slot.metadata.namespace.clone().unwrap_or_default(),
        uid: slot.metadata.uid.clone().unwrap_or_default(),
        release: slot.spec.revision.as_ref().map(|revision| revision.release.clone()),
        ready: ready.is_some_and(|ready| ready.status == "True"),
        reason: ready.map_or_else(|| reasons::RECONCILING.to_owned(), |ready| ready.reason.clone()),
    }
}
