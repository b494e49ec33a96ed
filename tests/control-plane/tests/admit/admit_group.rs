//! ResourceGroup: names, owners, services, slots.

use super::{accepted, indented, refused, unique};

/// A group with these slots.
pub(super) fn with_slots(slots: &str) -> String {
    group(&unique("pcasia"), &format!("services: {{ campaigns: {{}} }}\nslots:\n{}", indented(slots, 2)))
}

fn group(name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: tenantry.dev/v1alpha1
kind: ResourceGroup
metadata:
  name: {name}
spec:
  classRef: {{ name: standard }}
{}",
        indented(rest, 2)
    )
}

fn named(name: &str) -> String {
    group(name, "services: {}\nslots: []")
}

fn with_owner(owner: &str) -> String {
    group(&unique("pcasia"), &format!("owners:\n- {owner}\nservices: {{}}\nslots: []"))
}

fn with_services(services: &str) -> String {
    group(&unique("pcasia"), &format!("services: {services}\nslots: []"))
}

#[tokio::test]
async fn a_group_as_in_the_documentation_is_accepted() {
    accepted(
        "
apiVersion: tenantry.dev/v1alpha1
kind: ResourceGroup
metadata: { name: documented }
spec:
  classRef: { name: standard }
  owners: [{ kind: Group, name: pcasia-developers }]
  services:
    campaigns: { settings: { baseCurrency: EUR } }
  slots:
    - { name: dev, size: small, release: v0.1.0 }
    - { name: staging, size: small, promoteFrom: dev, initialRelease: v0.1.0 }
    - name: production
      size: large
      promoteFrom: staging
      initialRelease: v0.1.0
      services: { campaigns: { settings: { baseCurrency: USD, deeply: { nested: [1, 2] } } } }
",
    )
    .await;
}

#[tokio::test]
async fn a_group_name_has_at_most_40_characters() {
    accepted(&named(&"g".repeat(40))).await;
    refused(&named(&"g".repeat(41)), "metadata.name must be a DNS label of at most 40 characters").await;
}

#[tokio::test]
async fn a_group_name_has_no_dots() {
    accepted(&named("pc-asia-2")).await;
    refused(&named("pc.asia"), "lower-case letters, digits and inner hyphens, no dots").await;
}

#[tokio::test]
async fn a_group_name_has_no_upper_case() {
    refused(&named("PCAsia"), "must consist of lower case alphanumeric characters").await;
}

#[tokio::test]
async fn an_owner_is_not_one_of_the_clusters_own() {
    accepted(&with_owner("{ kind: User, name: ada@example.org }")).await;
    accepted(&with_owner("{ kind: Group, name: my-system:admins }")).await;
    for name in ["system:authenticated", "system:serviceaccounts:kube-system", "system:anonymous"] {
        refused(&with_owner(&format!("{{ kind: Group, name: '{name}' }}")), "name a group or a user of your own authentication").await;
    }
}

#[tokio::test]
async fn an_owner_is_a_group_or_a_user() {
    refused(&with_owner("{ kind: ServiceAccount, name: builder }"), "supported values: \"Group\", \"User\"").await;
}

#[tokio::test]
async fn the_same_owner_is_written_once() {
    refused(
        &with_owner("{ kind: User, name: ada }\n- { kind: User, name: ada }"),
        "duplicate entries for key [kind=\"User\",name=\"ada\"]",
    )
    .await;
    accepted(&with_owner("{ kind: User, name: ada }\n- { kind: Group, name: ada }")).await;
}

