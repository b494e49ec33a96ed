//! Who owns the fields of an object that the operator manages, as the API server records it (`managedFields`). The operator
//! alone owns what is in it: a field that somebody else put beside its own, and server-side apply therefore leaves there, is
//! drift. Labels, annotations and status are free to others, as are subresources (an autoscaler's `scale`) and Kubernetes'
//! own controllers; and the number of an autoscaled Deployment's pods, which would fall back to one if it were taken away.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value, json};
use tenantry_crds::names::{FIELD_MANAGER, PROMOTION_FIELD_MANAGER, REPLICAS_FIELD_MANAGER};

use crate::objects::autoscaler::is_autoscaled;

/// Fields that others may own.
const FREE: [&str; 2] = ["f:metadata", "f:status"];
/// What the managers of Kubernetes' own controllers begin with (kubectl's do not).
const KUBERNETES: &str = "kube-";

/// The entries of others that own content of the object.
pub fn foreign(meta: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    let autoscaled = is_autoscaled(meta);
    meta.managed_fields.iter().flatten().filter(move |entry| is_foreign(entry, autoscaled))
}

/// The entries with the content that others own made the operator's: what the next apply does not state goes then. None where
/// there is nothing to take over.
pub fn taken_over(meta: &ObjectMeta) -> Option<Vec<ManagedFieldsEntry>> {
    let autoscaled = is_autoscaled(meta);
    let mut taken = Map::new();
    foreign(meta).for_each(|entry| merge(&mut taken, divided(entry, autoscaled).content));
    if taken.is_empty() {
        return None;
    }
    let mut kept: Vec<ManagedFieldsEntry> = meta
        .managed_fields
        .iter()
        .flatten()
        .cloned()
        .map(|mut entry| {
            if is_foreign(&entry, autoscaled) {
                entry.fields_v1 = Some(FieldsV1(Value::Object(divided(&entry, autoscaled).free)));
            }
            entry
        })
        .filter(|entry| entry.fields_v1.as_ref().is_none_or(|fields| fields.0.as_object().is_none_or(|fields| !fields.is_empty())))
        .collect();
    // Not the one of the status, which stands beside it in the order of their times.
    let own = kept.iter_mut().find(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply") && entry.subresource.is_none()
    })?;
    let mut fields = own.fields_v1.take().and_then(|fields| fields.0.as_object().cloned()).unwrap_or_default();
    merge(&mut fields, taken);
    own.fields_v1 = Some(FieldsV1(Value::Object(fields)));
    Some(kept)
}

fn is_foreign(entry: &ManagedFieldsEntry, autoscaled: bool) -> bool {
    let manager = entry.manager.as_deref().unwrap_or_default();
    let own = [FIELD_MANAGER, PROMOTION_FIELD_MANAGER, REPLICAS_FIELD_MANAGER].contains(&manager);
    let subresource = !entry.subresource.as_deref().unwrap_or_default().is_empty();
    !own && !manager.starts_with(KUBERNETES) && !subresource && !divided(entry, autoscaled).content.is_empty()
}

/// What an entry owns.
struct Divided {
    /// What it may own.
    free: Map<String, Value>,
    /// The object's content.
    content: Map<String, Value>,
}

