//! Release: what a service says of itself, and that it never changes.

use super::{DIGEST, Stored, accepted, indented, refused, unique};

fn release(name: &str, service: &str) -> String {
    format!(
        "
apiVersion: tenantry.dev/v1alpha1
kind: Release
metadata:
  name: {name}
spec:
  services:
    campaigns:
{}",
        indented(service, 6)
    )
}

/// A service with the image given.
fn with_image(image: &str) -> String {
    release(&unique("v1"), &format!("image: '{image}'\nroles: {{ api: {{ port: 8080 }} }}\nsettings: {{}}"))
}

/// A service without a database, and the roles given.
fn with_roles(roles: &str) -> String {
    release(&unique("v1"), &format!("image: example.org/campaigns@{DIGEST}\nroles: {roles}\nsettings: {{}}"))
}

/// A service with an API, and more.
fn with(more: &str) -> String {
    release(&unique("v1"), &format!("image: example.org/campaigns@{DIGEST}\nroles: {{ api: {{ port: 8080 }} }}\nsettings: {{}}\n{more}"))
}

fn whole(name: &str) -> String {
    release(
        name,
        &format!(
            "image: registry.example:5000/tenantry/campaigns@{DIGEST}
roles: {{ api: {{ port: 8080 }}, worker: {{ metricsPort: 8081 }} }}
needs: {{ database: {{}}, cache: {{}} }}
schema: {{ version: 7, runsOnFrom: 5 }}
settings:
  type: object
  additionalProperties: false
  properties:
    baseCurrency: {{ type: string, enum: [EUR, USD] }}"
        ),
    )
}

#[tokio::test]
async fn a_whole_release_is_accepted_and_its_settings_are_kept() {
    let stored = accepted(&whole("v0.1.0-3f2a9c")).await;
    let service = &stored.data["spec"]["services"]["campaigns"];
    assert_eq!(service["settings"]["properties"]["baseCurrency"]["enum"][1], "USD");
    assert_eq!(service["needs"]["database"], serde_json::json!({}));
}

#[tokio::test]
async fn a_release_name_fits_into_a_reference() {
    accepted(&whole(&"v".repeat(63))).await;
    refused(&whole(&"v".repeat(64)), "metadata.name must have at most 63 characters").await;
}

#[tokio::test]
async fn an_image_is_named_by_its_digest() {
    const RULE: &str = "must name the image by its digest: registry/path@sha256:<64 hexadecimal digits>";
    accepted(&with_image(&format!("localhost:5000/a/b:v1@{DIGEST}"))).await;
    for image in ["example.org/campaigns", "example.org/campaigns:v1", "campaigns@sha256:abc", &format!("a b@{DIGEST}")] {
        refused(&with_image(image), RULE).await;
    }
}

#[tokio::test]
async fn a_schema_comes_with_a_database_and_a_database_with_a_schema() {
    const RULE: &str = "schema and needs.database belong together";
    accepted(&with("needs: { cache: {} }")).await;
    accepted(&with("needs: { database: {} }\nschema: { version: 1, runsOnFrom: 1 }")).await;
    refused(&with("needs: { database: {} }"), RULE).await;
    refused(&with("schema: { version: 1, runsOnFrom: 1 }"), RULE).await;
    refused(&with("needs: { cache: {} }\nschema: { version: 1, runsOnFrom: 1 }"), RULE).await;
}

#[tokio::test]
async fn a_schema_runs_code_of_its_own_version_at_least() {
    refused(&with("needs: { database: {} }\nschema: { version: 4, runsOnFrom: 5 }"), "so it must be at most schema.version").await;
    refused(&with("needs: { database: {} }\nschema: { version: 0, runsOnFrom: 0 }"), "greater than or equal to 1").await;
}

#[tokio::test]
async fn a_port_is_one_that_an_ordinary_process_may_open() {
    accepted(&with_roles("{ api: { port: 1024 }, worker: { metricsPort: 65535 } }")).await;
    refused(&with_roles("{ api: { port: 80 } }"), "greater than or equal to 1024").await;
    refused(&with_roles("{ worker: { metricsPort: 1023 } }"), "greater than or equal to 1024").await;
    refused(&with_roles("{ api: { port: 65536 } }"), "less than or equal to 65535").await;
}

#[tokio::test]
async fn a_service_has_at_least_one_role() {
    accepted(&with_roles("{ worker: { metricsPort: 8081 } }")).await;
    refused(&with_roles("{}"), "write roles.api, roles.worker or both").await;
}

#[tokio::test]
async fn a_release_has_a_service_and_each_has_a_good_name() {
    let none = "apiVersion: tenantry.dev/v1alpha1\nkind: Release\nmetadata: { name: empty }\nspec: { services: {} }";
    refused(none, "should have at least 1 properties").await;
    refused(&whole(&unique("v1")).replace("    campaigns:\n", "    Campaigns:\n"), "a service is named by at most 20 lower-case letters")
        .await;
}

#[tokio::test]
async fn a_release_never_changes() {
    const RULE: &str = "a Release never changes, since slots run it by its name: make another Release under a new name";
    let manifest = whole(&unique("v1"));
    let release = Stored::apply(&manifest).await;
    accepted(&manifest).await;
    refused(&manifest.replace("runsOnFrom: 5", "runsOnFrom: 6"), RULE).await;
    refused(&manifest.replace("    campaigns:\n", "    other:\n"), RULE).await;
    // Settings are a JSON Schema that the definition does not know: the rule compares what it cannot see into.
    refused(&manifest.replace("enum: [EUR, USD]", "enum: [EUR, GBP]"), RULE).await;
    refused(&manifest.replace("additionalProperties: false", "additionalProperties: true"), RULE).await;
    refused(&manifest.replace("enum: [EUR, USD]", "enum: [EUR, USD], title: Currency"), RULE).await;
    release.delete().await;
}
