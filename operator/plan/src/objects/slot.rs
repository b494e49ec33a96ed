//! The Slot of a group, and apart from it the revision of a promoted one.

use serde_json::json;
use tenantry_crds::names::TEARDOWN_FINALIZER;
use tenantry_crds::{GROUP, ResourceGroup, Revision, SlotSpecTemplate, VERSION};

use super::Place;
use crate::Manifest;

/// The Slot as the group wants it. Without a revision where promotions decide: a field that is not applied is not owned.
pub(crate) fn slot(place: &Place, group: &ResourceGroup, template: &SlotSpecTemplate, pinned: Option<&Revision>) -> Manifest {
    let mut spec = json!({
        "groupRef": { "name": place.group, "uid": place.group_uid },
        "classRef": group.spec.class_ref,
        "size": template.size,
        "owners": group.spec.owners,
    });
    if let Some(rotation) = &group.spec.credential_rotation {
        spec["credentialRotation"] = json!(rotation);
    }
    if let Some(auth) = template.auth.as_ref().or(group.spec.auth.as_ref()).filter(|auth| !auth.issuers.is_empty()) {
        spec["auth"] = json!(auth);
    }
    if let Some(revision) = pinned {
        spec["revision"] = json!(revision);
    }
    let mut metadata = place.metadata(&place.slot, place.labels());
    // From the first moment on: nothing is made for a Slot that could go without being taken down.
    metadata["finalizers"] = json!([TEARDOWN_FINALIZER]);
    Manifest::new(json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Slot",
        "metadata": metadata,
        "spec": spec,
    }))
}

/// The revision alone, for the field manager of promotions. With a resource version, which has to be the Slot's.
pub(crate) fn revision(place: &Place, revision: &Revision, resource_version: Option<&str>) -> Manifest {
    let mut manifest = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Slot",
        "metadata": { "name": place.slot, "namespace": place.namespace() },
        "spec": { "revision": revision },
    });
    if let Some(version) = resource_version {
        manifest["metadata"]["resourceVersion"] = version.into();
    }
    Manifest::bare(manifest)
}
