//! Groups as users write them, and what must be left of them in the end: nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::{Connection, PgConnection, Row};
use tenantry_harness::node::{Node, SYSTEM_NAMESPACE, eventually};

/// Long enough for a busy machine of two cores to start all pods of a group.
pub const READY: Duration = Duration::from_secs(300);

/// Environment variable: path of the greeter's entry for a release, as JSON.
const GREETER_VARIABLE: &str = "TENANTRY_NODE_GREETER";

/// A group of one slot, `dev`, that runs campaigns.
pub fn manifest(name: &str, release: &str) -> String {
    format!(
        "apiVersion: tenantry.dev/v1alpha1
kind: ResourceGroup
metadata: {{ name: {name} }}
spec:
  classRef: {{ name: standard }}
  owners: [{{ kind: Group, name: {name}-developers }}]
  services:
    campaigns: {{ settings: {{ baseCurrency: EUR }} }}
  slots:
    - {{ name: dev, size: small, release: {release} }}
"
    )
}

/// The release that the example group `pcasia` is pinned to.
pub async fn example_release(node: &Node) -> Result<String> {
    let group = node.get("default", "resourcegroups.tenantry.dev", "pcasia").await?.context("no group pcasia")?;
    Ok(group["spec"]["slots"][0]["release"].as_str().context("pcasia is not pinned")?.to_owned())
}

/// Makes a group of one slot with the example's release, and waits until it is Ready.
pub async fn make(node: &Node, name: &str) -> Result<()> {
    node.apply(&manifest(name, &example_release(node).await?)).await?;
    node.wait_until_ready(name, READY).await
}

/// A condition of an object.
pub fn condition<'o>(object: &'o Value, kind: &str) -> Result<&'o Value> {
    let conditions = object["status"]["conditions"].as_array().context("no conditions")?;
    conditions.iter().find(|condition| condition["type"] == kind).with_context(|| format!("no {kind}"))
}

/// Makes or changes another class, so that it differs from the example's by `change` alone.
pub async fn derive_class(node: &Node, name: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut class = node.get("default", "resourcegroupclasses.tenantry.dev", "standard").await?.context("no class standard")?;
    class["metadata"] = serde_json::json!({ "name": name });
    class.as_object_mut().context("not an object")?.remove("status");
    change(&mut class["spec"]);
    node.apply(&class.to_string()).await
}

/// Makes another release, that differs from the example's by `change`.
pub async fn derive_release(node: &Node, name: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let original = example_release(node).await?;
    let mut release = node.get("default", "releases.tenantry.dev", &original).await?.context("no such release")?;
    release["metadata"] = serde_json::json!({ "name": name });
    release.as_object_mut().context("not an object")?.remove("status");
    change(&mut release["spec"]);
    node.apply(&release.to_string()).await
}

/// Makes a release with the greeter beside campaigns: a second service, which needs a cache.
pub async fn release_with_greeter(node: &Node, name: &str) -> Result<()> {
    let path = std::env::var(GREETER_VARIABLE).context("run these tests by `cargo xtask test node`")?;
    let greeter: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    derive_release(node, name, |spec| spec["services"]["greeter"] = greeter).await
}

/// As [`manifest`], with the greeter.
pub fn manifest_with_greeter(name: &str, release: &str) -> String {
    manifest(name, release).replace("  slots:", "    greeter: { settings: { greeting: Servus } }\n  slots:")
}

/// Deletes groups and waits until nothing is left of them in the cluster and in PostgreSQL.
pub async fn delete_without_trace(node: &Node, groups: &[&str]) -> Result<()> {
    let mut uids = Vec::new();
    for group in groups {
        if let Some(found) = node.get("default", "resourcegroups.tenantry.dev", group).await? {
            uids.push(found["metadata"]["uid"].as_str().context("no UID")?.to_owned());
            node.kubectl(&["delete", "resourcegroup.tenantry.dev", group, "--wait=false"]).await?;
        }
    }
    ensure!(!uids.is_empty(), "none of {groups:?} existed");
    for group in groups {
        eventually("the group is gone", Duration::from_secs(180), || async {
            Ok(node.get("default", "resourcegroups.tenantry.dev", group).await?.is_none().then_some(()))
        })
        .await?;
    }
    let selector = format!("tenantry.dev/group in ({})", groups.join(","));
    let kinds = "namespaces,slots.tenantry.dev,pods,deployments,statefulsets,jobs,services,configmaps,secrets,networkpolicies,rolebindings,\
                 serviceaccounts,resourcequotas,limitranges,poddisruptionbudgets,horizontalpodautoscalers";
    eventually("nothing is left in the cluster", Duration::from_secs(120), || async {
        let left = node.list(kinds, &selector).await?;
        Ok(left.is_empty().then_some(()))
    })
    .await?;
    let mut admin = connect_as_admin(node).await?;
    for uid in uids {
        let like = format!("%{uid}%");
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM pg_database d WHERE shobj_description(d.oid, 'pg_database') LIKE $1)
                  + (SELECT count(*) FROM pg_roles r WHERE shobj_description(r.oid, 'pg_authid') LIKE $1)",
        )
        .bind(like)
        .fetch_one(&mut admin)
        .await?;
        let left: i64 = row.try_get(0)?;
        ensure!(left == 0, "{left} databases and roles of group {uid} are left in PostgreSQL");
    }
    admin.close().await?;
    Ok(())
}

/// A session of the admin login on the trial PostgreSQL.
pub async fn connect_as_admin(node: &Node) -> Result<PgConnection> {
    let class = node.get("default", "resourcegroupclasses.tenantry.dev", "standard").await?.context("no class standard")?;
    let server = &class["spec"]["postgres"]["servers"][0];
    let secret = server["adminSecretRef"]["name"].as_str().context("no admin Secret")?;
    let username = node.secret(SYSTEM_NAMESPACE, secret, "username").await?;
    let password = node.secret(SYSTEM_NAMESPACE, secret, "password").await?;
    let service = server["host"].as_str().context("no host")?.split('.').next().unwrap_or_default().to_owned();
    let (host, port) = node.service_address(SYSTEM_NAMESPACE, &service).await?;
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host(&host)
        .port(port)
        .username(&username)
        .password(&password)
        .database("postgres");
    Ok(PgConnection::connect_with(&options).await?)
}

/// A session of a slot's runtime login in a database, its own or another's.
pub async fn connect_as_tenant(node: &Node, namespace: &str, database_of: &str) -> Result<PgConnection> {
    let username = node.secret(namespace, "campaigns-database", "username").await?;
    let password = node.secret(namespace, "campaigns-database", "password").await?;
    connect_with(node, (&username, &password), database_of).await
}

/// A session with a login in the database of a slot.
pub async fn connect_with(node: &Node, (username, password): (&str, &str), database_of: &str) -> Result<PgConnection> {
    let slot_name = database_of.rsplit_once('-').context("not a slot's namespace")?.1;
    let slot = node.get(database_of, "slots.tenantry.dev", slot_name).await?.context("no such slot")?;
    let database = slot["status"]["database"]["name"].as_str().context("the slot has no database")?.to_owned();
    let (host, port) = node.service_address(SYSTEM_NAMESPACE, "tenantry-postgresql").await?;
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host(&host)
        .port(port)
        .username(username)
        .password(password)
        .database(&database);
    Ok(PgConnection::connect_with(&options).await?)
}
