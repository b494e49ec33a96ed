//! What the operator and a group's owners may do: by the roles of the chart, and where these would give more, by its policies.
//! Tried on a control plane of its own, since roles and policies have fixed names.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenantry_harness::control_plane::{Audit, ControlPlane};
use tenantry_harness::operator::{Installation, NAMESPACE, SERVICE_ACCOUNT, USER};
use tokio::sync::OnceCell;

use super::charts::{documents, render};
use super::unique;

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

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    /// The operator's account, by its token.
    Operator,
    /// The cluster's administrator.
    Administrator,
    /// Somebody.
    User(&'static str),
}

/// A control plane with the operator's account, its roles and policies, and the slots of a test's own.
pub(super) struct Rights {
    control_plane: ControlPlane,
    installation: Installation,
}

/// May do everything by roles, and yet is no administrator of the cluster: not in system:masters.
pub(super) const POWERFUL: &str = "powerful";

/// A namespace as the operator makes it.
pub(super) fn namespace(group: &str, slot: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": format!("{group}-{slot}"),
            "annotations": { "tenantry.dev/applied-hash": "none" },
            "labels": {
                "app.kubernetes.io/managed-by": "tenantry",
                "tenantry.dev/group": group,
                "tenantry.dev/group-uid": format!("uid-of-{group}"),
                "tenantry.dev/slot": slot,
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    })
}

impl Rights {
    pub(super) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Rights> = OnceCell::const_new();
        SHARED.get_or_init(Self::install).await
    }

    async fn install() -> Self {
        let control_plane = ControlPlane::start(Audit::Off).await.unwrap();
        control_plane.install_api().await.unwrap();
        let installation = Installation::install(&control_plane).await.unwrap();
        let rights = Self { control_plane, installation };
        let whoami = rights.ask(Who::Operator, &["auth", "whoami"], None).await.unwrap();
        assert!(whoami.contains(USER), "{whoami}");
        let powerful = ["create", "clusterrolebinding", POWERFUL, "--clusterrole=cluster-admin", "--user", POWERFUL];
        rights.can(Who::Administrator, &powerful, None).await;
        // A policy acts some time after it is there.
        let foreign = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "not-a-slot" } });
        rights
            .eventually("the policies act", || async {
                let create = ["create", "--dry-run=server", "--filename=-"];
                let said = |answer: Result<String, String>, policy| answer.is_err_and(|said| said.contains(policy));
                said(rights.ask(Who::Operator, &create, Some(&foreign)).await, CONFINED)
                    && said(rights.ask(Who::User(POWERFUL), &create, Some(&namespace("never", "made"))).await, "tenantry-slot-namespaces")
            })
            .await;
        rights
    }

    /// Runs kubectl as somebody; gives what it said, as an error if it failed.
    pub(super) async fn ask(&self, who: Who, arguments: &[&str], input: Option<&Value>) -> Result<String, String> {
        let user = match who {
            Who::Operator => vec![format!("--kubeconfig={}", self.installation.kubeconfig().display())],
            Who::Administrator => vec![],
            Who::User(user) => vec![format!("--as={user}"), "--as-group=system:authenticated".to_owned()],
        };
        let arguments: Vec<&str> = arguments.iter().copied().chain(user.iter().map(String::as_str)).collect();
        let input = input.map(Value::to_string);
        let output = self.control_plane.run("kubectl", &arguments, input.as_deref()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Asserts that somebody can do that.
    pub(super) async fn can(&self, who: Who, arguments: &[&str], input: Option<&Value>) {
        let answer = self.ask(who, arguments, input).await;
        assert!(answer.is_ok(), "{who:?} cannot {arguments:?} {input:?}: {answer:?}");
    }

    /// Asserts that somebody cannot do that, for that reason.
    pub(super) async fn cannot(&self, who: Who, arguments: &[&str], input: Option<&Value>, why: &str) {
        match self.ask(who, arguments, input).await {
            Ok(said) => panic!("{who:?} can {arguments:?} {input:?}: {said}"),
            Err(said) => assert!(said.contains(why), "{who:?} cannot {arguments:?} {input:?}, but because: {said}"),
        }
    }

    /// Waits until `holds`: the API server learns of a role or binding a moment after it is there.
    pub(super) async fn eventually<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        while !holds().await {
            assert!(Instant::now() < deadline, "{what}: not within 30 s");
            ticks.tick().await;
        }
    }

    /// Makes the namespace of a slot as the operator does, with its own rights in it.
    pub(super) async fn slot(&self, group: &str, slot: &str) -> String {
        let name = format!("{group}-{slot}");
        self.can(Who::Operator, &["apply", "--server-side", "--filename=-"], Some(&namespace(group, slot))).await;
        let itself = format!("--serviceaccount={NAMESPACE}:{SERVICE_ACCOUNT}");
        let role = "--clusterrole=tenantry-slot-operator";
        self.can(Who::Operator, &["create", "rolebinding", "tenantry-slot-operator", role, &itself, "--namespace", &name], None).await;
        self.eventually("the operator's rights act", || async {
            self.ask(Who::Operator, &["auth", "can-i", "create", "secrets", "--namespace", &name], None).await.is_ok()
        })
        .await;
        name
    }
}

