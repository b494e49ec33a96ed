//! The CustomResourceDefinitions as they are published: what kube derives from the types, made to read as an API and
//! not as Rust, with the defaults that cannot be said on a type.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::common::NEVER_OBSERVED;
use crate::{Release, ResourceGroup, ResourceGroupClass, Slot};

/// The definitions of all kinds, in the order of their plurals.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![published(Release::crd()), published(ResourceGroupClass::crd()), published(ResourceGroup::crd()), published(Slot::crd())]
}

/// The files of the chart `tenantry-crds`, one for each definition: name and content, ready to be written.
pub fn files() -> Vec<(String, String)> {
    definitions()
        .into_iter()
        .map(|definition| {
            let name = format!("{}.yaml", definition.spec.names.plural);
            let yaml = quoted_for_yaml_1_1(&serde_yaml_ng::to_string(&definition).expect("a definition is plain data"));
            assert!(!yaml.contains("{{"), "{name}: Helm would take {{{{ in a description for a template");
            let content =
                format!("# Generated from the types in crds/ by `cargo run -p tenantry-crds --bin generate-crds`; edit those.\n{yaml}");
            (name, content)
        })
        .collect()
}

/// Quotes the keys of a text that kubectl and Helm, which read YAML 1.1, would take for `false` and `true`.
fn quoted_for_yaml_1_1(yaml: &str) -> String {
    let quoted = |line: &str| match line.trim_ascii() {
        "n:" => line.replace("n:", "'n':"),
        "y:" => line.replace("y:", "'y':"),
        _ => line.to_owned(),
    };
    yaml.split_inclusive('\n').map(quoted).collect()
}

fn published(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(definition).expect("a definition is plain data");
    // Deleting a definition deletes every object of its kind, so uninstalling the chart must not.
    value["metadata"]["annotations"] = json!({ "helm.sh/resource-policy": "keep" });
    let schema = &mut value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    tidy(schema);
    schema["properties"]["status"]["default"] = json!({ "observedGeneration": NEVER_OBSERVED });
    serde_json::from_value(value).expect("tidying keeps a definition a definition")
}

/// Makes a schema, and all within it, one that the API server takes without a warning and that reads like documentation.
fn tidy(schema: &mut Value) {
    let Value::Object(schema) = schema else {
        return;
    };
    // An absent field says "none"; a second way to say it would only be another case in every rule.
    schema.remove("nullable");
    schema.remove("title");
    // The API server prunes or refuses unknown fields by itself, and does not know this way to say so.
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    drop_foreign_format(schema);
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = paragraphs(description);
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(tidy);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            tidy(inner);
        }
    }
}

/// Formats such as `uint16` mean nothing to the API server, which warns of them; minimum and maximum say the same.
fn drop_foreign_format(schema: &mut Map<String, Value>) {
    if let Some(Value::String(format)) = schema.get("format")
        && format.starts_with("uint")
    {
        schema.remove("format");
    }
}

/// Joins the lines of each paragraph, which were broken for the width of a source file, and takes away what links in
/// Rust's documentation leave behind.
fn paragraphs(description: &str) -> String {
    description
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
        .replace("[`", "`")
        .replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Calls `check` with the path and the schema of everything inside of `schema`.
    fn walk(path: &str, schema: &Value, check: &mut dyn FnMut(&str, &Map<String, Value>)) {
        let Value::Object(schema) = schema else {
            return;
        };
        check(path, schema);
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                walk(&format!("{path}.{name}"), property, check);
            }
        }
        for (key, suffix) in [("items", "[]"), ("additionalProperties", "[*]")] {
            if let Some(inner) = schema.get(key) {
                walk(&format!("{path}{suffix}"), inner, check);
            }
        }
    }

    fn walk_all(check: &mut dyn FnMut(&str, &Map<String, Value>)) {
        for definition in definitions() {
            let value = serde_json::to_value(&definition).unwrap();
            let root = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            for part in ["spec", "status"] {
                walk(&format!("{}.{part}", definition.spec.names.kind), &root["properties"][part], check);
            }
        }
    }

    #[test]
    fn every_string_list_and_map_is_bounded() {
        let mut unbounded = Vec::new();
        walk_all(&mut |path, schema| {
            let bound = match schema.get("type").and_then(Value::as_str) {
                Some("string") if schema.contains_key("enum") => return,
                Some("string") => "maxLength",
                Some("array") => "maxItems",
                Some("object") if schema.contains_key("additionalProperties") => "maxProperties",
                Some("object") if schema.contains_key("x-kubernetes-preserve-unknown-fields") => "maxProperties",
                _ => return,
            };
            if !schema.contains_key(bound) {
                unbounded.push(format!("{path} has no {bound}"));
            }
        });
        assert_eq!(unbounded, Vec::<String>::new());
    }

    #[test]
    fn no_key_is_a_truth_value_in_yaml_1_1() {
        let truths = ["y:", "n:", "yes:", "no:", "on:", "off:", "true:", "false:"];
        for (name, content) in files() {
            let taken = content.lines().find(|line| truths.contains(&line.trim().to_lowercase().as_str()));
            assert_eq!(taken, None, "{name}");
        }
    }

    #[test]
    fn every_field_is_described_without_rust() {
        let mut faults = Vec::new();
        walk_all(&mut |path, schema| {
            let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            if description.is_empty() && !path.ends_with(']') {
                faults.push(format!("{path} has no description"));
            }
            for leak in ["std::", "crate::", "[`", "serde", "struct", "Option<"] {
                if description.contains(leak) {
                    faults.push(format!("{path} speaks Rust: {leak}"));
                }
            }
        });
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn every_rule_says_what_to_write_instead() {
        walk_all(&mut |path, schema| {
            for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                assert!(rule.get("message").or(rule.get("messageExpression")).is_some(), "{path}: {rule} has no message");
            }
        });
    }

    #[test]
    fn every_list_of_objects_is_merged_by_a_key() {
        walk_all(&mut |path, schema| {
            if schema.get("items").is_some_and(|items| items["type"] == "object") {
                assert_eq!(schema.get("x-kubernetes-list-type"), Some(&json!("map")), "{path}");
            }
        });
    }

    #[test]
    fn a_new_object_never_reads_as_observed() {
        for definition in definitions() {
            let value = serde_json::to_value(&definition).unwrap();
            let status = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
            assert_eq!(status["default"], json!({ "observedGeneration": -1 }));
            assert_eq!(status["properties"]["observedGeneration"]["default"], json!(-1));
        }
        assert_eq!(crate::SlotStatus::default().observed_generation, -1);
    }

    #[test]
    fn the_chart_has_the_generated_files() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/tenantry-crds/templates");
        for (name, content) in files() {
            let found = std::fs::read_to_string(directory.join(&name)).unwrap_or_default();
            assert_eq!(found, content, "{name} is stale: run `cargo run -p tenantry-crds --bin generate-crds`");
        }
    }
}
