//! The facts about a group.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kube::ResourceExt;
use kube::core::DynamicObject;
use tenantry_crds::ResourceGroup;
use tenantry_crds::names::{GROUP_LABEL, GROUP_UID_LABEL};
use tenantry_plan::GroupFacts;

use super::definitions::doomed_definitions;
use crate::caches::intruders;
use crate::context::Context;
use crate::error::Failure;
use crate::kinds::{NAMESPACE, ROLE_BINDING};

/// Observes a group.
///
/// # Errors
/// When a namespace that the caches do not have cannot be asked for.
pub async fn group(group: &ResourceGroup, context: &Context) -> Result<GroupFacts, Failure> {
    let (name, uid) = (group.name_any(), group.uid().unwrap_or_default());
    let mut namespaces: BTreeMap<String, DynamicObject> = context
        .caches
        .of(NAMESPACE)
        .map(|known| known.beginning(&format!("/{name}-")))
        .unwrap_or_default()
        .into_iter()
        .filter(|namespace| namespace.labels().get(GROUP_UID_LABEL) == Some(&uid))
        .map(|namespace| (namespace.name_any(), namespace))
        .collect();
    let wanted = group.spec.slots.iter().map(|slot| format!("{name}-{}", slot.name));
    let unseen: Vec<String> = wanted.filter(|namespace| !namespaces.contains_key(namespace)).collect();
    for found in try_join_all(unseen.iter().map(|namespace| unseen_namespace(namespace, context))).await?.into_iter().flatten() {
        namespaces.insert(found.name_any(), found);
    }
    let slots = context.caches.slots.objects.beginning(&format!("{name}-"));
    Ok(GroupFacts {
        doomed_definitions: doomed_definitions(&group.metadata, context).await,
        operator: context.operator.clone(),
        bindings: namespaces.keys().flat_map(|namespace| bindings(namespace, &name, context)).collect(),
        namespaces: namespaces.into_values().collect(),
        slots: slots.iter().filter(|slot| slot.spec.group_ref.uid == uid).map(|slot| (**slot).clone()).collect(),
    })
}

/// A namespace that is not among the group's own: it does not exist yet, or belongs to somebody else, which only asking shows,
/// since foreign namespaces are not watched.
async fn unseen_namespace(name: &str, context: &Context) -> Result<Option<DynamicObject>, Failure> {
    if let Some(known) = context.caches.of(NAMESPACE).and_then(|known| known.get("", name)) {
        return Ok(Some(known));
    }
    let doing = format!("reading namespace {name}");
    let answer = context.in_time(&doing, NAMESPACE.api_all(&context.client).get_opt(name)).await?;
    Ok(answer.map(|mut namespace| {
        namespace.types = Some(NAMESPACE.types());
        namespace.metadata.managed_fields = intruders(&namespace.metadata);
        namespace
    }))
}

fn bindings(namespace: &str, group: &str, context: &Context) -> Vec<DynamicObject> {
    let known = context.caches.of(ROLE_BINDING).map(|known| known.in_namespace(namespace)).unwrap_or_default();
    known.into_iter().filter(|binding| binding.labels().get(GROUP_LABEL).is_none_or(|label| label == group)).collect()
}
