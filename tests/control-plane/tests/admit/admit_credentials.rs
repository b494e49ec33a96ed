//! Credentials of a tenant's own, and ways out of the slot: how groups, releases and classes write them.

use super::admit_class::class_with_network;
use super::{DIGEST, accepted, indented, refused, unique};

fn group(credentials: &str) -> String {
    let name = unique("pcasia");
    format!(
        "
apiVersion: tenantry.dev/v1alpha1
kind: ResourceGroup
metadata: {{ name: {name} }}
spec:
  classRef: {{ name: standard }}
  services: {{ campaigns: {{ credentials: {credentials} }} }}
  slots: []
"
    )
}

fn release(needs: &str) -> String {
    let (name, needs) = (unique("v1"), indented(needs, 8));
    format!(
        "
apiVersion: tenantry.dev/v1alpha1
kind: Release
metadata: {{ name: {name} }}
spec:
  services:
    campaigns:
      image: example.org/campaigns@{DIGEST}
      roles: {{ worker: {{ metricsPort: 8081 }} }}
      settings: {{}}
      needs:
{needs}
"
    )
}

fn class(egress: &str) -> String {
    class_with_network(&format!("{{ egress: {egress} }}"))
}

#[tokio::test]
async fn a_group_names_secrets_that_cannot_be_the_operators() {
    accepted(&group("{ webhook: { secretName: prize-webhook } }")).await;
    for name in ["cache", "campaigns-database", "campaigns-api", "campaigns-migration", "campaigns-database-b"] {
        refused(&group(&format!("{{ webhook: {{ secretName: {name} }} }}")), "may be one of the slot's own").await;
    }
    refused(&group("{ webhook: { secretName: ../x } }"), "must be the name of a Secret").await;
    refused(&group("{ Web_hook: { secretName: prize-webhook } }"), "a credential is named by").await;
}

#[tokio::test]
async fn a_release_names_credentials_files_and_roles() {
    accepted(&release(
        "credentials: [{ name: webhook, roles: [worker], files: [key], optionalFiles: [previous-key] }]\negress: { roles: [worker] }",
    ))
    .await;
    let with = |name: &str, files: &str| release(&format!("credentials: [{{ name: {name}, roles: [worker], files: {files} }}]"));
    for name in ["api", "cache", "database"] {
        refused(&with(name, "[key]"), "may not name api, cache or database").await;
    }
    refused(&with("webhook", "[]"), "should have at least 1 items").await;
    refused(&with("webhook", "[../key]"), "should match").await;
    refused(&release("credentials: [{ name: webhook, roles: [migrate], files: [key] }]"), "Unsupported value").await;
}

#[tokio::test]
async fn a_class_names_destinations_by_ranges_and_ports() {
    accepted(&class("[{ name: payments, cidrs: [192.0.2.0/24, '2001:db8::/64'], ports: [443] }]")).await;
    let with = |cidr: &str, ports: &str| class(&format!("[{{ name: payments, cidrs: ['{cidr}'], ports: {ports} }}]"));
    for range in ["192.0.2.10", "192.0.2.10/24", "shop.example/32"] {
        refused(&with(range, "[443]"), "must be address ranges in CIDR notation").await;
    }
    refused(&with("192.0.2.0/24", "[]"), "should have at least 1 items").await;
    refused(&with("192.0.2.0/24", "[0]"), "should be greater than or equal to 1").await;
}
