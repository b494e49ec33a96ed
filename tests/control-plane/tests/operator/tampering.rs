//! Every way to edit a live object that its owner would not like: derived from the fields that the operator's field manager
//! owns in it, as the API server recorded them, and not from a list that somebody wrote.

use http::Request;
use kube::api::DynamicObject;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The operator's field manager.
const MANAGER: &str = "tenantry";

/// One edit: a JSON patch, and how to see that it was undone.
#[derive(Debug, Clone)]
pub struct Edit {
    /// What is edited, as a JSON pointer.
    pub path: String,
    /// Alternatives: the first that the API server takes is the edit.
    pub patches: Vec<Value>,
    /// What has to be there again; none where nothing was.
    wanted: Option<Value>,
}

impl Edit {
    /// Whether the object is as it was.
    pub fn is_undone(&self, object: &DynamicObject) -> bool {
        let value = serde_json::to_value(object).unwrap();
        value.pointer(&self.path).cloned().filter(|found| !found.is_null()) == self.wanted
    }
}

/// Sends a JSON patch as somebody who is not the operator.
pub async fn patch<K: Resource + DeserializeOwned>(client: &Client, api: &Api<K>, name: &str, patch: &Value) -> kube::Result<K> {
    let request = Request::patch(format!("{}/{name}?fieldManager=intruder", api.resource_url()))
        .header(http::header::CONTENT_TYPE, "application/json-patch+json")
        .body(serde_json::to_vec(patch).unwrap())
        .unwrap();
    client.request(request).await
}

/// All edits of fields that the operator owns, and of list items and keys put beside them.
pub fn edits(object: &DynamicObject) -> Vec<Edit> {
    let value = serde_json::to_value(object).unwrap();
    let mut edits = Vec::new();
    for entry in object.managed_fields() {
        let ours = entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply") && entry.subresource.is_none();
        if let Some(fields) = entry.fields_v1.as_ref().filter(|_| ours) {
            walk(&fields.0, &value, "", &mut edits);
        }
    }
    edits.extend(additions(&value));
    edits.retain(|edit| !is_given_away(&value, edit));
    edits
}

/// A namespace that an administrator gives to another group: the policies let the operator give none back.
fn is_given_away(object: &Value, edit: &Edit) -> bool {
    object["kind"] == "Namespace" && edit.path.ends_with("group-uid") && edit.patches.iter().any(|patch| patch[0]["op"] == "replace")
}

/// Fields that the operator does not state, put beside its own.
fn additions(object: &Value) -> Vec<Edit> {
    let add = |path: &str, value: Value| {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        object.pointer(parent)?;
        let patches = vec![json!([{ "op": "add", "path": path, "value": value }])];
        Some(Edit { path: path.to_owned(), patches, wanted: object.pointer(path).cloned() })
    };
    let added = match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => vec![
            add("/spec/template/spec/containers/0/env", json!([{ "name": "TAMPERED", "value": "yes" }])),
            add("/spec/template/spec/nodeSelector", json!({ "tampered": "yes" })),
            add("/spec/template/spec/initContainers", json!([{ "name": "tampered", "image": "tampered" }])),
            add("/spec/paused", json!(true)),
        ],
        "ResourceQuota" => vec![add("/spec/hard/services", json!("0"))],
        "LimitRange" => vec![add("/spec/limits/0/max", json!({ "memory": "1Gi" }))],
        "Service" => vec![add("/spec/selector/tampered", json!("yes")), add("/spec/externalIPs", json!(["192.0.2.1"]))],
        "ServiceAccount" => vec![add("/imagePullSecrets", json!([{ "name": "tampered" }]))],
        "Secret" => vec![add("/data/tampered", json!("eWVz"))],
        "NetworkPolicy" => vec![
            add("/spec/ingress", json!([{}])),
            add("/spec/egress", json!([{}])),
            add("/spec/podSelector/matchLabels", json!({ "tampered": "yes" })),
        ],
        // What is written into the revision of a slot that is promoted is a promotion by hand.
        "Slot" if is_pinned(object) => vec![
            add("/spec/revision/services/ledger/settings/limits", json!({ "daily": 1 })),
            add("/spec/revision/services/tampered", json!({})),
        ],
        _ => vec![],
    };
    added.into_iter().flatten().collect()
}