fn divided(entry: &ManagedFieldsEntry, autoscaled: bool) -> Divided {
    let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object()).cloned().unwrap_or_default();
    let (mut free, mut content): (Map<_, _>, Map<_, _>) = fields.into_iter().partition(|(key, _)| FREE.contains(&key.as_str()));
    if autoscaled
        && let Some(spec) = content.get_mut("f:spec").and_then(Value::as_object_mut)
        && let Some(replicas) = spec.remove("f:replicas")
    {
        let only = spec.is_empty();
        free.insert("f:spec".to_owned(), json!({ "f:replicas": replicas }));
        if only {
            content.remove("f:spec");
        }
    }
    Divided { free, content }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tenantry_crds::names::AUTOSCALED_ANNOTATION;

    use super::*;

    fn entry(manager: &str, operation: &str, subresource: Option<&str>, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            subresource: subresource.map(str::to_owned),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    fn own() -> ManagedFieldsEntry {
        entry(FIELD_MANAGER, "Apply", None, json!({ "f:spec": { "f:hard": { "f:pods": {} } } }))
    }

    fn meta(entries: Vec<ManagedFieldsEntry>) -> ObjectMeta {
        ObjectMeta { managed_fields: Some(entries), ..ObjectMeta::default() }
    }

    #[test]
    fn what_others_own_of_the_content_is_taken_and_what_is_free_is_left_to_them() {
        let other = json!({ "f:metadata": { "f:labels": { "f:cost": {} } }, "f:spec": { "f:hard": { "f:services": {} } } });
        let taken = taken_over(&meta(vec![own(), entry("kubectl-edit", "Update", None, other)])).unwrap();
        assert_eq!(taken[0].fields_v1.as_ref().unwrap().0, json!({ "f:spec": { "f:hard": { "f:pods": {}, "f:services": {} } } }));
        assert_eq!(taken[1].fields_v1.as_ref().unwrap().0, json!({ "f:metadata": { "f:labels": { "f:cost": {} } } }));
        assert!(taken_over(&meta(taken)).is_none());
    }

    #[test]
    fn what_is_taken_becomes_content_beside_the_operators_status() {
        let status = entry(FIELD_MANAGER, "Apply", Some("status"), json!({ "f:status": { "f:ready": {} } }));
        let other = entry("kubectl-edit", "Update", None, json!({ "f:spec": { "f:paused": {} } }));
        let taken = taken_over(&meta(vec![status.clone(), own(), other])).unwrap();
        assert_eq!(taken[0], status);
        assert_eq!(taken[1].fields_v1.as_ref().unwrap().0, json!({ "f:spec": { "f:hard": { "f:pods": {} }, "f:paused": {} } }));
    }

    #[test]
    fn controllers_subresources_and_metadata_are_no_intrusion() {
        let spec = || json!({ "f:spec": { "f:replicas": {} } });
        let entries = meta(vec![
            own(),
            entry("kube-controller-manager", "Update", None, spec()),
            entry("horizontal-pod-autoscaler", "Update", Some("scale"), spec()),
            entry("kubectl-label", "Update", None, json!({ "f:metadata": { "f:labels": { "f:a": {} } } })),
            entry(PROMOTION_FIELD_MANAGER, "Apply", None, spec()),
            entry(REPLICAS_FIELD_MANAGER, "Apply", None, spec()),
        ]);
        assert_eq!(foreign(&entries).count(), 0);
        assert!(taken_over(&entries).is_none());
    }

    #[test]
    fn the_number_of_an_autoscaled_deployments_pods_is_left_to_whoever_set_it() {
        let alone = || entry("kubectl-edit", "Update", None, json!({ "f:spec": { "f:replicas": {} } }));
        let with_more = entry("kubectl-edit", "Update", None, json!({ "f:spec": { "f:replicas": {}, "f:paused": {} } }));
        assert_eq!(foreign(&meta(vec![own(), alone()])).count(), 1);

        let autoscaled = |entries| ObjectMeta {
            annotations: Some(BTreeMap::from([(AUTOSCALED_ANNOTATION.to_owned(), "true".to_owned())])),
            ..meta(entries)
        };
        assert_eq!(foreign(&autoscaled(vec![own(), alone()])).count(), 0);
        let taken = taken_over(&autoscaled(vec![own(), with_more])).unwrap();
        let fields = |index: usize| &taken[index].fields_v1.as_ref().unwrap().0["f:spec"];
        assert_eq!(*fields(0), json!({ "f:hard": { "f:pods": {} }, "f:paused": {} }));
        assert_eq!(*fields(1), json!({ "f:replicas": {} }));
        assert!(taken_over(&autoscaled(taken)).is_none());
    }
}
