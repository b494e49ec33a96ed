//! What a person sees of the API: `kubectl explain`, columns, and the status of an object that nobody has looked at yet.

use tenantry_harness::control_plane::ControlPlane;

use super::Stored;
use super::admit_group::with_slots;

#[tokio::test]
async fn explain_reads_like_documentation() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let slots = control_plane.kubectl(&["explain", "resourcegroup.spec.slots"]).await.unwrap();
    for phrase in [
        "The environments of the group. Each gets the namespace `<group>-<slot>`",
        "Pins the slot to a Release: changing this rolls the slot",
        "without it the slot waits for its first promotion",
        "merged over the group's as a JSON Merge Patch",
    ] {
        assert!(joined(&slots).contains(phrase), "no {phrase:?} in\n{slots}");
    }
    for path in ["resourcegroup", "resourcegroupclass.spec.postgres.servers", "release.spec.services", "slot.status"] {
        let text = control_plane.kubectl(&["explain", "--recursive", path]).await.unwrap();
        for leak in ["Auto-generated", "CustomResource`", "serde", "Option"] {
            assert!(!text.contains(leak), "{path} says {leak}:\n{text}");
        }
    }
}

/// The text with its line breaks and indentation taken away.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_new_object_reads_as_not_yet_observed() {
    let group = Stored::apply(&with_slots("- { name: dev, size: small, release: v1 }")).await;
    assert_eq!(group.object.data["status"], serde_json::json!({ "observedGeneration": -1 }));
    group.delete().await;
}

#[tokio::test]
async fn groups_are_listed_with_what_matters() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let group = Stored::apply(&with_slots("- { name: dev, size: small, release: v1 }")).await;
    let name = group.object.metadata.name.clone().unwrap();
    let table = control_plane.kubectl(&["get", &format!("resourcegroup.tenantry.dev/{name}")]).await.unwrap();
    let header: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["NAME", "CLASS", "SLOTS", "READY", "REASON", "AGE"]);
    let all = control_plane.kubectl(&["get", "tenantry", "--all-namespaces"]).await.unwrap();
    assert!(all.contains(&name), "the category does not list the group:\n{all}");
    group.delete().await;
}