/// Whether a Slot's revision is the operator's, from the group's manifest.
fn is_pinned(slot: &Value) -> bool {
    let mut entries = slot["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.any(|entry| entry["manager"] == MANAGER && entry["fieldsV1"]["f:spec"].get("f:revision").is_some())
}

fn walk(fields: &Value, value: &Value, path: &str, edits: &mut Vec<Edit>) {
    let Some(fields) = fields.as_object() else { return };
    let children: Vec<(&String, &Value)> = fields.iter().filter(|(key, _)| *key != ".").collect();
    if children.is_empty() {
        return leaf(value, path, edits);
    }
    if children.iter().any(|(key, _)| key.starts_with("k:"))
        && let Some(items) = value.as_array()
    {
        edits.extend(further_item(items, &children, path));
    }
    for (key, below) in children {
        let step = match key.split_once(':') {
            Some(("f", name)) => value.get(name).map(|found| (name.replace('~', "~0").replace('/', "~1"), found)),
            Some(("k", selector)) => {
                let selector: Map<String, Value> = serde_json::from_str(selector).unwrap();
                let items = value.as_array().into_iter().flatten().enumerate();
                items
                    .into_iter()
                    .find(|(_, item)| selector.iter().all(|(key, wanted)| item.get(key) == Some(wanted)))
                    .map(|(at, item)| (at.to_string(), item))
            }
            // An item of a set stands for itself.
            _ => None,
        };
        if let Some((step, found)) = step {
            walk(below, found, &format!("{path}/{step}"), edits);
        }
    }
}

/// Another value in the place of this one; and where the field may be missing, none.
fn leaf(value: &Value, path: &str, edits: &mut Vec<Edit>) {
    let replace = |other: Value| json!([{ "op": "replace", "path": path, "value": other }]);
    let remove = json!([{ "op": "remove", "path": path }]);
    let others = match value {
        Value::String(_) => ["tampered", "7Mi", "7m", "UDP"].map(Value::from).to_vec(),
        Value::Number(number) => vec![json!(number.as_i64().unwrap_or(0) + 1), json!(0)],
        Value::Bool(flag) => vec![json!(!flag)],
        Value::Array(items) => {
            [items.first().map(|first| json!([items.as_slice(), std::slice::from_ref(first)].concat())), Some(json!([]))]
                .into_iter()
                .flatten()
                .collect()
        }
        Value::Object(entries) => {
            let mut more = entries.clone();
            more.insert("tampered".to_owned(), entries.values().next().cloned().unwrap_or_else(|| "tampered".into()));
            vec![json!({ "matchLabels": { "tampered": "yes" } }), Value::Object(more), json!({})]
        }
        Value::Null => return,
    };
    let wanted = Some(value.clone());
    let is_metadata = path.starts_with("/metadata/");
    let mut patches: Vec<Value> = others.into_iter().map(replace).collect();
    if is_metadata {
        edits.push(Edit { path: path.to_owned(), patches: vec![remove.clone()], wanted: wanted.clone() });
    } else {
        patches.push(remove);
    }
    edits.push(Edit { path: path.to_owned(), patches, wanted });
}

/// A further item of a list whose items are known by keys.
fn further_item(items: &[Value], children: &[(&String, &Value)], path: &str) -> Option<Edit> {
    let mut item = items.last()?.clone();
    let keys: Map<String, Value> = children.iter().find_map(|(key, _)| serde_json::from_str(key.strip_prefix("k:")?).ok())?;
    for (key, value) in keys {
        item[&key] = match value {
            Value::Number(number) => json!(number.as_i64().unwrap_or(0) + 1),
            _ if key == "protocol" || key == "kind" => continue,
            Value::String(text) if text.starts_with('/') => json!("/tampered"),
            _ => json!("tampered"),
        };
    }
    if item.get("mountPath").is_none() && item.get("name").is_some() {
        item["name"] = json!("tampered");
    }
    let patch = json!([{ "op": "add", "path": format!("{path}/-"), "value": item }]);
    Some(Edit { path: format!("{path}/{}", items.len()), patches: vec![patch], wanted: None })
}
