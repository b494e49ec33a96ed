//! NetworkIsolated: said only after a probe, and not where the probe got through. The network is a fake here: what a probe sees on
//! a real one, `e2e_network_isolated` tries on the node.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tenantry_crds::{NetworkProbeResult, ResourceGroup, ResourceGroupClass, Slot};

use super::fake_kubelet::open_network;
use super::manifests::{self, pinned};
use super::platform::{Platform, unique};

#[tokio::test]
async fn a_slot_is_isolated_once_a_probe_was_refused_and_not_where_it_got_through() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let name = unique("open");
    let opened = open_network(&format!("{name}-dev"));
    let open = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": opened, "namespace": "default" } });
    platform.apply::<ConfigMap>(open).await;
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &release), pinned("other", &release)])).await;
    let message = platform.wait_for_slot(&name, "dev", "NetworkIsolated", "False", "NetworkNotIsolated").await;
    assert!(message.contains("reached the operator") && message.contains("Install a network plugin"), "{message}");
    platform.wait_for_slot(&name, "dev", "WorkloadsReady", "True", "Ready").await;
    platform.wait_for_slot(&name, "dev", "Stalled", "True", "NetworkNotIsolated").await;
    platform.wait_for_slot(&name, "other", "NetworkIsolated", "True", "NetworkRefuses").await;
    platform.wait_for_slot(&name, "other", "Ready", "True", "Ready").await;

    let classes: Api<ResourceGroupClass> = Api::all(platform.client().await);
    let change = async |patch: serde_json::Value| {
        classes.patch(&class, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    };
    change(json!({ "spec": { "network": { "isolation": "Reported" } } })).await;
    platform.wait_for_slot(&name, "dev", "Ready", "True", "Ready").await;
    platform.wait_for_slot(&name, "dev", "NetworkIsolated", "False", "NetworkNotIsolated").await;
    change(json!({ "spec": { "network": { "isolation": "Required" } } })).await;
    platform.wait_for_slot(&name, "dev", "Ready", "False", "NetworkNotIsolated").await;

    // What is not known, since somebody has wiped it, is tried at once; what is known to be open, after a pause.
    Api::<ConfigMap>::namespaced(platform.client().await, "default").delete(&opened, &DeleteParams::default()).await.unwrap();
    let slots: Api<Slot> = Api::namespaced(platform.client().await, &format!("{name}-dev"));
    let wiped = json!({ "status": { "network": null } });
    slots.patch_status("dev", &PatchParams::default(), &Patch::Merge(&wiped)).await.unwrap();
    platform.wait_for_slot(&name, "dev", "NetworkIsolated", "True", "NetworkRefuses").await;
    platform.wait_for_slot(&name, "dev", "Ready", "True", "Ready").await;
    let probe = platform.slot(&name, "dev").await.unwrap().status.unwrap().network.unwrap();
    assert_eq!((probe.result, probe.failures), (NetworkProbeResult::Isolated, 0));
}