#[tokio::test]
async fn a_service_name_fits_into_the_names_made_of_it() {
    const RULE: &str = "a service is named by at most 20 lower-case letters, digits and inner hyphens";
    accepted(&with_services("{ campaigns: {}, a-b-2: {}, abcdefghijklmnopqrst: {} }")).await;
    for name in ["abcdefghijklmnopqrstu", "Campaigns", "2campaigns", "campaigns-", "cam.paigns", "''"] {
        refused(&with_services(&format!("{{ {name}: {{}} }}")), RULE).await;
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_its_path() {
    refused(&with_services("{ campaigns: { setting: {} } }"), ".spec.services.campaigns.setting: field not declared in schema").await;
}

#[tokio::test]
async fn a_slot_name_is_letters_and_digits() {
    const RULE: &str = "a slot is named by a lower-case letter, then lower-case letters and digits, at most 16";
    accepted(&with_slots("- { name: dev2, size: small, release: v1 }")).await;
    for name in ["Dev", "dev-2", "2dev", "dev.x"] {
        refused(&with_slots(&format!("- {{ name: {name}, size: small, release: v1 }}")), RULE).await;
    }
}

#[tokio::test]
async fn a_slot_name_has_at_most_16_characters() {
    accepted(&with_slots("- { name: abcdefghijklmnop, size: small, release: v1 }")).await;
    refused(&with_slots("- { name: abcdefghijklmnopq, size: small, release: v1 }"), "may not be more than 16").await;
}

#[tokio::test]
async fn two_slots_of_one_name_are_refused() {
    refused(
        &with_slots("- { name: dev, size: small, release: v1 }\n- { name: dev, size: large, release: v1 }"),
        "duplicate entries for key [name=\"dev\"]",
    )
    .await;
}

#[tokio::test]
async fn a_group_has_at_most_8_slots() {
    let slots =
        |count: usize| -> String { (0..count).map(|index| format!("- {{ name: s{index}, size: small, release: v1 }}\n")).collect() };
    accepted(&with_slots(&slots(8))).await;
    refused(&with_slots(&slots(9)), "must have at most 8 items").await;
}

#[tokio::test]
async fn a_slot_sets_only_services_that_the_group_has() {
    accepted(&with_slots("- { name: dev, size: small, release: v1, services: { campaigns: { settings: { a: 1 } } } }")).await;
    refused(
        &with_slots("- { name: dev, size: small, release: v1, services: { payments: { settings: { a: 1 } } } }"),
        "slots[].services may only name services of spec.services",
    )
    .await;
}

#[tokio::test]
async fn a_slot_has_a_size() {
    refused(&with_slots("- { name: dev, release: v1 }"), "spec.slots[0].size: Required value").await;
}

#[tokio::test]
async fn settings_are_an_object() {
    refused(&with_services("{ campaigns: { settings: [1] } }"), "spec.services.campaigns.settings").await;
}

#[tokio::test]
async fn a_reference_is_a_name_and_not_a_path() {
    let slot = |release: &str| with_slots(&format!("- {{ name: dev, size: small, release: '{release}' }}"));
    accepted(&slot("v0.1.0-3f2a9c")).await;
    for release in ["V1", "../secrets/x", "v1/status", "v1?watch=true"] {
        refused(&slot(release), "must be the name of a Release").await;
    }
    refused(&named(&unique("pcasia")).replace("{ name: standard }", "{ name: a/b }"), "must be the name of a ResourceGroupClass").await;
}

#[tokio::test]
async fn a_retention_is_a_number_with_a_unit_and_at_most_a_year() {
    let with = |retain_for: &str| group(&unique("pcasia"), &format!("retainFor: {retain_for}\nservices: {{}}\nslots: []"));
    for accepted_time in ["0s", "90m", "36h", "7d", "366d"] {
        accepted(&with(accepted_time)).await;
    }
    for refused_time in ["7w", "1h30m", "-1d", "d1", "367d", "99999999s"] {
        refused(&with(refused_time), "retainFor must be a number with s, m, h or d, and at most a year").await;
    }
}

#[tokio::test]
async fn a_slot_takes_over_only_what_has_the_name_of_a_slots_database() {
    let with =
        |name: &str| with_slots(&format!("- {{ name: dev, size: small, release: v1, adoptDatabase: {{ server: main, name: {name} }} }}"));
    accepted(&with("terwnhncv53bru24n")).await;
    refused(&with("postgres"), "must be the name of a retained database").await;
}

#[tokio::test]
async fn a_group_says_delete_or_retain() {
    let with = |policy: &str| group(&unique("pcasia"), &format!("deletionPolicy: {policy}\nservices: {{}}\nslots: []"));
    accepted(&with("Retain")).await;
    accepted(&with("Delete")).await;
    refused(&with("Keep"), "supported values: \"Delete\", \"Retain\"").await;
}
