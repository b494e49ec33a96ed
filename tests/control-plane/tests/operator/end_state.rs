//! Everything that a group has, in the cluster and in PostgreSQL, as text that two groups can be compared by.

use std::collections::BTreeSet;

use kube::api::{DynamicObject, ListParams};
use kube::discovery::{Discovery, verbs};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use sqlx::{Connection, Row};
use tenantry_crds::ResourceGroup;

use super::normal::Names;
use super::platform::Platform;

/// What is made from the operator's objects and carries their labels.
const DERIVED: [&str; 3] = ["Pod", "ReplicaSet", "EndpointSlice"];

const CLUSTER_WIDE: &str = "
WITH ours AS (SELECT oid, shobj_description(oid, 'pg_database') AS comment, 'd' AS kind FROM pg_database
    UNION ALL SELECT oid, shobj_description(oid, 'pg_authid'), 'r' FROM pg_roles)
SELECT json_build_object('database', d.datname, 'owner', pg_get_userbyid(d.datdba), 'limit', d.datconnlimit,
    'open', d.datallowconn, 'acl', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(d.datacl) a), 'comment', o.comment)::text
FROM pg_database d JOIN ours o ON o.oid = d.oid AND o.kind = 'd' WHERE o.comment LIKE '%' || $1 || '%'
UNION ALL
SELECT (to_jsonb(r) - 'oid' || jsonb_build_object('comment', o.comment))::text
FROM pg_roles r JOIN ours o ON o.oid = r.oid AND o.kind = 'r' WHERE o.comment LIKE '%' || $1 || '%'
UNION ALL
SELECT (to_jsonb(m) - 'oid' || jsonb_build_object('roleid', pg_get_userbyid(m.roleid), 'member', pg_get_userbyid(m.member),
    'grantor', pg_get_userbyid(m.grantor)))::text
FROM pg_auth_members m JOIN ours o ON o.oid = m.roleid AND o.kind = 'r' WHERE o.comment LIKE '%' || $1 || '%'
UNION ALL
SELECT json_build_object('settings of', pg_get_userbyid(s.setrole), 'in', d.datname,
    'are', (SELECT array_agg(c ORDER BY c) FROM unnest(s.setconfig) c))::text
FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase JOIN ours o ON o.oid = s.setrole AND o.kind = 'r'
WHERE o.comment LIKE '%' || $1 || '%'";

const DATABASES: &str =
    "SELECT datname::text FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE '%' || $1 || '%' ORDER BY 1";

const INSIDE: &str = "
SELECT json_build_object('schema', nspname, 'owner', pg_get_userbyid(nspowner), 'comment', obj_description(oid, 'pg_namespace'),
    'acl', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(nspacl) a))::text
FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
UNION ALL
SELECT json_build_object('defaults of', pg_get_userbyid(defaclrole), 'in', defaclnamespace::regnamespace, 'for', defaclobjtype,
    'acl', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(defaclacl) a))::text
FROM pg_default_acl
UNION ALL
SELECT json_build_object('relation', c.relname, 'in', c.relnamespace::regnamespace, 'kind', c.relkind, 'owner', pg_get_userbyid(c.relowner),
    'acl', (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(c.relacl) a))::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";

/// All objects that carry the operator's label in those namespaces, the namespaces, the Slots and the group; and what is in
/// PostgreSQL for the group's UID. Each as one normalised text.
pub async fn of_group(platform: &Platform, group: &str, uid: &str, names: &Names) -> BTreeSet<String> {
    let client = platform.client().await;
    let mut state = BTreeSet::new();
    for object in managed(&client, group).await {
        state.insert(names.normal(&described(object).to_string()));
    }
    if let Some(group) = Api::<ResourceGroup>::all(client).get_opt(group).await.unwrap() {
        state.insert(names.normal(&described(serde_json::from_value(serde_json::to_value(group).unwrap()).unwrap()).to_string()));
    }
    state.extend(in_postgres(platform, uid).await.iter().map(|text| sorted(&names.normal(text))));
    state
}

