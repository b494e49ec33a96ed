//! The charts: what Helm makes of them, and that the API server takes it.

use serde::Deserialize;
use serde_json::{Value, json};
use tenantry_crds::names;
use tenantry_harness::control_plane::{Audit, ControlPlane, checkout};

use super::DIGEST;

fn images() -> [String; 2] {
    [format!("image=example.org/operator@{DIGEST}"), format!("postgresql.image=example.org/postgresql@{DIGEST}")]
}

pub(super) async fn render(control_plane: &ControlPlane, values: &[&str]) -> anyhow::Result<String> {
    let images = images();
    let mut all: Vec<&str> = images.iter().map(String::as_str).collect();
    all.extend(values);
    control_plane.helm_template("tenantry", &checkout().join("charts/tenantry"), &all).await
}

pub(super) fn documents(manifests: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(manifests)
        .map(|document| Value::deserialize(document).expect("a rendered manifest is YAML"))
        .filter(|document| !document.is_null())
        .collect()
}

#[tokio::test]
async fn unknown_and_wrong_values_are_refused() {
    let control_plane = ControlPlane::shared().await.unwrap();
    for (value, expected) in [
        ("replica=3", "'replica' not allowed"),
        ("replicas=0", "minimum"),
        ("postgresql.enable=true", "'enable' not allowed"),
        ("logFormat=xml", "value must be one of"),
        ("image=example.org/operator:latest", "does not match pattern"),
    ] {
        let error = render(control_plane, &[value]).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{value} is refused by: {error}");
    }
}

#[tokio::test]
async fn an_operator_without_an_image_is_refused_with_advice() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let chart = checkout().join("charts/tenantry");
    let error = control_plane.helm_template("tenantry", &chart, &[]).await.unwrap_err().to_string();
    assert!(error.contains("name the operator's image by digest"), "{error}");
}

#[tokio::test]
async fn the_trial_server_is_off_by_default() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let manifests = documents(&render(control_plane, &[]).await.unwrap());
    assert!(manifests.iter().all(|object| object["kind"] != "StatefulSet" && object["kind"] != "Secret"));
}