const CONFINED: &str = "tenantry-operator-confined";
const NO_RIGHT: &str = "is forbidden: User \"system:serviceaccount:tenantry-system:tenantry-operator\" cannot";

#[tokio::test]
async fn the_operators_account_can_do_its_work_in_a_slot() {
    let rights = Rights::shared().await;
    let group = unique("works");
    let slot = rights.slot(&group, "dev").await;
    let within = ["--namespace", slot.as_str()];
    let create = |arguments: &[&'static str]| -> Vec<&str> { [arguments, &within[..]].concat() };
    rights.can(Who::Operator, &create(&["create", "secret", "generic", "ledger-api"]), None).await;
    rights.can(Who::Operator, &create(&["create", "configmap", "ledger"]), None).await;
    rights.can(Who::Operator, &create(&["create", "rolebinding", "v", "--clusterrole=tenantry-slot-viewer", "--group=devs"]), None).await;
    rights.can(Who::Operator, &["create", "--filename=-"], Some(&slot_object(&group, "dev", &slot))).await;
    rights.can(Who::Operator, &create(&["patch", "slot.tenantry.dev", "dev", "--subresource=status", "--type=merge", STATUS]), None).await;
    rights.can(Who::Operator, &create(&["delete", "slot.tenantry.dev", "dev"]), None).await;
    rights.can(Who::Operator, &["label", "namespace", &slot, "further=label"], None).await;
    rights.can(Who::Operator, &["delete", "namespace", &slot, "--wait=false"], None).await;
}

const STATUS: &str = "--patch={\"status\":{\"observedGeneration\":7}}";

fn slot_object(group: &str, slot: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "Slot",
        "metadata": { "name": slot, "namespace": namespace },
        "spec": { "groupRef": { "name": group, "uid": format!("uid-of-{group}") }, "classRef": { "name": "standard" }, "size": "small" },
    })
}

#[tokio::test]
async fn the_operators_account_reads_no_secret_but_by_name_in_slots_and_its_own_namespace() {
    let rights = Rights::shared().await;
    rights.can(Who::Administrator, &["create", "secret", "generic", "target", "--namespace=kube-system"], None).await;
    rights.cannot(Who::Operator, &["get", "secret", "target", "--namespace=kube-system"], None, NO_RIGHT).await;
    rights.cannot(Who::Operator, &["get", "secrets", "--all-namespaces"], None, NO_RIGHT).await;
    rights.cannot(Who::Operator, &["get", "secrets", "--namespace=tenantry-system"], None, NO_RIGHT).await;
    let slot = rights.slot(&unique("reads"), "dev").await;
    rights.cannot(Who::Operator, &["get", "secrets", "--namespace", &slot], None, NO_RIGHT).await;
}

