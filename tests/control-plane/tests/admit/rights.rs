//! What the operator and a group's owners may do, by the roles of the chart.

use std::future::Future;

use serde_json::Value;
use tenantry_harness::control_plane::{Audit, ControlPlane};

use super::charts::{documents, render};

const OPERATOR: &str = "system:serviceaccount:tenantry-system:tenantry-operator";

fn holds(rule: &Value, field: &str, value: &str) -> bool {
    rule[field].as_array().is_some_and(|items| items.iter().any(|item| item == value))
}

#[tokio::test]
async fn no_right_is_by_wildcard_and_secrets_are_never_listed() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let manifests = documents(&render(control_plane, &[]).await.unwrap());
    let roles: Vec<_> = manifests.iter().filter(|object| matches!(object["kind"].as_str(), Some("ClusterRole" | "Role"))).collect();
    assert_eq!(roles.len(), 4);
    for role in roles {
        let name = role["metadata"]["name"].as_str().unwrap();
        for rule in role["rules"].as_array().unwrap() {
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(!holds(rule, field, "*"), "{name}: {rule}");
            }
            for verb in ["escalate", "impersonate", "deletecollection"] {
                assert!(!holds(rule, "verbs", verb), "{name}: {rule}");
            }
            if holds(rule, "resources", "secrets") {
                assert!(!holds(rule, "verbs", "list") && !holds(rule, "verbs", "watch"), "{name}: {rule}");
            }
        }
    }
}

/// A control plane of its own, since the roles have fixed names: the operator's rights, and those of `ada`, who owns the
/// slot `pcasia-dev` and nothing else.
struct Rights {
    control_plane: ControlPlane,
}

impl Rights {
    async fn install() -> Self {
        let control_plane = ControlPlane::start(Audit::Off).await.unwrap();
        control_plane.install_api().await.unwrap();
        for namespace in ["pcasia-dev", "acme-dev"] {
            control_plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
        }
        let kubeconfig = control_plane.operator_kubeconfig().await.unwrap();
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let whoami = control_plane.kubectl(&["auth", "whoami", &kubeconfig]).await.unwrap();
        assert!(whoami.contains(OPERATOR), "{whoami}");
        Self { control_plane }
    }

    /// Whether `user` may do that, by `kubectl auth can-i`.
    async fn may(&self, user: &str, action: &str) -> bool {
        let user = format!("--as={user}");
        let mut arguments = vec!["auth", "can-i", "--quiet", &user];
        arguments.extend(action.split(' '));
        self.control_plane.run("kubectl", &arguments, None).await.unwrap().status.success()
    }

    /// Lets the operator bind a role in a namespace; gives whether it could.
    async fn operator_binds(&self, role: &str, namespace: &str, subject: &str) -> bool {
        let role = format!("--clusterrole={role}");
        let user = format!("--as={OPERATOR}");
        let name = format!("test-{}", uuid::Uuid::new_v4().simple());
        let arguments = ["create", "rolebinding", &name, &role, subject, "--namespace", namespace, &user];
        self.control_plane.run("kubectl", &arguments, None).await.unwrap().status.success()
    }

    /// Waits until `holds`: the API server learns of a role or binding a moment after it is there.
    async fn eventually<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
        while !holds().await {
            assert!(std::time::Instant::now() < deadline, "{what}: not within 30 s");
            ticks.tick().await;
        }
    }
}

#[tokio::test]
async fn the_operator_gives_itself_a_slot_and_no_more() {
    let rights = Rights::install().await;
    rights.eventually("the operator's roles act", || rights.may(OPERATOR, "create namespaces")).await;

    assert!(!rights.may(OPERATOR, "get secrets -n kube-system").await);
    assert!(!rights.may(OPERATOR, "list secrets --all-namespaces").await);
    assert!(!rights.may(OPERATOR, "create secrets -n pcasia-dev").await);
    assert!(!rights.may(OPERATOR, "create deployments.apps -n pcasia-dev").await);
    assert!(!rights.may(OPERATOR, "create clusterrolebindings.rbac.authorization.k8s.io").await);
    assert!(!rights.may(OPERATOR, "create pods/exec -n pcasia-dev").await);
    assert!(rights.may(OPERATOR, "get secrets -n tenantry-system").await);
    assert!(!rights.may(OPERATOR, "list secrets -n tenantry-system").await);

    let itself = "--serviceaccount=tenantry-system:tenantry-operator";
    assert!(!rights.operator_binds("cluster-admin", "pcasia-dev", itself).await);
    assert!(!rights.operator_binds("edit", "pcasia-dev", itself).await);
    assert!(rights.operator_binds("tenantry-slot-operator", "pcasia-dev", itself).await);
    rights.eventually("the binding acts", || rights.may(OPERATOR, "create secrets -n pcasia-dev")).await;
    assert!(rights.may(OPERATOR, "patch deployments.apps -n pcasia-dev").await);
    assert!(!rights.may(OPERATOR, "list secrets -n pcasia-dev").await);
    assert!(!rights.may(OPERATOR, "create secrets -n acme-dev").await);
}

#[tokio::test]
async fn an_owner_looks_at_the_slot_and_changes_nothing() {
    let rights = Rights::install().await;
    rights
        .eventually("the operator can bind the owners' role", || rights.operator_binds("tenantry-slot-viewer", "pcasia-dev", "--user=ada"))
        .await;
    rights.eventually("the binding acts", || rights.may("ada", "get slots.tenantry.dev -n pcasia-dev")).await;
    for allowed in ["list pods", "get pods/log", "watch events"] {
        assert!(rights.may("ada", &format!("{allowed} -n pcasia-dev")).await, "{allowed}");
    }
    for forbidden in [
        "get secrets",
        "list secrets",
        "create pods/exec",
        "create pods/portforward",
        "create pods",
        "delete pods",
        "get configmaps",
        "update slots.tenantry.dev",
        "create rolebindings.rbac.authorization.k8s.io",
    ] {
        assert!(!rights.may("ada", &format!("{forbidden} -n pcasia-dev")).await, "{forbidden}");
    }
    assert!(!rights.may("ada", "get slots.tenantry.dev -n acme-dev").await);
    assert!(!rights.may("ada", "get resourcegroups.tenantry.dev").await);
}
