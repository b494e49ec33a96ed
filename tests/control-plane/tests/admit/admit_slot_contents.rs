//! What others may write in the namespace of a slot, whatever their roles: next to nothing.

use serde_json::{Value, json};

use super::rights::{POWERFUL, Rights, Who};
use super::unique;

const SHIELDED: &str = "tenantry-slot-contents";
const EVE: Who = Who::User("eve");

/// A slot's namespace in which `eve` has the role `admin`, which is more than `edit`.
async fn slot_with_an_admin(rights: &Rights) -> String {
    let slot = rights.slot(&unique("pcasia"), "dev").await;
    let bind = ["create", "rolebinding", "eve", "--clusterrole=admin", "--user=eve", "--namespace", &slot];
    rights.can(Who::Administrator, &bind, None).await;
    rights
        .eventually("eve's rights act", || async {
            rights.ask(EVE, &["auth", "can-i", "create", "pods", "--namespace", &slot], None).await.is_ok()
        })
        .await;
    slot
}

fn object(api_version: &str, kind: &str, namespace: &str, rest: &Value) -> Value {
    let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "eves", "namespace": namespace } });
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    object
}

/// A pod that Pod Security lets through.
fn pod(namespace: &str) -> Value {
    let pod = json!({ "spec": {
        "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{
            "name": "eve", "image": "example.org/eve",
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }],
    } });
    object("v1", "Pod", namespace, &pod)
}

#[tokio::test]
async fn an_admin_of_a_slots_namespace_adds_nothing_to_it() {
    let rights = Rights::shared().await;
    let slot = slot_with_an_admin(rights).await;
    let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": pod(&slot)["spec"] });
    let selected = json!({ "selector": { "matchLabels": { "a": "b" } }, "template": template });
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = "Never".into();
    for (api_version, kind, rest) in [
        ("networking.k8s.io/v1", "NetworkPolicy", json!({ "spec": { "podSelector": {}, "ingress": [{}], "egress": [{}] } })),
        (
            "networking.k8s.io/v1",
            "Ingress",
            json!({ "spec": { "defaultBackend": { "service": { "name": "a", "port": { "number": 1 } } } } }),
        ),
        ("rbac.authorization.k8s.io/v1", "Role", json!({ "rules": [] })),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({ "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" }, "subjects": [] }),
        ),
        ("v1", "ServiceAccount", json!({})),
        ("v1", "ConfigMap", json!({})),
        ("v1", "Secret", json!({})),
        (
            "v1",
            "PersistentVolumeClaim",
            json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } }),
        ),
        ("v1", "Service", json!({ "spec": { "ports": [{ "port": 80 }] } })),
        ("apps/v1", "Deployment", json!({ "spec": selected })),
        ("apps/v1", "ReplicaSet", json!({ "spec": selected })),
        ("apps/v1", "DaemonSet", json!({ "spec": selected })),
        ("apps/v1", "StatefulSet", json!({ "spec": { "serviceName": "a", "selector": selected["selector"], "template": template } })),
        ("batch/v1", "Job", json!({ "spec": { "template": job } })),
        ("batch/v1", "CronJob", json!({ "spec": { "schedule": "* * * * *", "jobTemplate": { "spec": { "template": job } } } })),
        ("policy/v1", "PodDisruptionBudget", json!({ "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "a": "b" } } } })),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({ "spec": { "maxReplicas": 2, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "a" } } }),
        ),
    ] {
        rights.cannot(EVE, &["create", "--filename=-"], Some(&object(api_version, kind, &slot, &rest)), SHIELDED).await;
    }
    rights.cannot(EVE, &["create", "--filename=-"], Some(&pod(&slot)), SHIELDED).await;
    // Not by the rights of a cluster-admin either; these an `admin` may not write at all.
    let powerful = Who::User(POWERFUL);
    for (api_version, kind, rest) in [
        ("v1", "ResourceQuota", json!({ "spec": { "hard": { "pods": "99" } } })),
        ("v1", "LimitRange", json!({ "spec": { "limits": [] } })),
        ("v1", "Endpoints", json!({})),
        ("discovery.k8s.io/v1", "EndpointSlice", json!({ "addressType": "IPv4", "endpoints": [] })),
    ] {
        rights.cannot(powerful, &["create", "--filename=-"], Some(&object(api_version, kind, &slot, &rest)), SHIELDED).await;
    }
    let said = rights.ask(EVE, &["create", "configmap", "eves", "--namespace", &slot], None).await.unwrap_err();
    let group = slot.strip_suffix("-dev").unwrap();
    assert!(said.contains(&format!("change the ResourceGroup {group}, and the operator does the rest")), "{said}");
}