#[tokio::test]
async fn the_operators_account_writes_in_no_foreign_namespace_and_takes_none_over() {
    let rights = Rights::shared().await;
    let foreign = unique("foreign");
    rights.can(Who::Administrator, &["create", "namespace", &foreign], None).await;
    let within = ["--namespace", foreign.as_str()];
    let all = |arguments: &[&'static str]| -> Vec<&str> { [arguments, &within[..]].concat() };
    rights.cannot(Who::Operator, &all(&["create", "configmap", "mine"]), None, NO_RIGHT).await;
    // What its roles would let it do anywhere, the policy does not.
    let itself = "--serviceaccount=tenantry-system:tenantry-operator";
    let bind = |role| all(&["create", "rolebinding", "mine", role, itself]);
    rights.cannot(Who::Operator, &bind("--clusterrole=tenantry-slot-operator"), None, CONFINED).await;
    rights.cannot(Who::Operator, &bind("--clusterrole=tenantry-slot-viewer"), None, CONFINED).await;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "lie", "namespace": foreign },
        "involvedObject": { "kind": "Pod", "name": "x", "namespace": foreign }, "reason": "Lie",
    });
    rights.cannot(Who::Operator, &["create", "--filename=-"], Some(&event), CONFINED).await;
    for change in ["tenantry.dev/group-uid=uid", "app.kubernetes.io/managed-by=tenantry"] {
        rights.cannot(Who::Operator, &["label", "namespace", &foreign, change], None, CONFINED).await;
    }
    rights.cannot(Who::Operator, &["annotate", "namespace", &foreign, "tenantry.dev/applied-hash=x"], None, CONFINED).await;
    // Every label that a slot's namespace has: of a group and slot that would be named so, too.
    let (group, slot) = foreign.rsplit_once('-').unwrap();
    let slot = format!("s{slot}");
    let takeable = format!("{group}-{slot}");
    rights.can(Who::Administrator, &["create", "namespace", &takeable], None).await;
    let apply = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
    rights.cannot(Who::Operator, &apply, Some(&namespace(group, &slot)), CONFINED).await;
    rights.cannot(Who::Operator, &["delete", "namespace", &foreign], None, CONFINED).await;
}

