//! The Service in front of a role's pods.

use serde_json::json;
use tenantry_crds::names::{ROLE_LABEL, SERVICE_LABEL};

use super::Place;
use super::pod::Role;
use crate::Manifest;

/// A Service of that name, whose one port has the number of the pods' own and is named `port_name`.
pub(crate) fn service(place: &Place, name: &str, port_name: &str, role: Role, port: u16) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": place.metadata(name, place.labels_of(Some(name), Some(role.name()))),
        "spec": {
            "type": "ClusterIP",
            "selector": { SERVICE_LABEL: name, ROLE_LABEL: role.name() },
            "ports": [{ "name": port_name, "port": port, "targetPort": port_name, "protocol": "TCP" }],
        },
    }))
}
