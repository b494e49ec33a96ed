//! The namespace of a slot. Nothing owns it by an ownerReference: it must not go by a cascade.

use serde_json::json;

use tenantry_crds::names::DELETION_PROTECTION_LABEL;

use super::Place;
use crate::Manifest;

pub(crate) fn namespace(place: &Place, protected: bool) -> Manifest {
    let mut labels = place.labels();
    if protected {
        labels.insert(DELETION_PROTECTION_LABEL.to_owned(), "true".into());
    }
    for mode in ["enforce", "audit", "warn"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), "restricted".into());
        labels.insert(format!("pod-security.kubernetes.io/{mode}-version"), "latest".into());
    }
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": place.namespace(), "labels": labels },
    }))
}
