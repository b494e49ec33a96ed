//! What is lost around the operator: the definitions, the charts, its own namespace with and without the master key. No
//! tenant's data go with any of it. Each test on a platform of its own.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use tenantry_crds::{ResourceGroup, ResourceGroupClass};
use tenantry_harness::control_plane::{Audit, checkout};
use tenantry_harness::operator::NAMESPACE;

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};
use super::rows;

const MASTER_KEY: &str = "tenantry-master-key";

async fn pods(platform: &Platform, group: &str, slot: &str) -> String {
    let namespace = format!("--namespace={group}-{slot}");
    platform
        .control_plane
        .kubectl(&["get", "pods", &namespace, "--selector=tenantry.dev/role in (api, worker)", "--output=name"])
        .await
        .unwrap()
}

fn protected(name: &str, release: &str) -> Value {
    let mut slot = pinned(name, release);
    slot["deletionProtection"] = true.into();
    slot
}

#[tokio::test]
async fn deleted_definitions_touch_no_protected_slot_and_drop_no_database() {
    let platform = Platform::start(Audit::Off).await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let _operator = platform.start_operator().await;
    let group = |slots| manifests::group(&name, &class, slots);
    platform.apply::<ResourceGroup>(group(vec![pinned("dev", &release), protected("production", &release)])).await;
    platform.wait_until_ready(&name).await;
    let mut databases = Vec::new();
    for slot in ["dev", "production"] {
        rows::insert(&platform, &name, slot).await;
        databases.push(rows::database(&platform, &name, slot).await);
    }
    let running = pods(&platform, &name, "production").await;
    let definitions = ["resourcegroups.tenantry.dev", "slots.tenantry.dev"];
    let mut arguments = vec!["delete", "customresourcedefinitions", "--wait=false"];
    arguments.extend(definitions);
    platform.control_plane.kubectl(&arguments).await.unwrap();

    let message = platform.wait_for_slot(&name, "production", "DeletionBlocked", "True", "DefinitionDeleted").await;
    assert!(message.contains("resourcegroups.tenantry.dev") && message.contains("set deletionProtection to false"), "{message}");
    let namespaces: Api<Namespace> = Api::all(platform.client().await);
    eventually("the slot that is not protected is let go", async || {
        namespaces.get_opt(&format!("{name}-dev")).await.unwrap().map_or(Ok(()), |namespace| Err(namespace.status))
    })
    .await;
    for database in &databases {
        assert_eq!(rows::count(&platform, database).await, 1);
    }
    assert_eq!(pods(&platform, &name, "production").await, running);
    assert!(rows::may_enter(&platform, &rows::login(&platform, &name, "production").await, &databases[1]).await);

    // As the message says: the protection taken off lets the definitions end.
    let patch = json!([{ "op": "replace", "path": "/spec/slots/1/deletionProtection", "value": false }]).to_string();
    let object = format!("resourcegroup.tenantry.dev/{name}");
    platform.control_plane.kubectl(&["patch", &object, "--type=json", "--patch", &patch]).await.unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(platform.client().await);
    eventually("the definitions end", async || {
        for definition in definitions {
            if let Some(found) = api.get_opt(definition).await.unwrap() {
                return Err(found.status.map(|status| status.conditions));
            }
        }
        Ok(())
    })
    .await;
    eventually("the namespace ends", async || {
        namespaces.get_opt(&format!("{name}-production")).await.unwrap().map_or(Ok(()), |namespace| Err(namespace.status))
    })
    .await;

    // The definitions are back, and a group of the same name takes the data over, by the databases' names.
    platform.control_plane.install_api().await.unwrap();
    platform.apply::<ResourceGroupClass>(manifests::class(&class, platform.postgres.port(), super::platform::ADMIN_SECRET)).await;
    let adopting = |slot: &str, database: &String| {
        let mut slot = pinned(slot, &release);
        slot["adoptDatabase"] = json!({ "server": "main", "name": database });
        slot
    };
    platform.apply::<ResourceGroup>(group(vec![adopting("dev", &databases[0]), adopting("production", &databases[1])])).await;
    platform.wait_until_ready(&name).await;
    for slot in ["dev", "production"] {
        rows::assert_there(&platform, &name, slot).await;
    }
}

