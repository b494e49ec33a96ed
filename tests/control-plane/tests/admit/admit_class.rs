//! ResourceGroupClass: sizes, servers, the ways to them, images.

use super::{DIGEST, accepted, refused, unique};

const SIZE: &str = "{ api: { replicas: 1, resources: { cpuMillis: 20, memoryMib: 48 } }, \
     worker: { replicas: 1, resources: { cpuMillis: 20, memoryMib: 48 } }, \
     migrate: { cpuMillis: 20, memoryMib: 64 }, cache: { cpuMillis: 10, memoryMib: 32 }, \
     database: { connectionsPerService: 10 } }";

fn class() -> String {
    format!(
        "
apiVersion: tenantry.dev/v1alpha1
kind: ResourceGroupClass
metadata:
  name: {}
spec:
  sizes:
    small: {SIZE}
  postgres:
    servers:
      - name: main
        host: postgresql.example.org
        port: 5432
        adminSecretRef: {{ name: postgresql-admin }}
        network: {{ cidrs: [192.0.2.10/32] }}
        connectionLimit: 100
  cache:
    image: registry.example:5000/valkey@{DIGEST}
",
        unique("standard")
    )
}

fn changed(from: &str, to: &str) -> String {
    let class = class();
    assert!(class.contains(from), "the class has no {from}");
    class.replace(from, to)
}

/// A class with what it allows in slots' networks.
pub(super) fn class_with_network(network: &str) -> String {
    changed("  cache:\n", &format!("  network: {network}\n  cache:\n"))
}

fn with_network(network: &str) -> String {
    changed("{ cidrs: [192.0.2.10/32] }", network)
}

#[tokio::test]
async fn a_class_is_accepted_and_asks_for_encryption_by_default() {
    let stored = accepted(&class()).await;
    assert_eq!(stored.data["spec"]["postgres"]["servers"][0]["tls"], "require");
}

#[tokio::test]
async fn a_class_name_fits_into_a_reference() {
    refused(&changed("name: standard-", &format!("name: {}-", "c".repeat(60))), "at most 63 characters").await;
}

#[tokio::test]
async fn a_size_is_named_by_a_label() {
    const RULE: &str = "a size is named by lower-case letters, digits and inner hyphens";
    accepted(&changed("small:", "extra-large-2:")).await;
    for name in ["Small", "small_", "-small", "a.b", &"s".repeat(41)] {
        refused(&changed("small:", &format!("{name}:")), RULE).await;
    }
}

#[tokio::test]
async fn a_class_has_a_size() {
    refused(&changed(&format!("small: {SIZE}"), "{}"), "should have at least 1 properties").await;
}

#[tokio::test]
async fn replicas_and_resources_are_within_reason() {
    accepted(&changed("api: { replicas: 1,", "api: { replicas: 100,")).await;
    refused(&changed("api: { replicas: 1,", "api: { replicas: 0,"), "greater than or equal to 1").await;
    refused(&changed("worker: { replicas: 1,", "worker: { replicas: 101,"), "less than or equal to 100").await;
    refused(&changed("memoryMib: 64", "memoryMib: 4"), "greater than or equal to 8").await;
    refused(&changed("cpuMillis: 10,", "cpuMillis: 0,"), "greater than or equal to 1").await;
    refused(&changed("connectionsPerService: 10", "connectionsPerService: 1"), "greater than or equal to 2").await;
}

#[tokio::test]
async fn a_host_is_a_name_or_an_address_alone() {
    const RULE: &str = "must be a host name or an IP address alone";
    accepted(&changed("host: postgresql.example.org", "host: 192.0.2.10")).await;
    accepted(&changed("host: postgresql.example.org", "host: '2001:db8::10'")).await;
    for host in ["postgresql.example.org:5432", "postgres://example.org", "a b", "example.org sslmode=disable"] {
        refused(&changed("host: postgresql.example.org", &format!("host: '{host}'")), RULE).await;
    }
}

#[tokio::test]
async fn a_server_has_a_good_name_and_port() {
    refused(&changed("name: main", "name: Main"), "a server is named by lower-case letters").await;
    refused(&changed("port: 5432", "port: 0"), "greater than or equal to 1").await;
    refused(&changed("port: 5432", "port: 5432\n        tls: sometimes"), "supported values: \"disable\", \"prefer\", \"require\"").await;
}

