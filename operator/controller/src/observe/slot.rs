//! The facts about a slot: first what the caches know, which is enough for its isolation and costs nothing; then what takes
//! asking.

use kube::core::DynamicObject;
use kube::{Resource, ResourceExt};
use tenantry_crds::{PostgresServer, ResourceGroup, ResourceGroupClass, Slot};
use tenantry_plan::{DatabaseFacts, Observation, SlotFacts, SlotIdentity, needs_database, needs_master_key, secret_names};

use super::postgres;
use crate::context::Context;
use crate::error::Failure;
use crate::kinds::NAMESPACE;

/// What the caches know of a slot.
pub fn isolation_of_slot(slot: &Slot, context: &Context) -> SlotFacts {
    let namespace = slot.namespace().unwrap_or_default();
    let release = slot.spec.revision.as_ref().and_then(|revision| context.release(&revision.release));
    SlotFacts {
        operator: context.operator.clone(),
        group: group_of(slot, context),
        class: context.class(&slot.spec.class_ref.name),
        release,
        namespace: context
            .caches
            .of(NAMESPACE)
            .and_then(|known| known.get("", &namespace))
            .map(|namespace| DynamicObject::clone(&namespace)),
        live: context.caches.live(&namespace).iter().map(|object| DynamicObject::clone(object)).collect(),
        master_key: Observation::NotAsked,
        database: Observation::NotAsked,
    }
}

/// Everything about a slot.
///
/// # Errors
/// When a Secret cannot be asked for. What a PostgreSQL server does not tell is a fact, not an error.
pub async fn slot(slot: &Slot, context: &Context) -> Result<SlotFacts, Failure> {
    let mut facts = isolation_of_slot(slot, context);
    let names = secret_names(slot, &facts.live);
    let namespace = slot.namespace().unwrap_or_default();
    if facts.namespace.is_some() {
        facts.live.extend(context.secrets.named(&namespace, &names, context).await?);
    }
    if needs_master_key(slot) {
        facts.master_key = context.master_keys.get().await;
    }
    if needs_database(slot, facts.class.as_ref(), facts.release.as_ref())
        && let Some(server) = facts.class.as_ref().and_then(|class| server_of(slot, class))
    {
        facts.database = database(slot, server, &facts, context).await;
    }
    Ok(facts)
}

/// From what the database facts are planned: as long as it is the same, facts of a settled slot are believed.
pub fn database_inputs(slot: &Slot, facts: &SlotFacts) -> String {
    let generation = |meta: Option<&kube::core::ObjectMeta>| meta.and_then(|meta| meta.generation).unwrap_or_default();
    format!(
        "{} {} {} {:?} {}",
        generation(Some(slot.meta())),
        generation(facts.class.as_ref().map(Resource::meta)),
        generation(facts.release.as_ref().map(Resource::meta)),
        slot.status.as_ref().map(|status| &status.database),
        slot.metadata.deletion_timestamp.is_some()
    )
}

async fn database(slot: &Slot, server: &PostgresServer, facts: &SlotFacts, context: &Context) -> Observation<DatabaseFacts> {
    let uid = slot.uid().unwrap_or_default();
    if let Some(believed) = context.database_facts.get(&uid, &database_inputs(slot, facts)) {
        return Observation::Known(believed);
    }
    let identity = SlotIdentity::of(slot, &context.operator.cluster_uid);
    match postgres::database(&context.servers, server, &identity).await {
        Ok(facts) => Observation::Known(facts),
        Err(Failure { reason, message }) => Observation::Failed { reason, message },
    }
}

/// The server on which a slot was placed, or would be.
pub fn server_of<'a>(slot: &Slot, class: &'a ResourceGroupClass) -> Option<&'a PostgresServer> {
    let servers = &class.spec.postgres.servers;
    match slot.status.as_ref().and_then(|status| status.database.as_ref()) {
        Some(placement) => servers.iter().find(|server| server.name == placement.server),
        None => servers.first(),
    }
}

fn group_of(slot: &Slot, context: &Context) -> Option<ResourceGroup> {
    let reference = &slot.spec.group_ref;
    let group = context.caches.groups.objects.get("", &reference.name)?;
    (group.uid().as_deref() == Some(reference.uid.as_str())).then(|| (*group).clone())
}