#[tokio::test]
async fn monitoring_is_off_by_default_and_complete_when_it_is_on() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let kinds = ["PodMonitor", "PrometheusRule"];
    let manifests = documents(&render(control_plane, &[]).await.unwrap());
    assert!(manifests.iter().all(|object| !kinds.iter().any(|kind| object["kind"] == *kind)));
    assert!(manifests.iter().all(|object| object["metadata"]["labels"]["grafana_dashboard"].is_null()));

    let values = [
        "monitoring.podMonitor.enabled=true",
        "monitoring.podMonitor.labels.release=prometheus",
        "monitoring.rules.enabled=true",
        "monitoring.dashboard.enabled=true",
    ];
    let manifests = documents(&render(control_plane, &values).await.unwrap());
    assert!(manifests.iter().all(|object| object["metadata"]["name"] != "tenantry-slots"), "the slots have a value of their own");
    let of = |kind: &str| manifests.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    assert_eq!(of("PodMonitor")["metadata"]["labels"]["release"], "prometheus");
    let selector = of("PodMonitor")["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let pods = of("Deployment")["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
    assert!(selector.iter().all(|(key, value)| pods.get(key) == Some(value)), "{selector:?} does not select {pods:?}");
    let named = |name: &str| manifests.iter().find(|object| object["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let file = |name: &str| std::fs::read_to_string(checkout().join("charts/tenantry/files").join(name)).unwrap();
    for (rule, plain) in [("tenantry-operator", "alerts.yaml"), ("tenantry-campaigns", "alerts-campaigns.yaml")] {
        let rule = manifests.iter().find(|object| object["kind"] == "PrometheusRule" && object["metadata"]["name"] == rule).unwrap();
        let plain: Value = serde_yaml_ng::from_str(&file(plain)).unwrap();
        assert_eq!(rule["spec"], plain, "the rules are those of the plain file");
    }
    for (name, key, plain) in [
        ("tenantry-dashboard", "tenantry.json", "dashboard.json"),
        ("tenantry-dashboard-campaigns", "tenantry-campaigns.json", "dashboard-campaigns.json"),
    ] {
        let map = named(name);
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        let dashboard: Value = serde_json::from_str(map["data"][key].as_str().unwrap()).unwrap();
        assert_eq!(dashboard, serde_json::from_str::<Value>(&file(plain)).unwrap());
    }
}

#[tokio::test]
async fn the_slots_are_monitored_by_the_labels_and_ports_of_their_services_pods() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let values =
        ["monitoring.slotPodMonitor.enabled=true", "monitoring.slotPodMonitor.interval=1m", "monitoring.slotPodMonitor.labels.release=a"];
    let manifests = documents(&render(control_plane, &values).await.unwrap());
    let monitors: Vec<_> = manifests.iter().filter(|object| object["kind"] == "PodMonitor").collect();
    let [monitor] = monitors[..] else { panic!("{monitors:?}") };
    assert_eq!((&monitor["metadata"]["name"], &monitor["metadata"]["labels"]["release"]), (&json!("tenantry-slots"), &json!("a")));
    assert_eq!(
        monitor["spec"],
        json!({
            "namespaceSelector": { "any": true },
            "selector": {
                "matchLabels": { (names::MANAGED_BY_LABEL): names::MANAGED_BY },
                "matchExpressions": [{ "key": names::ROLE_LABEL, "operator": "In", "values": ["api", "worker"] }],
            },
            "podTargetLabels": [names::GROUP_LABEL, names::SLOT_LABEL, names::SERVICE_LABEL, names::ROLE_LABEL],
            "podMetricsEndpoints": [{ "port": "http", "interval": "1m" }, { "port": "metrics", "interval": "1m" }],
        })
    );
}

/// One control plane of its own: it installs for real. It runs no pods, so Helm waits for none.
#[tokio::test]
async fn installing_upgrading_and_uninstalling_keeps_what_tenants_need() {
    let control_plane = ControlPlane::start(Audit::Off).await.unwrap();
    let namespace = "tenantry-system";
    control_plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
    control_plane.kubectl(&["label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted"]).await.unwrap();

    // Every object, by the server's own strict judgement; a pod that is not `restricted` would be warned of.
    let manifests = render(&control_plane, &["postgresql.enabled=true"]).await.unwrap();
    let apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-"];
    let output = control_plane.run("kubectl", &apply, Some(&manifests)).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");

    let chart = checkout().join("charts/tenantry");
    let crds = checkout().join("charts/tenantry-crds");
    let images = images();
    let release = |verb: &'static str| {
        let chart = chart.to_str().unwrap();
        vec![
            verb,
            "tenantry",
            chart,
            "--namespace",
            namespace,
            "--set",
            &images[0],
            "--set",
            &images[1],
            "--set",
            "postgresql.enabled=true",
        ]
    };
    control_plane.helm(&["install", "tenantry-crds", crds.to_str().unwrap(), "--namespace", namespace]).await.unwrap();
    control_plane.helm(&release("install")).await.unwrap();
    let password = ["get", "secret", "tenantry-postgresql-admin", "--namespace", namespace, "--output=jsonpath={.data.password}"];
    let first = control_plane.kubectl(&password).await.unwrap();
    assert!(first.len() >= 40, "the admin login has no password");
    control_plane.helm(&release("upgrade")).await.unwrap();
    assert_eq!(control_plane.kubectl(&password).await.unwrap(), first, "an upgrade changed the password");

    control_plane.helm(&["uninstall", "tenantry", "--namespace", namespace]).await.unwrap();
    control_plane.helm(&["uninstall", "tenantry-crds", "--namespace", namespace]).await.unwrap();
    let left = control_plane
        .kubectl(&["get", "deployment,statefulset,service,configmap,secret", "--namespace", namespace, "--output=name"])
        .await
        .unwrap();
    assert!(!left.contains("tenantry-operator"), "the operator is still there:\n{left}");
    for kept in [
        "statefulset.apps/tenantry-postgresql",
        "service/tenantry-postgresql",
        "configmap/tenantry-postgresql",
        "secret/tenantry-postgresql-admin",
    ] {
        assert!(left.contains(kept), "{kept} went with the chart:\n{left}");
    }
    let cluster =
        control_plane.kubectl(&["get", "customresourcedefinition,validatingadmissionpolicy,clusterrole", "--output=name"]).await.unwrap();
    for kept in [
        "resourcegroups.tenantry.dev",
        "slots.tenantry.dev",
        "tenantry-slot-place",
        "tenantry-operator-confined",
        "tenantry-reports",
        "tenantry-slot-contents",
        "tenantry-slot-namespaces",
        "clusterrole.rbac.authorization.k8s.io/tenantry-slot-viewer",
    ] {
        assert!(cluster.contains(kept), "{kept} went with the chart");
    }
    assert!(!cluster.contains("clusterrole.rbac.authorization.k8s.io/tenantry-operator"));

    control_plane.helm(&release("install")).await.unwrap();
    assert_eq!(control_plane.kubectl(&password).await.unwrap(), first, "reinstalling changed the password");
}