#[tokio::test]
async fn a_server_is_reached_by_pods_or_by_addresses() {
    const EITHER: &str = "write either namespace with podLabels (pods of this cluster) or cidrs";
    const TOGETHER: &str = "namespace and podLabels belong together";
    accepted(&with_network("{ namespace: tenantry-system, podLabels: { app.kubernetes.io/component: postgresql } }")).await;
    accepted(&with_network("{ cidrs: [192.0.2.0/24, '2001:db8::/64'] }")).await;
    refused(&with_network("{}"), EITHER).await;
    refused(&with_network("{ namespace: a, podLabels: { app: b }, cidrs: [192.0.2.0/24] }"), EITHER).await;
    refused(&with_network("{ namespace: a }"), TOGETHER).await;
    refused(&with_network("{ podLabels: { app: b } }"), TOGETHER).await;
    refused(&with_network("{ namespace: a, podLabels: {} }"), "should have at least 1 properties").await;
    refused(&with_network("{ cidrs: [] }"), "should have at least 1 items").await;
}

#[tokio::test]
async fn addresses_are_in_cidr_notation() {
    const RULE: &str = "must be address ranges in CIDR notation, as 192.0.2.10/32 for one address";
    for range in ["192.0.2.10", "192.0.2.0/33", "postgresql.example.org/32", "any"] {
        refused(&with_network(&format!("{{ cidrs: ['{range}'] }}")), RULE).await;
    }
}

#[tokio::test]
async fn pods_are_selected_by_good_labels() {
    refused(&with_network("{ namespace: a, podLabels: { 'a b': c } }"), "a label's key is a name").await;
    refused(&with_network("{ namespace: a, podLabels: { a: 'b c' } }"), "a label's value is made of").await;
    refused(&with_network("{ namespace: A, podLabels: { a: b } }"), "must be the name of a namespace").await;
}

#[tokio::test]
async fn monitoring_is_pods_of_a_namespace_by_their_labels() {
    let with = |monitoring: &str| class_with_network(&format!("{{ monitoring: {monitoring} }}"));
    accepted(&with("{ namespace: monitoring, podLabels: { app.kubernetes.io/name: prometheus } }")).await;
    refused(&with("{ namespace: monitoring }"), "podLabels: Required value").await;
    refused(&with("{ podLabels: { a: b } }"), "namespace: Required value").await;
    refused(&with("{ namespace: a, podLabels: {} }"), "should have at least 1 properties").await;
    refused(&with("{ namespace: A, podLabels: { a: b } }"), "must be the name of a namespace").await;
    refused(&with("{ namespace: a, podLabels: { 'a b': c } }"), "a label's key is a name").await;
    refused(&with("{ namespace: a, podLabels: { a: 'b c' } }"), "a label's value is made of").await;
}

#[tokio::test]
async fn the_caches_image_is_named_by_its_digest() {
    refused(&changed(&format!("valkey@{DIGEST}"), "valkey:8.1"), "must name the image by its digest").await;
}

#[tokio::test]
async fn a_secret_is_referenced_by_its_name() {
    refused(&changed("{ name: postgresql-admin }", "{ name: ../configmaps/x }"), "must be the name of a Secret").await;
}

#[tokio::test]
async fn a_class_has_at_most_64_servers_of_different_names() {
    let server = |name: &str| {
        format!(
            "
      - name: {name}
        host: {name}.example.org
        port: 5432
        adminSecretRef: {{ name: postgresql-admin }}
        network: {{ cidrs: [192.0.2.10/32] }}
        connectionLimit: 100"
        )
    };
    let with = |more: Vec<String>| changed("        connectionLimit: 100", &format!("        connectionLimit: 100{}", more.concat()));
    let others = |count: usize| (0..count).map(|number| server(&format!("server-{number}"))).collect::<Vec<_>>();
    accepted(&with(others(63))).await;
    refused(&with(others(64)), "at most 64 items").await;
    refused(&with(vec![server("main")]), "duplicate entries").await;
    accepted(&changed("        connectionLimit: 100", "        connectionLimit: 100\n        drain: true")).await;
}

#[tokio::test]
async fn an_autoscaler_may_add_pods_and_not_take_the_fewest() {
    const API: &str = "api: { replicas: 1, resources: { cpuMillis: 20, memoryMib: 48 } }";
    let with = |replicas: u32, autoscaling: &str| {
        changed(API, &format!("api: {{ replicas: {replicas}, resources: {{ cpuMillis: 20, memoryMib: 48 }}, autoscaling: {autoscaling} }}"))
    };
    let stored = accepted(&with(2, "{ maxReplicas: 2, targetCpuPercent: 60 }")).await;
    assert_eq!(stored.data["spec"]["sizes"]["small"]["api"]["autoscaling"]["scaleDownAfterSeconds"], 300);
    refused(&with(3, "{ maxReplicas: 2, targetCpuPercent: 60 }"), "autoscaling.maxReplicas must be at least replicas").await;
    refused(&with(1, "{ maxReplicas: 101, targetCpuPercent: 60 }"), "should be less than or equal to 100").await;
    refused(&with(1, "{ maxReplicas: 2 }"), "targetCpuPercent").await;
    refused(&with(1, "{ maxReplicas: 2, targetCpuPercent: 0 }"), "should be greater than or equal to 1").await;
}