/// The objects of a group that the operator manages, whatever kinds the cluster has, but for those that go by themselves.
pub async fn managed(client: &Client, group: &str) -> Vec<DynamicObject> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await.unwrap();
    let selected = ListParams::default().labels(&format!("app.kubernetes.io/managed-by=tenantry,tenantry.dev/group={group}"));
    let mut found = Vec::new();
    for (resource, capabilities) in discovery.groups().flat_map(|group| group.recommended_resources()) {
        if !capabilities.supports_operation(verbs::LIST) || DERIVED.contains(&resource.kind.as_str()) {
            continue;
        }
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        for mut object in api.list(&selected).await.unwrap() {
            if object.data["spec"]["ttlSecondsAfterFinished"].is_number() {
                continue;
            }
            object.types = Some(kube::core::TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
            found.push(object);
        }
    }
    found
}

/// An object without what the API server and its controllers write, and without secrets.
fn described(object: DynamicObject) -> Value {
    let managers: BTreeSet<String> = object
        .managed_fields()
        .iter()
        .filter(|entry| entry.manager.as_deref().is_some_and(|manager| manager.starts_with("tenantry")))
        .map(|entry| {
            format!(
                "{} {} {}",
                entry.manager.as_deref().unwrap_or_default(),
                entry.operation.as_deref().unwrap_or_default(),
                entry.subresource.as_deref().unwrap_or_default()
            )
        })
        .collect();
    let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
    let meta = &object.metadata;
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    // The Deployment controller counts roll-outs: a kill in the middle of one can make two of it.
    annotations.remove("deployment.kubernetes.io/revision");
    let mut described = json!({
        "kind": kind, "namespace": meta.namespace, "name": meta.name, "labels": meta.labels, "annotations": annotations,
        "finalizers": meta.finalizers, "terminating": meta.deletion_timestamp.is_some(), "managers": managers,
    });
    let ours = matches!(kind.as_str(), "Slot" | "ResourceGroup" | "ResourceGroupClass" | "Release");
    for (key, value) in object.data.as_object().into_iter().flatten() {
        match key.as_str() {
            "status" if !ours => {}
            "data" if kind == "Secret" => {
                described["data"] = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
            }
            _ => described[key] = value.clone(),
        }
    }
    if let Some(observed) = described.pointer_mut("/status/observedGeneration") {
        *observed = Value::from(observed.as_i64() == meta.generation);
    }
    for condition in described.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let observed = condition["observedGeneration"].as_i64();
        condition["observedGeneration"] = Value::from(observed.is_none() || observed <= meta.generation);
    }
    if kind == "Service" {
        for assigned in ["clusterIP", "clusterIPs"] {
            described["spec"][assigned] = Value::Null;
        }
    }
    if kind == "Job" {
        // Its selector and labels name its own UID, which is replaced.
        described["spec"]["suspend"] = Value::Null;
    }
    described
}

/// A row of JSON with its access lists in the order of the normalised names.
fn sorted(row: &str) -> String {
    let mut row: Value = serde_json::from_str(row).unwrap();
    if let Some(list) = row.get_mut("acl").and_then(Value::as_array_mut) {
        list.sort_by_key(ToString::to_string);
    }
    row.to_string()
}

pub async fn in_postgres(platform: &Platform, uid: &str) -> Vec<String> {
    let mut session = platform.postgres.connect().await.unwrap();
    let rows = sqlx::query(CLUSTER_WIDE).bind(uid).fetch_all(&mut session).await.unwrap();
    let mut texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let databases: Vec<String> =
        sqlx::query(DATABASES).bind(uid).fetch_all(&mut session).await.unwrap().iter().map(|row| row.get(0)).collect();
    session.close().await.unwrap();
    for database in databases {
        let url = platform.postgres.url_of(platform.postgres.superuser(), &database);
        let mut inside = sqlx::PgConnection::connect(&url).await.unwrap();
        let rows = sqlx::query(INSIDE).fetch_all(&mut inside).await.unwrap();
        texts.extend(rows.iter().map(|row| {
            let mut text: Value = serde_json::from_str(row.get(0)).unwrap();
            text["of"] = database.as_str().into();
            text.to_string()
        }));
        inside.close().await.unwrap();
    }
    texts
}
