//! A tenant's own Secret becomes a credential of a service, without anybody's doing once it is there; no other Secret ever does.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tenantry_crds::{Release, ResourceGroup};

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

/// The Secret that a Deployment of the slot mounts as the credential.
async fn mounted(platform: &Platform, namespace: &str, deployment: &str) -> Option<String> {
    let deployments: Api<Deployment> = Api::namespaced(platform.client().await, namespace);
    let deployment: Value = serde_json::to_value(deployments.get_opt(deployment).await.unwrap()?).unwrap();
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "credential-webhook")?;
    Some(volume["secret"]["secretName"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_tenants_own_secret_reaches_the_role_that_needs_it_once_it_is_there_and_no_other_secret_does() {
    let platform = Platform::shared().await;
    let (class, release) = (platform.offer(1).await.0, unique("v1"));
    let mut manifest = manifests::release(&release, 1);
    manifest["spec"]["services"]["ledger"]["needs"]["credentials"] = json!([{ "name": "webhook", "roles": ["worker"], "files": ["key"] }]);
    platform.apply::<Release>(manifest).await;
    let group = unique("acme");
    let namespace = format!("{group}-dev");
    let mut manifest = manifests::group(&group, &class, vec![pinned("dev", &release)]);
    manifest["spec"]["services"]["ledger"]["credentials"] = json!({ "webhook": { "secretName": "payments" } });
    platform.apply::<ResourceGroup>(manifest).await;

    let message = platform.wait_for_slot(&group, "dev", "Stalled", "True", "CredentialMissing").await;
    assert!(message.contains("tenantry.dev/user-secret") && message.contains("the entries key"), "{message}");
    eventually("the pods run all the same", async || {
        mounted(platform, &namespace, "ledger-worker").await.map_or(Ok(()), Err)?;
        platform.slot(&group, "dev").await.and_then(|slot| slot.status?.database).map(|_| ()).ok_or_else(String::new)
    })
    .await;
    let secret = |labels: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": "payments", "namespace": namespace, "labels": labels },
            "stringData": { "key": "very-secret-value" },
        })
    };
    platform.apply::<Secret>(secret(json!({}))).await;
    platform.wait_for_slot(&group, "dev", "Stalled", "True", "CredentialNotUsable").await;
    assert_eq!(mounted(platform, &namespace, "ledger-worker").await, None);
    Api::<Secret>::namespaced(platform.client().await, &namespace).delete("payments", &DeleteParams::default()).await.unwrap();
    platform.apply::<Secret>(secret(json!({ "tenantry.dev/user-secret": "" }))).await;
    platform.wait_until_ready(&group).await;
    assert_eq!(mounted(platform, &namespace, "ledger-worker").await.as_deref(), Some("payments"));
    assert_eq!(mounted(platform, &namespace, "ledger-api").await, None);
    let status = serde_json::to_string(&platform.slot(&group, "dev").await.unwrap()).unwrap();
    assert!(!status.contains("very-secret-value"), "{status}");
}
