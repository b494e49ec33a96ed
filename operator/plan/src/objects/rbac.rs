//! Who may do what in a slot's namespace: the operator itself, the owners, and each service's own account without rights.

use serde_json::{Value, json};
use tenantry_crds::{Owner, OwnerKind};

use super::Place;
use crate::{Manifest, OperatorFacts};

/// ClusterRole that the operator binds to itself in each slot's namespace; also the binding's name.
pub(crate) const OPERATOR_ROLE: &str = "tenantry-slot-operator";
/// ClusterRole that a group's owners have in each of its slots; also the binding's name.
pub(crate) const VIEWER_ROLE: &str = "tenantry-slot-viewer";

/// The kind of a service's account, as it stands in a manifest.
pub(crate) const ACCOUNT_KIND: &str = "ServiceAccount";

/// The operator's rights in the namespace. Without them it can do nothing else there.
pub(crate) fn operator_binding(place: &Place, operator: &OperatorFacts) -> Manifest {
    let subject = json!({
        "kind": ACCOUNT_KIND,
        "name": operator.service_account,
        "namespace": operator.namespace,
    });
    binding(place, OPERATOR_ROLE, vec![subject])
}

/// The owners' rights in the namespace; none where there are no owners.
pub(crate) fn viewer_binding(place: &Place, owners: &[Owner]) -> Option<Manifest> {
    let subjects: Vec<Value> = owners
        .iter()
        .map(|owner| {
            let kind = match owner.kind {
                OwnerKind::Group => "Group",
                OwnerKind::User => "User",
            };
            json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": owner.name })
        })
        .collect();
    (!subjects.is_empty()).then(|| binding(place, VIEWER_ROLE, subjects))
}

/// The account that a service's pods run under: without a token and without rights.
pub(crate) fn service_account(place: &Place, service: &str) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": ACCOUNT_KIND,
        "metadata": place.metadata(service, place.labels_of(Some(service), None)),
        "automountServiceAccountToken": false,
    }))
}

fn binding(place: &Place, role: &str, subjects: Vec<Value>) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": place.metadata(role, place.labels()),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": subjects,
    }))
}
