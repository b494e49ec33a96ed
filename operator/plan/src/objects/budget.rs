//! The disruption budget of a role with more than one pod: nodes are emptied one pod at a time.

use serde_json::json;
use tenantry_crds::names::{ROLE_LABEL, SERVICE_LABEL};

use super::Place;
use super::pod::Role;
use crate::Manifest;

pub(crate) fn disruption_budget(place: &Place, service: &str, role: Role) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": place.metadata(&super::deployment::name(service, role), place.labels_of(Some(service), Some(role.name()))),
        "spec": {
            "maxUnavailable": 1,
            "selector": { "matchLabels": { SERVICE_LABEL: service, ROLE_LABEL: role.name() } },
        },
    }))
}
