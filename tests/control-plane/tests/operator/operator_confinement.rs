//! Without the policies that confine it and shield the slots the operator does not start; when they go, it writes nothing until
//! they are back.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tenantry_crds::ResourceGroup;
use tenantry_harness::control_plane::Audit;

use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};

const POLICY: &str = "tenantry-slot-contents";

#[tokio::test]
async fn without_its_policies_the_operator_does_not_start_and_writes_nothing_while_they_are_gone() {
    let platform = Platform::start(Audit::Off).await;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(platform.client().await);
    let taken = bindings.get(POLICY).await.unwrap();
    bindings.delete(POLICY, &DeleteParams::default()).await.unwrap();
    let mut refused = platform.launch_operator(&[]);
    assert!(!refused.ended().await.unwrap().success());
    let said = refused.log();
    assert!(said.contains("the admission policy binding tenantry-slot-contents is missing"), "{said}");
    assert!(said.contains("helm upgrade --install"), "{said}");

    let binding = json!({ "metadata": { "name": POLICY }, "spec": taken.spec });
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let operator = platform.start_operator_with(&["--policy-interval=1"]).await;
    let (class, release) = platform.offer(1).await;
    let (name, _) = platform.ready_group(&class, &release).await;

    // Warned of only, what was refused before is let through.
    let act = async |action: &str| {
        let patch = json!({ "spec": { "validationActions": [action] } });
        bindings.patch(POLICY, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    };
    act("Warn").await;
    eventually("the operator is not ready any more", async || match operator.probe("readyz").await {
        Some(503) => Ok(()),
        other => Err(other),
    })
    .await;
    assert!(operator.metrics().await.unwrap().contains("tenantry_confined 0"));
    assert_eq!(operator.probe("livez").await, Some(200), "restarting it would not help");
    let policies: Api<NetworkPolicy> = Api::namespaced(platform.client().await, &format!("{name}-dev"));
    policies.delete("allow-dns", &DeleteParams::default()).await.unwrap();
    let deleted = platform.group(&name).await.unwrap();
    let other = unique("late");
    platform.apply::<ResourceGroup>(manifests::group(&other, &class, vec![pinned("dev", &release)])).await;
    // Four looks for the policies later, nothing has been done.
    let logged = |operator: &tenantry_harness::operator::Operator| operator.log().lines().count();
    let before = logged(&operator);
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert!(policies.get_opt("allow-dns").await.unwrap().is_none(), "a policy was made");
    assert!(platform.group(&other).await.unwrap().finalizers().is_empty(), "a group was taken up");
    assert_eq!(platform.group(&name).await.unwrap().resource_version(), deleted.resource_version(), "a status was written");
    assert_eq!(logged(&operator), before, "it says once that it writes nothing");

    act("Deny").await;
    platform.wait_until_ready(&other).await;
    eventually("the policy is back", async || policies.get_opt("allow-dns").await.unwrap().map(drop).ok_or("not yet")).await;
    assert_eq!(operator.probe("readyz").await, Some(200));
}
