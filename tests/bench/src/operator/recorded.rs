//! The raw rate: the objects that the operator made, applied once more under other names by plain clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{DynamicObject, TypeMeta};
use kube::{Api, Client, api::ApiResource};
use serde_json::{Map, Value};
use tenantry_crds::names::{FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL};
use tenantry_plan::MANAGED_KINDS;

/// In the place of the operator's label, so that it leaves them alone.
const RAW: &str = "bench-raw";

/// A manifest and where it goes.
struct Recorded {
    resource: ApiResource,
    manifest: DynamicObject,
}

/// What was applied.
pub struct RawRate {
    pub objects: usize,
    pub seconds: f64,
}

/// Applies everything again that the operator made in namespaces that begin with `prefix`, Slots excepted (which it would
/// reconcile), with the prefix `other`.
pub async fn apply_again(client: &Client, prefix: &str, other: &str, clients: usize) -> Result<RawRate> {
    let namespace = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: "Namespace".into(),
        plural: "namespaces".into(),
    };
    let namespaces = recorded(client, &namespace, prefix, other).await?;
    let mut others = Vec::new();
    for kind in MANAGED_KINDS {
        let api_version = if kind.group.is_empty() { kind.version.to_owned() } else { format!("{}/{}", kind.group, kind.version) };
        let resource = ApiResource {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            api_version,
            kind: kind.kind.to_owned(),
            plural: kind.plural.to_owned(),
        };
        others.extend(recorded(client, &resource, prefix, other).await?);
    }
    // As the operator makes them: all of one slot, then all of the next.
    others.sort_by(|one, other| one.manifest.metadata.namespace.cmp(&other.manifest.metadata.namespace));
    let begun = Instant::now();
    apply_all(client, &namespaces, clients).await?;
    apply_all(client, &others, clients).await?;
    Ok(RawRate { objects: namespaces.len() + others.len(), seconds: begun.elapsed().as_secs_f64() })
}

async fn recorded(client: &Client, resource: &ApiResource, prefix: &str, other: &str) -> Result<Vec<Recorded>> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let selector = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}")).limit(500);
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut page = selector.clone();
        page.continue_token = token.take();
        let list = api.list(&page).await?;
        token = list.metadata.continue_.filter(|token| !token.is_empty());
        for object in list.items {
            let place = object.metadata.namespace.as_ref().or(object.metadata.name.as_ref());
            if place.is_some_and(|place| place.starts_with(prefix)) {
                found.push(Recorded { resource: resource.clone(), manifest: manifest(object, resource, prefix, other)? });
            }
        }
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// What the operator applied: the fields that it owns.
fn manifest(mut object: DynamicObject, resource: &ApiResource, prefix: &str, other: &str) -> Result<DynamicObject> {
    let entries = object.metadata.managed_fields.take().unwrap_or_default();
    let own = entries.into_iter().find(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.subresource.is_none());
    let fields = own.and_then(|entry| entry.fields_v1).context("the operator owns no field")?;
    let live = serde_json::to_value(&object)?;
    let mut applied = owned(&live, &fields.0);
    applied["metadata"]["name"] = live["metadata"]["name"].clone();
    if let Some(namespace) = live["metadata"].get("namespace") {
        applied["metadata"]["namespace"] = namespace.clone();
    }
    let text = applied.to_string().replace(prefix, other).replace(&format!("\"{MANAGED_BY}\""), &format!("\"{RAW}\""));
    let mut manifest: DynamicObject = serde_json::from_str(&text)?;
    manifest.types = Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    Ok(manifest)
}

/// The part of a value that a `FieldsV1` names (structured-merge-diff: `f:` a field, `k:` an item by its keys, `v:` an item
/// by its value).
fn owned(live: &Value, fields: &Value) -> Value {
    let Some(fields) = fields.as_object().filter(|fields| fields.keys().any(|key| key != ".")) else {
        return live.clone();
    };
    match live {
        Value::Object(entries) => {
            let parts = fields.iter().filter_map(|(key, below)| {
                let name = key.strip_prefix("f:")?;
                Some((name.to_owned(), owned(entries.get(name)?, below)))
            });
            Value::Object(parts.collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let kept = items.iter().filter_map(|item| {
                fields.iter().find_map(|(key, below)| {
                    if let Some(keys) = key.strip_prefix("k:") {
                        let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
                        return keys.iter().all(|(key, value)| item.get(key) == Some(value)).then(|| owned(item, below));
                    }
                    let value: Value = serde_json::from_str(key.strip_prefix("v:")?).ok()?;
                    (value == *item).then_some(value)
                })
            });
            Value::Array(kept.collect())
        }
        scalar => scalar.clone(),
    }
}

async fn apply_all(client: &Client, recorded: &[Recorded], clients: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let parameters = PatchParams::apply("raw").force();
    let one = || async {
        while let Some(Recorded { resource, manifest }) = recorded.get(next.fetch_add(1, Ordering::Relaxed)) {
            let api: Api<DynamicObject> = match &manifest.metadata.namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
                None => Api::all_with(client.clone(), resource),
            };
            let name = manifest.metadata.name.as_deref().unwrap_or_default();
            api.patch(name, &parameters, &Patch::Apply(manifest)).await.with_context(|| format!("{} {name}", resource.kind))?;
        }
        Ok::<_, anyhow::Error>(())
    };
    try_join_all((0..clients).map(|_| one())).await?;
    Ok(())
}