#[tokio::test]
async fn the_operators_account_makes_only_namespaces_of_slots_and_never_loosens_one() {
    let rights = Rights::shared().await;
    let group = unique("makes");
    let create = ["create", "--dry-run=server", "--filename=-"];
    rights.can(Who::Operator, &create, Some(&namespace(&group, "dev"))).await;
    rights.cannot(Who::Operator, &["create", "namespace", &group], None, CONFINED).await;
    let mut misnamed = namespace(&group, "dev");
    misnamed["metadata"]["name"] = format!("{group}-other").into();
    rights.cannot(Who::Operator, &create, Some(&misnamed), CONFINED).await;
    let mut privileged = namespace(&group, "dev");
    privileged["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "privileged".into();
    rights.cannot(Who::Operator, &create, Some(&privileged), CONFINED).await;

    let slot = rights.slot(&group, "dev").await;
    for change in ["tenantry.dev/group-uid-", "tenantry.dev/group-uid=other", "pod-security.kubernetes.io/enforce=baseline"] {
        rights.cannot(Who::Operator, &["label", "--overwrite", "namespace", &slot, change], None, CONFINED).await;
    }
    // One that lost a label is still known as its own, by the annotation that nobody else may set.
    rights.can(Who::Administrator, &["label", "namespace", &slot, "tenantry.dev/group-uid-"], None).await;
    rights.cannot(Who::Operator, &["create", "configmap", "c", "--namespace", &slot], None, CONFINED).await;
    rights.can(Who::Operator, &["apply", "--server-side", "--force-conflicts", "--filename=-"], Some(&namespace(&group, "dev"))).await;
}

#[tokio::test]
async fn the_operators_account_binds_two_roles_to_whom_they_are_for() {
    let rights = Rights::shared().await;
    let slot = rights.slot(&unique("binds"), "dev").await;
    let (mine, of_others) = ("--serviceaccount=tenantry-system:tenantry-operator", "--serviceaccount=default:default");
    let bind = |role, subject| ["create", "rolebinding", "x", role, subject, "--namespace", slot.as_str()];
    for role in ["--clusterrole=cluster-admin", "--clusterrole=edit", "--clusterrole=tenantry-operator"] {
        rights.cannot(Who::Operator, &bind(role, mine), None, "").await;
    }
    rights.cannot(Who::Operator, &bind("--clusterrole=tenantry-slot-operator", of_others), None, CONFINED).await;
    rights.cannot(Who::Operator, &bind("--clusterrole=tenantry-slot-operator", "--user=eve"), None, CONFINED).await;
    rights.cannot(Who::Operator, &bind("--clusterrole=tenantry-slot-viewer", "--group=system:authenticated"), None, CONFINED).await;
    rights.cannot(Who::Operator, &bind("--clusterrole=tenantry-slot-viewer", of_others), None, CONFINED).await;
    let everywhere = ["create", "clusterrolebinding", "x", "--clusterrole=cluster-admin", mine];
    rights.cannot(Who::Operator, &everywhere, None, NO_RIGHT).await;
    rights.cannot(Who::Operator, &["create", "role", "x", "--verb=get", "--resource=pods", "--namespace", &slot], None, NO_RIGHT).await;
}

#[tokio::test]
async fn the_operators_account_forges_no_slot_impersonates_nobody_and_makes_no_token() {
    let rights = Rights::shared().await;
    let group = unique("forges");
    let slot = rights.slot(&group, "dev").await;
    let (victim, foreign) = (unique("victim"), unique("elsewhere"));
    for namespace in [format!("{victim}-dev"), foreign.clone()] {
        rights.can(Who::Administrator, &["create", "namespace", &namespace], None).await;
    }
    let create = ["create", "--filename=-"];
    let unlabelled = slot_object(&victim, "dev", &format!("{victim}-dev"));
    rights.cannot(Who::Operator, &create, Some(&unlabelled), CONFINED).await;
    rights.cannot(Who::Operator, &create, Some(&slot_object(&victim, "dev", &foreign)), "ValidatingAdmissionPolicy").await;
    let mut of_another_group = slot_object(&group, "dev", &slot);
    of_another_group["spec"]["groupRef"]["uid"] = "uid-of-another".into();
    rights.cannot(Who::Operator, &create, Some(&of_another_group), CONFINED).await;
    rights.cannot(Who::Operator, &["get", "pods", "--as=system:kube-scheduler"], None, "cannot impersonate").await;
    rights.cannot(Who::Operator, &["create", "token", "default", "--namespace", &slot], None, NO_RIGHT).await;
    rights.cannot(Who::Operator, &["create", "token", "default", "--namespace=kube-system"], None, NO_RIGHT).await;
    for kind in ["validatingadmissionpolicy", "validatingadmissionpolicybinding"] {
        rights.cannot(Who::Operator, &["delete", kind, CONFINED], None, NO_RIGHT).await;
    }
}

#[tokio::test]
async fn not_even_an_operator_that_somebody_made_cluster_admin_leaves_its_namespaces() {
    // One of its own: the other tests count on the operator's few rights.
    let rights = Rights::install().await;
    let slot = rights.slot(&unique("mighty"), "dev").await;
    let itself = "--serviceaccount=tenantry-system:tenantry-operator";
    rights.can(Who::Administrator, &["create", "clusterrolebinding", "mighty", "--clusterrole=cluster-admin", itself], None).await;
    rights
        .eventually("it is cluster-admin", || async {
            rights.ask(Who::Operator, &["auth", "can-i", "create", "clusterroles"], None).await.is_ok()
        })
        .await;
    for attempt in [
        vec!["create", "configmap", "x", "--namespace=kube-system"],
        vec!["create", "configmap", "x", "--namespace=default"],
        vec!["create", "configmap", "x", "--namespace=tenantry-system"],
        vec!["create", "secret", "generic", "x", "--namespace=tenantry-system"],
        vec!["create", "clusterrolebinding", "x", "--clusterrole=view", "--user=eve"],
        vec!["create", "clusterrole", "x", "--verb=get", "--resource=pods"],
        vec!["create", "rolebinding", "x", "--clusterrole=cluster-admin", "--user=eve", "--namespace", &slot],
    ] {
        rights.cannot(Who::Operator, &attempt, None, CONFINED).await;
    }
    let token = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    for namespace in ["kube-system", &slot] {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default/token");
        rights.cannot(Who::Operator, &["create", "--raw", &path, "--filename=-"], Some(&token), CONFINED).await;
    }
}
