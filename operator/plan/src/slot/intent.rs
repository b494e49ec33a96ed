//! What is to become of a deleted slot's data. The deletion of a Slot says nothing of it: a Slot goes with its namespace, with
//! its definition, or by a mistaken command. Only the group says it: by being deleted, or by not listing the slot any more.

use tenantry_crds::{DeletionPolicy, GROUP, Slot, SlotSpecTemplate};

use super::place;
use crate::objects::Place;
use crate::{Observation, SlotFacts, Wait, reasons};

/// What the group says.
pub(crate) enum Intent {
    /// It lists the slot as before. The Slot is let go, and nothing else: it is made again, and finds its database.
    Keep,
    /// The slot is to go, and its data with it or not.
    GiveUp(DeletionPolicy),
    /// Nothing may be done.
    Hold(Wait),
}

pub(crate) fn intent(slot: &Slot, facts: &SlotFacts) -> Intent {
    let doomed = match &facts.doomed_definitions {
        Observation::Known(doomed) => doomed,
        Observation::Failed { reason, message } => return Intent::Hold(Wait::new(reason, message.clone())),
        Observation::NotAsked => {
            let message = "the definitions of groups and Slots have not been looked at yet";
            return Intent::Hold(Wait::new(reasons::DEFINITIONS_NOT_READ, message));
        }
    };
    // A group that is gone was forced away: it never gave its data up.
    let Some(group) = &facts.group else { return Intent::GiveUp(DeletionPolicy::Retain) };
    let deleted = group.metadata.deletion_timestamp.is_some();
    let template = template(slot, facts);
    let protected = template.is_some_and(|template| template.deletion_protection);
    if protected && (deleted || !doomed.is_empty()) {
        return Intent::Hold(held(doomed, &place(slot)));
    }
    // With its definition the group goes too, whose mark may not be seen yet: nobody will make the Slot again.
    let group_goes = deleted || doomed.contains(&format!("resourcegroups.{GROUP}"));
    match (group_goes, template) {
        (false, Some(_)) => Intent::Keep,
        // Whether it was deleted with its definition or on purpose cannot be told apart.
        _ if !doomed.is_empty() => Intent::GiveUp(DeletionPolicy::Retain),
        _ => Intent::GiveUp(group.spec.deletion_policy),
    }
}

/// What the group says of the slot, if it lists it.
pub(crate) fn template<'a>(slot: &Slot, facts: &'a SlotFacts) -> Option<&'a SlotSpecTemplate> {
    let group = facts.group.as_ref()?;
    group.spec.slots.iter().find(|template| Some(&template.name) == slot.metadata.name.as_ref())
}

/// Why nothing of a slot is touched: definitions that are being deleted, or else its protection.
pub(crate) fn held(doomed: &[String], place: &Place) -> Wait {
    let (group, namespace) = (&place.group, place.namespace());
    let Some(definition) = doomed.first() else {
        let message = format!(
            "the slot {} has deletionProtection, and nothing of it is touched; to give its data up, set deletionProtection to false in \
             spec.slots of the ResourceGroup {group}",
            place.slot
        );
        return Wait::new(reasons::DELETION_PROTECTED, message);
    };
    let message = format!(
        "the CustomResourceDefinition {definition} is being deleted, and with it every object of its kind: nothing of {namespace} is \
         touched while it has deletionProtection, its pods go on running. Save the manifest of the ResourceGroup {group}; then set \
         deletionProtection to false in its spec.slots, which lets the slot go and retains its database"
    );
    Wait::new(reasons::DEFINITION_DELETED, message)
}