#[tokio::test]
async fn an_admin_of_a_slots_namespace_changes_and_deletes_nothing_and_enters_no_pod() {
    let rights = Rights::shared().await;
    let slot = slot_with_an_admin(rights).await;
    rights.can(Who::Operator, &["create", "configmap", "ledger", "--namespace", &slot], None).await;
    rights.can(Who::Operator, &["create", "secret", "generic", "ledger-api", "--namespace", &slot], None).await;
    rights
        .eventually("the namespace has its account", || async {
            rights.ask(Who::Administrator, &["create", "--filename=-"], Some(&pod(&slot))).await.is_ok()
        })
        .await;
    let within = ["--namespace", slot.as_str()];
    for attempt in [
        vec!["annotate", "configmap", "ledger", "a=b"],
        vec!["label", "secret", "ledger-api", "tenantry.dev/user-secret="],
        vec!["delete", "configmap", "ledger"],
        vec!["delete", "secret", "ledger-api"],
        vec!["delete", "rolebinding", "tenantry-slot-operator"],
        vec!["delete", "pod", "eves"],
        vec!["label", "pod", "eves", "a=b"],
        vec!["create", "token", "default"],
    ] {
        rights.cannot(EVE, &[attempt.as_slice(), &within].concat(), None, SHIELDED).await;
    }
    let of_pod = |part: &str| format!("/api/v1/namespaces/{slot}/pods/eves/{part}");
    for part in ["exec?command=sh", "attach", "portforward?ports=80", "proxy"] {
        let enter = ["create", "--raw", &of_pod(part), "--filename=-"];
        rights.cannot(EVE, &enter, Some(&json!({})), SHIELDED).await;
    }
    let mut debug = pod(&slot)["spec"]["containers"][0].clone();
    debug["name"] = "debug".into();
    let debug = json!({ "spec": { "ephemeralContainers": [debug] } }).to_string();
    let debug = ["patch", "pod", "eves", "--subresource=ephemeralcontainers", "--patch", &debug];
    rights.cannot(Who::User(POWERFUL), &[debug.as_slice(), &within].concat(), None, SHIELDED).await;
    for collection in ["configmaps", "secrets"] {
        let all = format!("/api/v1/namespaces/{slot}/{collection}");
        rights.cannot(EVE, &["delete", "--raw", &all], None, SHIELDED).await;
    }
    // Emptying a node is no attack, and what happens there may be told.
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "eves", "namespace": slot } });
    rights.can(Who::User(POWERFUL), &["create", "--raw", &of_pod("eviction"), "--filename=-"], Some(&eviction)).await;
}

#[tokio::test]
async fn a_secret_of_ones_own_is_written_under_its_label_and_no_other_name_or_kind() {
    let rights = Rights::shared().await;
    let slot = slot_with_an_admin(rights).await;
    let create = ["create", "--filename=-"];
    let secret = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut secret = object("v1", "Secret", &slot, &json!({ "stringData": { "key": "value" } }));
        secret["metadata"]["name"] = name.into();
        secret["metadata"]["labels"] = json!({ "tenantry.dev/user-secret": "" });
        change(&mut secret);
        secret
    };
    let payment = secret("payment", &|_| {});
    rights.can(EVE, &create, Some(&payment)).await;
    rights.can(EVE, &["replace", "--filename=-"], Some(&payment)).await;
    rights.cannot(EVE, &["label", "secret", "payment", "tenantry.dev/user-secret-", "--namespace", &slot], None, SHIELDED).await;
    for name in ["cache", "ledger-api", "ledger-database", "ledger-migration", "ledger-database-b"] {
        rights.cannot(EVE, &create, Some(&secret(name, &|_| {})), "take a name that is not cache").await;
    }
    let wrong: [&dyn Fn(&mut Value); 5] = [
        &|secret| secret["metadata"]["labels"] = json!({}),
        &|secret| secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "tenantry".into(),
        &|secret| secret["metadata"]["labels"]["tenantry.dev/service"] = "ledger".into(),
        &|secret| secret["metadata"]["annotations"] = json!({ "tenantry.dev/applied-hash": "x" }),
        &|secret| {
            secret["type"] = "kubernetes.io/service-account-token".into();
            secret["metadata"]["annotations"] = json!({ "kubernetes.io/service-account.name": "default" });
        },
    ];
    for change in wrong {
        rights.cannot(EVE, &create, Some(&secret("other", change)), "you may write only Secrets of your own").await;
    }
    rights.can(EVE, &["delete", "secret", "payment", "--namespace", &slot], None).await;
}

