//! A slot that takes a retained database over: by its name alone, which somebody wrote into the group, and only while the
//! database's comment says that it was left behind.

use tenantry_crds::{DatabaseAdoption, PostgresServer, Slot};

use super::content::Content;
use super::intent::template;
use crate::names::Comment;
use crate::{AdoptedRole, DatabaseFacts, DatabaseStep, SlotFacts, SourceFacts, Stall, reasons};

/// What the group says that the slot should take over.
pub fn adopted_database<'a>(slot: &Slot, facts: &'a SlotFacts) -> Option<&'a DatabaseAdoption> {
    template(slot, facts)?.adopt_database.as_ref()
}

/// The step that takes the database over, or why it cannot be; none where the slot is to have a fresh one, or has one.
pub(crate) fn adoption(
    slot: &Slot,
    facts: &SlotFacts,
    content: &Content<'_>,
    offer: &PostgresServer,
    server: &DatabaseFacts,
) -> Option<Result<DatabaseStep, Stall>> {
    let wanted = adopted_database(slot, facts)?;
    let identity = &content.identity;
    let own = server.comment.as_ref().map(Option::as_deref);
    match own {
        None => {}
        // The slot's own, from an earlier life.
        Some(comment) if identity.has_retained(comment) && wanted.name == identity.database() => {}
        Some(_) => return None,
    }
    if wanted.server != offer.name {
        let message =
            format!("adoptDatabase names the server {}, and the slot's is {}; name a database of that server", wanted.server, offer.name);
        return Some(Err(Stall::new(reasons::DATABASE_NOT_FOUND, message)));
    }
    let Some(source) = &server.source else {
        let message = format!(
            "adoptDatabase names {}, which the server {} does not have; name one of status.retainedDatabases of the ResourceGroupClass {}, or \
             take adoptDatabase out for a fresh database",
            wanted.name, wanted.server, slot.spec.class_ref.name
        );
        return Some(Err(Stall::new(reasons::DATABASE_NOT_FOUND, message)));
    };
    Some(step(wanted, source, content))
}

fn step(wanted: &DatabaseAdoption, source: &SourceFacts, content: &Content<'_>) -> Result<DatabaseStep, Stall> {
    let identity = &content.identity;
    let retained = source.comment.as_deref().filter(|comment| Comment::parse(comment).is_some_and(|comment| comment.retained.is_some()));
    let Some(retained) = retained else {
        let holder = source.comment.as_deref().and_then(Comment::parse);
        let whose = holder.map_or_else(
            || "it is not Tenantry's".to_owned(),
            |comment| format!("the slot {} of the group with the UID {} uses it", comment.slot, comment.group),
        );
        let message = format!(
            "adoptDatabase names {}, which is not retained: {whose}, and it is left alone; a slot leaves its database behind when it is \
             removed under deletionPolicy: Retain",
            wanted.name
        );
        return Err(Stall::new(reasons::DATABASE_NOT_RETAINED, message));
    };
    let prefix = format!("{}_", wanted.name);
    let roles = source.roles.iter().filter_map(|(name, comment)| {
        let service = comment.as_deref().and_then(Comment::parse)?.service?;
        let suffix = name.strip_prefix(&prefix)?;
        let comment = identity.role_comment(&service, None).to_string();
        Some(AdoptedRole { source: name.clone(), name: format!("{}{suffix}", identity.role_prefix()), comment })
    });
    Ok(DatabaseStep::AdoptDatabase {
        source: wanted.name.clone(),
        retained: retained.to_owned(),
        name: identity.database(),
        comment: identity.held_comment(content.holder).to_string(),
        connection_limit: content.connections(),
        roles: roles.collect(),
    })
}
