//! Whether the definitions of groups and Slots are being deleted: then their objects are deleted with them, and that says
//! nothing of what anybody wants. Asked for when something is torn down, not watched: a definition is marked before its
//! objects are, so that whoever sees a marked object and asks then cannot miss it.

use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::core::ObjectMeta;
use tenantry_plan::Observation;

use crate::context::Context;
use crate::error::Failure;
use crate::kinds::{Kind, RESOURCE_GROUP, SLOT};

/// The definitions that are being deleted, or gone; not asked for an object that is not being deleted.
pub async fn doomed_definitions(object: &ObjectMeta, context: &Context) -> Observation<Vec<String>> {
    if object.deletion_timestamp.is_none() {
        return Observation::NotAsked;
    }
    match try_join_all([RESOURCE_GROUP, SLOT].map(|kind| doomed(kind, context))).await {
        Ok(doomed) => Observation::Known(doomed.into_iter().flatten().collect()),
        Err(Failure { reason, message }) => Observation::Failed { reason, message },
    }
}

async fn doomed(kind: Kind, context: &Context) -> Result<Option<String>, Failure> {
    let name = format!("{}.{}", kind.plural, kind.group);
    let api: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let found = context.in_time(&format!("reading CustomResourceDefinition {name}"), api.get_metadata_opt(&name)).await?;
    let stands = found.is_some_and(|definition| definition.metadata.deletion_timestamp.is_none());
    Ok((!stands).then_some(name))
}