/// Deletes the operator's namespace, and waits until it is gone.
async fn lose_the_namespace(platform: &Platform) {
    let namespaces: Api<Namespace> = Api::all(platform.client().await);
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await.unwrap();
    eventually("the operator's namespace goes", async || {
        namespaces.get_opt(NAMESPACE).await.unwrap().map_or(Ok(()), |namespace| Err(namespace.status))
    })
    .await;
}

#[tokio::test]
async fn an_uninstalled_operator_and_its_lost_namespace_lose_no_tenants_data() {
    let mut platform = Platform::start(Audit::Off).await;
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let operator = platform.start_operator().await;
    let group = |size: &str| {
        let mut slot = pinned("dev", &release);
        slot["size"] = size.into();
        manifests::group(&name, &class, vec![slot])
    };
    platform.apply::<ResourceGroup>(group("small")).await;
    platform.wait_until_ready(&name).await;
    rows::insert(&platform, &name, "dev").await;
    let (database, login) = (rows::database(&platform, &name, "dev").await, rows::login(&platform, &name, "dev").await);
    let running = pods(&platform, &name, "dev").await;
    operator.stop().await.unwrap();

    // The charts are uninstalled, both of them.
    let namespace = format!("--namespace={NAMESPACE}");
    let image = "--set=image=example.org/operator@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    for (release, values) in [("tenantry-crds", None), ("tenantry", Some(image))] {
        let chart = checkout().join("charts").join(release);
        let mut arguments = vec!["install", release, chart.to_str().unwrap(), &namespace, "--take-ownership", "--force-conflicts"];
        arguments.extend(values);
        platform.control_plane.helm(&arguments).await.unwrap();
    }
    for release in ["tenantry", "tenantry-crds"] {
        platform.control_plane.helm(&["uninstall", release, &namespace]).await.unwrap();
    }
    assert!(platform.group(&name).await.is_some(), "the definitions are kept");
    let policies = platform.control_plane.kubectl(&["get", "validatingadmissionpolicies", "--output=name"]).await.unwrap();
    assert!(policies.contains("tenantry-group-deletion") && policies.contains("tenantry-namespace-deletion"), "{policies}");
    assert_eq!(pods(&platform, &name, "dev").await, running);
    assert!(rows::may_enter(&platform, &login, &database).await);

    // The operator's namespace is lost, and back with its master key.
    let secrets: Api<Secret> = Api::namespaced(platform.client().await, NAMESPACE);
    let mut key = secrets.get(MASTER_KEY).await.unwrap();
    lose_the_namespace(&platform).await;
    platform.reinstall().await;
    (key.metadata.resource_version, key.metadata.uid) = (None, None);
    secrets.create(&PostParams::default(), &key).await.unwrap();
    let operator = platform.start_operator().await;
    platform.apply::<ResourceGroup>(group("large")).await;
    platform.wait_until_ready(&name).await;
    assert!(rows::may_enter(&platform, &login, &database).await, "no password has changed");
    operator.stop().await.unwrap();

    // And once more, without it: what runs goes on, and nothing is changed by itself.
    lose_the_namespace(&platform).await;
    platform.reinstall().await;
    let _operator = platform.start_operator().await;
    platform.apply::<ResourceGroup>(group("small")).await;
    let message = platform.wait_for_slot(&name, "dev", "DataServicesReady", "False", "MasterKeyMissing").await;
    assert!(message.contains("restore it from its backup") && message.contains("docs/operations/master-key.md"), "{message}");
    assert!(rows::may_enter(&platform, &login, &database).await);
    assert!(!pods(&platform, &name, "dev").await.is_empty());
    assert!(secrets.get_opt(MASTER_KEY).await.unwrap().is_none(), "no other key is made by itself");

    // As the document says: another key, on purpose.
    let literal = format!("--from-literal=key={}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    platform.control_plane.kubectl(&["create", "secret", "generic", MASTER_KEY, &namespace, &literal]).await.unwrap();
    eventually("the password is another", async || {
        if rows::may_enter(&platform, &login, &database).await { Err("the former one is taken") } else { Ok(()) }
    })
    .await;
    platform.wait_until_ready(&name).await;
    eventually("the new login works", async || {
        let login = rows::login(&platform, &name, "dev").await;
        if rows::may_enter(&platform, &login, &database).await { Ok(()) } else { Err("not yet") }
    })
    .await;
    rows::assert_there(&platform, &name, "dev").await;
}
