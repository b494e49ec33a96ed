//! The facts about a slot: first what the caches know, which is enough for its isolation and costs nothing; then what takes
//! asking.

use std::collections::BTreeMap;

use kube::core::DynamicObject;
use kube::{Api, Resource, ResourceExt};
use tenantry_crds::{PostgresServer, ResourceGroup, Slot};
use tenantry_plan::{
    DatabaseFacts, Observation, ServerFacts, SlotFacts, SlotIdentity, adopted_database, needs_database, needs_master_key, needs_servers,
    placed, reasons, recorded_server, secret_names, user_secret_names,
};

use super::definitions::doomed_definitions;
use super::postgres;
use super::rollout::class_turn;
use crate::context::Context;
use crate::error::Failure;
use crate::kinds::NAMESPACE;
use crate::primary::Primary;
use crate::report;
use crate::workers::aside;

/// What the caches know of a slot.
pub fn isolation_of_slot(slot: &Slot, context: &Context) -> SlotFacts {
    let namespace = slot.namespace().unwrap_or_default();
    let release = slot.spec.revision.as_ref().and_then(|revision| context.release(&revision.release));
    let live: Vec<DynamicObject> = context.caches.live(&namespace);
    let class = context.class(&slot.spec.class_ref.name);
    SlotFacts {
        operator: context.operator.clone(),
        group: group_of(slot, context),
        class_turn: class_turn(slot, class.as_ref(), &context.caches, &context.turn_times),
        class,
        release,
        namespace: context.caches.of(NAMESPACE).and_then(|known| known.get("", &namespace)),
        user_secrets: BTreeMap::new(),
        ingress: context.attempts.in_slot(&namespace, &slot.name_any(), &live),
        now: report::now(),
        live,
        master_key: Observation::NotAsked,
        database: Observation::NotAsked,
        doomed_definitions: Observation::NotAsked,
        servers: BTreeMap::new(),
    }
}

/// Class and release, asked for where no watch shows them: it may be behind, and they are not unknown because of that.
///
/// # Errors
/// When one cannot be asked for.
pub async fn offers(slot: &Slot, facts: &mut SlotFacts, context: &Context) -> Result<(), Failure> {
    if facts.class.is_none() {
        facts.class = unseen(&slot.spec.class_ref.name, context).await?;
        facts.class_turn = class_turn(slot, facts.class.as_ref(), &context.caches, &context.turn_times);
    }
    if let Some(revision) = slot.spec.revision.as_ref().filter(|_| facts.release.is_none()) {
        facts.release = unseen(&revision.release, context).await?;
    }
    Ok(())
}

/// Everything about a slot, from what the caches know of it.
///
/// # Errors
/// When a Secret cannot be asked for. What a PostgreSQL server does not tell is a fact, not an error.
pub async fn slot(slot: &Slot, mut facts: SlotFacts, context: &Context) -> Result<SlotFacts, Failure> {
    facts.doomed_definitions = doomed_definitions(&slot.metadata, context).await;
    let names = secret_names(slot, &facts.live);
    let namespace = slot.namespace().unwrap_or_default();
    // From a namespace that goes, the operator's right to read its Secrets may have gone already; the Slot must be let go all the
    // same, or both would hang for ever.
    if facts.namespace.as_ref().is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
        facts.live.extend(context.secrets.named(&namespace, &names, context).await?);
        let names: Vec<String> = user_secret_names(slot).into_iter().collect();
        facts.user_secrets = context.secrets.of_users(&namespace, &names, context).await?;
    }
    if needs_master_key(slot) {
        facts.master_key = context.master_keys.get().await;
        if let Observation::Failed { reason, .. } = &facts.master_key {
            context.metrics.failed(Slot::KIND.kind, reason);
        }
    }
    if needs_database(slot, facts.class.as_ref(), facts.release.as_ref()) {
        if let Some(server) = recorded_server(slot, &facts.live).and_then(|name| server_named(&facts, &name)) {
            facts.database = database(slot, server, &facts, context).await;
        }
        if needs_servers(slot, &facts) {
            facts.servers = servers(slot, &facts, context).await;
            // What a deleted slot without a record left.
            if facts.database == Observation::NotAsked
                && slot.metadata.deletion_timestamp.is_some()
                && let Some(server) = server_of(slot, &facts)
            {
                facts.database = database(slot, server, &facts, context).await;
            }
        }
    }
    Ok(facts)
}

async fn unseen<K: Primary>(name: &str, context: &Context) -> Result<Option<K>, Failure> {
    let doing = format!("reading {} {name}", K::KIND.kind);
    context.in_time(&doing, Api::<K>::all(context.client.clone()).get_opt(name)).await
}

/// From what the database facts are planned: as long as it is the same, facts of a settled slot are believed.
pub fn database_inputs(slot: &Slot, facts: &SlotFacts) -> String {
    let generation = |meta: Option<&kube::core::ObjectMeta>| meta.and_then(|meta| meta.generation).unwrap_or_default();
    format!(
        "{} {} {} {} {:?} {}",
        generation(Some(slot.meta())),
        generation(facts.group.as_ref().map(Resource::meta)),
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
    let source = adopted_database(slot, facts).map(|source| source.name.as_str());
    let answer = aside(postgres::database(&context.servers, server, &identity, source)).await;
    observed(slot, server, answer, context, |facts| {
        facts.promised_connections.saturating_add(u32::try_from(facts.connection_limit).unwrap_or_default())
    })
}

/// A server's answer as an observation, and in the metrics, with the connections that it has promised in all.
fn observed<T>(
    slot: &Slot,
    server: &PostgresServer,
    answer: Result<T, Failure>,
    context: &Context,
    promised: impl FnOnce(&T) -> u32,
) -> Observation<T> {
    let (class, seen) = (&slot.spec.class_ref.name, &context.metrics.servers);
    match answer {
        Ok(known) => {
            seen.answered(class, &server.name, promised(&known));
            Observation::Known(known)
        }
        Err(Failure { reason, message }) => {
            context.metrics.failed(Slot::KIND.kind, reason);
            // That the operator's own connections are in use says nothing of the server.
            if reason != reasons::POSTGRES_BUSY {
                seen.failed(class, &server.name);
            }
            Observation::Failed { reason, message }
        }
    }
}

/// Asks all servers of the class: a slot is placed on none of them before.
pub async fn servers(slot: &Slot, facts: &SlotFacts, context: &Context) -> BTreeMap<String, Observation<ServerFacts>> {
    let identity = &SlotIdentity::of(slot, &context.operator.cluster_uid);
    let offered = facts.class.as_ref().map(|class| class.spec.postgres.servers.as_slice()).unwrap_or_default();
    postgres::of_each(offered, |server| async move {
        let answer = postgres::server(&context.servers, server, identity).await;
        observed(slot, server, answer, context, |facts| facts.promised_connections)
    })
    .await
}

/// The server that the plan of a slot works on.
pub fn server_of<'a>(slot: &Slot, facts: &'a SlotFacts) -> Option<&'a PostgresServer> {
    placed(slot, facts).and_then(|placed| server_named(facts, &placed.server))
}

fn server_named<'a>(facts: &'a SlotFacts, name: &str) -> Option<&'a PostgresServer> {
    facts.class.as_ref()?.spec.postgres.servers.iter().find(|server| server.name == name)
}

fn group_of(slot: &Slot, context: &Context) -> Option<ResourceGroup> {
    let reference = &slot.spec.group_ref;
    let group = context.caches.groups.objects.get("", &reference.name)?;
    (group.uid().as_deref() == Some(reference.uid.as_str())).then(|| (*group).clone())
}
