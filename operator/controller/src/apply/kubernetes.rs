//! Steps on the cluster: server-side apply, deletion of exactly one object, and the finalizers of the planned object.

use std::fmt;
use std::time::Duration;

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::{DynamicObject, ObjectMeta};
use serde_json::json;
use tenantry_crds::names::FIELD_MANAGER;
use tenantry_plan::{Manifest, ObjectId, Step, ownership, reasons};

use crate::context::Context;
use crate::error::Failure;
use crate::kinds::Kind;
use crate::metrics::Verb;

/// The API server's authorizer learns of a new RoleBinding by a watch of its own: what it refuses right after may be allowed in
/// a moment.
const FORBIDDEN_RETRIES: u32 = 6;
const FORBIDDEN_PAUSE: Duration = Duration::from_millis(50);

/// How often a list of finalizers that somebody else has changed meanwhile is read again.
const CONFLICT_RETRIES: u32 = 4;

/// The planned object itself.
pub struct Planned<'a> {
    pub kind: Kind,
    pub meta: &'a ObjectMeta,
}

impl fmt::Display for Planned<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}",
            self.kind.kind,
            self.meta.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default()
        )?;
        formatter.write_str(self.meta.name.as_deref().unwrap_or_default())
    }
}

/// Executes one step.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn execute(step: &Step, planned: &Planned<'_>, context: &Context) -> Result<(), Failure> {
    match step {
        Step::Apply(manifest) => apply(manifest, FIELD_MANAGER, context).await,
        Step::ApplyAs(manager, manifest) => apply(manifest, manager, context).await,
        Step::Delete(object) => delete(object, context).await,
        Step::AddFinalizer(finalizer) => set_finalizer(finalizer, true, planned, context).await,
        Step::RemoveFinalizer(finalizer) => set_finalizer(finalizer, false, planned, context).await,
        Step::Database(_) => Ok(()),
    }
}