#[tokio::test]
async fn the_labels_of_namespaces_slots_and_statuses_are_the_operators_alone() {
    let rights = Rights::shared().await;
    let group = unique("pcasia");
    let slot = rights.slot(&group, "dev").await;
    let foreign = unique("foreign");
    let powerful = Who::User(POWERFUL);
    rights.can(powerful, &["create", "namespace", &foreign], None).await;
    rights.can(powerful, &["label", "namespace", &foreign, "a=b", "pod-security.kubernetes.io/enforce=baseline"], None).await;
    for (namespace, change) in [
        (&foreign, "tenantry.dev/group-uid=x"),
        (&slot, "tenantry.dev/group-uid=x"),
        (&slot, "tenantry.dev/group-uid-"),
        (&slot, "pod-security.kubernetes.io/enforce=privileged"),
        (&slot, "pod-security.kubernetes.io/enforce-"),
        (&slot, "app.kubernetes.io/managed-by=Helm"),
    ] {
        rights.cannot(powerful, &["label", "--overwrite", "namespace", namespace, change], None, "tenantry-slot-namespaces").await;
    }
    rights.cannot(powerful, &["annotate", "namespace", &foreign, "tenantry.dev/applied-hash=x"], None, "tenantry-slot-namespaces").await;
    rights.can(powerful, &["label", "namespace", &slot, "cost-centre=7"], None).await;

    let forged = json!({
        "apiVersion": "tenantry.dev/v1alpha1", "kind": "Slot", "metadata": { "name": "dev", "namespace": slot },
        "spec": { "groupRef": { "name": group, "uid": "x" }, "classRef": { "name": "standard" }, "size": "small" },
    });
    // Two policies refuse it; which of them is heard is not said.
    rights.cannot(powerful, &["create", "--filename=-"], Some(&forged), "the operator of Tenantry alone writes").await;
    let tenant = json!({
        "apiVersion": "tenantry.dev/v1alpha1", "kind": "ResourceGroup", "metadata": { "name": group },
        "spec": { "classRef": { "name": "standard" }, "services": {}, "slots": [] },
    });
    rights.can(powerful, &["create", "--filename=-"], Some(&tenant)).await;
    let patch = "--patch={\"status\":{\"observedGeneration\":7}}";
    let lie = ["patch", "resourcegroup.tenantry.dev", &group, "--subresource=status", "--type=merge", patch];
    rights.cannot(powerful, &lie, None, "the operator of Tenantry alone writes a status").await;
}

/// Word for word: what DESIGN promises to owners, beside what everybody who is known to the cluster may ask.
const RIGHTS_OF_AN_OWNER: &[&str] = &[
    "events [] [] [get list watch]",
    "events.events.k8s.io [] [] [get list watch]",
    "pods [] [] [get list watch]",
    "pods/log [] [] [get]",
    "secrets [] [] [create update]",
    "slots.tenantry.dev [] [] [get list watch]",
];

#[tokio::test]
async fn an_owner_sees_the_slot_writes_secrets_of_ones_own_and_nothing_else() {
    let rights = Rights::shared().await;
    let slot = rights.slot(&unique("pcasia"), "dev").await;
    let other = rights.slot(&unique("acme"), "dev").await;
    let owner = Who::User("ada");
    let list = |namespace: &str| {
        let namespace = format!("--namespace={namespace}");
        async move {
            let said = rights.ask(owner, &["auth", "can-i", "--list", "--no-headers", &namespace], None).await.unwrap();
            let mut lines: Vec<String> = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            lines.sort();
            lines
        }
    };
    let of_everybody = list(&slot).await;
    let bind = ["create", "rolebinding", "tenantry-slot-viewer", "--clusterrole=tenantry-slot-viewer", "--user=ada", "--namespace", &slot];
    rights.can(Who::Operator, &bind, None).await;
    rights.eventually("the binding acts", || async { list(&slot).await != of_everybody }).await;
    let added: Vec<String> = list(&slot).await.into_iter().filter(|line| !of_everybody.contains(line)).collect();
    assert_eq!(added, RIGHTS_OF_AN_OWNER);
    assert_eq!(list(&other).await, of_everybody, "nothing in the slot of another group");
    let self_service =
        ["selfsubject", "/api", "/healthz", "/livez", "/openapi", "/readyz", "/version", "/.well-known", "clustertrustbundles"];
    let unexpected: Vec<_> =
        of_everybody.iter().filter(|line| !self_service.iter().any(|known| line.starts_with(known) || line.contains(known))).collect();
    assert!(unexpected.is_empty(), "everybody may: {unexpected:?}");
    // Written, and never shown.
    let mut secret = object("v1", "Secret", &slot, &json!({ "stringData": { "key": "value" } }));
    secret["metadata"]["labels"] = json!({ "tenantry.dev/user-secret": "" });
    rights.can(owner, &["create", "--filename=-"], Some(&secret)).await;
    rights.can(owner, &["replace", "--filename=-"], Some(&secret)).await;
    rights.cannot(owner, &["get", "secret", "eves", "--namespace", &slot], None, "cannot get resource \"secrets\"").await;
    rights.cannot(owner, &["patch", "secret", "eves", "--patch={}", "--namespace", &slot], None, "cannot").await;
}