async fn apply(manifest: &Manifest, manager: &str, context: &Context) -> Result<(), Failure> {
    let kind = known(&manifest.kind.group, &manifest.kind.kind)?;
    let api = kind.api(&context.client, manifest.namespace());
    let doing = format!("applying {} {}", kind.kind, path(manifest.namespace(), manifest.name()));
    let parameters = PatchParams::apply(manager).force();
    let patch = Patch::Apply(&manifest.object);
    let mut attempt = 0;
    let mut taken_over = false;
    loop {
        match context.in_time(&doing, api.patch(manifest.name(), &parameters, &patch)).await {
            Ok(object) => {
                // What others put beside the manifest stays, since it is theirs: it is made ours, and goes with the next apply.
                if manager == FIELD_MANAGER && !taken_over && take_over(&api, &object, &doing, context).await? {
                    taken_over = true;
                    continue;
                }
                tracing::info!(kind = kind.kind, namespace = manifest.namespace(), name = manifest.name(), "applied");
                context.metrics.object_written(Verb::Apply, kind.kind);
                context.put_written(kind, object);
                return Ok(());
            }
            Err(failure) if failure.reason == reasons::FORBIDDEN && attempt < FORBIDDEN_RETRIES => {
                tokio::time::sleep(FORBIDDEN_PAUSE * 2_u32.pow(attempt)).await;
                attempt += 1;
            }
            // Merged with what others put there it can make no sense: a port of the same name, the parameters of another strategy.
            Err(failure) if failure.reason == reasons::INVALID && manager == FIELD_MANAGER && !taken_over => {
                taken_over = true;
                let live = context.in_time(&doing, api.get_opt(manifest.name())).await?;
                let Some(live) = live else { return Err(failure) };
                if !take_over(&api, &live, &doing, context).await? {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Makes the operator the owner of content that others own; whether there was any.
async fn take_over(api: &Api<DynamicObject>, object: &DynamicObject, doing: &str, context: &Context) -> Result<bool, Failure> {
    let Some(entries) = ownership::taken_over(&object.metadata) else { return Ok(false) };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let patch = json!({
        "metadata": { "uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version, "managedFields": entries }
    });
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    context.in_time(doing, api.patch(name, &parameters, &Patch::Merge(&patch))).await?;
    tracing::info!(object = doing, "took fields over that somebody else had added");
    Ok(true)
}

async fn delete(object: &ObjectId, context: &Context) -> Result<(), Failure> {
    let kind = known(&object.group, &object.kind)?;
    let api = kind.api(&context.client, object.namespace.as_deref());
    let doing = format!("deleting {} {}", kind.kind, path(object.namespace.as_deref(), &object.name));
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(object.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    match context.in_time(&doing, api.delete(&object.name, &parameters)).await {
        // What is gone, or another object by now (the precondition), need not be deleted.
        Err(failure) if !matches!(failure.reason, reasons::NOT_FOUND | reasons::CONFLICT) => Err(failure),
        _ => {
            tracing::info!(kind = kind.kind, namespace = object.namespace, name = object.name, "deleted");
            context.metrics.object_written(Verb::Delete, kind.kind);
            Ok(())
        }
    }
}

/// The list of finalizers belongs to several writers: it is replaced as it was read, on the condition that it still is.
async fn set_finalizer(finalizer: &str, present: bool, planned: &Planned<'_>, context: &Context) -> Result<(), Failure> {
    let mut meta = planned.meta.clone();
    for _ in 0..CONFLICT_RETRIES {
        match patch_finalizers(finalizer, present, &meta, planned, context).await {
            Err(failure) if failure.reason == reasons::CONFLICT => match latest(planned, context).await? {
                Some(latest) => meta = latest,
                None => return Ok(()),
            },
            done => return done,
        }
    }
    patch_finalizers(finalizer, present, &meta, planned, context).await
}

/// The planned object's metadata as they are now; none if it is gone.
async fn latest(planned: &Planned<'_>, context: &Context) -> Result<Option<ObjectMeta>, Failure> {
    let api = planned.kind.api(&context.client, planned.meta.namespace.as_deref());
    let name = planned.meta.name.as_deref().unwrap_or_default();
    let found = context.in_time(&format!("reading {planned}"), api.get_opt(name)).await?;
    Ok(found.map(|found| found.metadata).filter(|meta| meta.uid == planned.meta.uid))
}

async fn patch_finalizers(
    finalizer: &str,
    present: bool,
    meta: &ObjectMeta,
    planned: &Planned<'_>,
    context: &Context,
) -> Result<(), Failure> {
    let name = meta.name.as_deref().unwrap_or_default();
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    if present == finalizers.iter().any(|existing| existing == finalizer) {
        return Ok(());
    }
    finalizers.retain(|existing| existing != finalizer);
    if present {
        finalizers.push(finalizer.to_owned());
    }
    let patch = json!({
        "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers }
    });
    let doing = if present { "adding" } else { "removing" };
    let doing = format!("{doing} finalizer {finalizer} of {planned}");
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let api: Api<DynamicObject> = planned.kind.api(&context.client, meta.namespace.as_deref());
    match context.in_time(&doing, api.patch(name, &parameters, &Patch::Merge(&patch))).await {
        Ok(written) => context.put_written(planned.kind, written),
        // Removed by the last run, whose answer was lost or not seen yet.
        Err(failure) if failure.reason == reasons::NOT_FOUND && !present => {}
        Err(failure) => return Err(failure),
    }
    tracing::info!(object = %planned, finalizer, present, "finalizer set");
    context.metrics.object_written(Verb::SetFinalizer, planned.kind.kind);
    Ok(())
}

fn known(group: &str, kind: &str) -> Result<Kind, Failure> {
    Kind::named(group, kind).ok_or_else(|| {
        Failure::new(
            reasons::UNKNOWN_KIND,
            format!("the plan names the kind {kind} of group {group:?}, which the operator does not manage"),
        )
    })
}

fn path(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}
