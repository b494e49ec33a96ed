//! Settings: merged from group and slot, checked against the service's JSON Schema.

use std::collections::BTreeMap;

use serde_json::Value;
use tenantry_crds::{Revision, ServiceSettings, SlotSpecTemplate};

use crate::{Stall, reasons};

/// The revision of that release with the group's settings and credentials, the slot's merged over them. A service runs where the group
/// names it; a slot changes settings, not the set of services.
pub(crate) fn revision(release: &str, group: &BTreeMap<String, ServiceSettings>, slot: &SlotSpecTemplate) -> Revision {
    let services = group
        .iter()
        .map(|(name, service)| {
            let ServiceSettings { mut settings, mut credentials } = service.clone();
            if let Some(patch) = slot.services.get(name) {
                merge(&mut settings, &patch.settings);
                credentials.extend(patch.credentials.clone());
            }
            (name.clone(), ServiceSettings { settings, credentials })
        })
        .collect();
    Revision { release: release.to_owned(), services }
}

/// Applies a JSON Merge Patch (RFC 7396).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Checks a service's settings against its schema.
pub(crate) fn check(service: &str, settings: &Value, schema: &Value, release: &str) -> Result<(), Stall> {
    let validator = jsonschema::validator_for(schema).map_err(|error| {
        let message = format!(
            "release {release} has no valid JSON Schema for the settings of {service}: {error}; make a new release with a corrected one"
        );
        Stall::new(reasons::INVALID_SETTINGS_SCHEMA, message)
    })?;
    let errors: Vec<String> = validator
        .iter_errors(settings)
        .take(5)
        .map(|error| format!("services.{service}.settings{}: {error}", dotted(error.instance_path().as_str())))
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let message = format!("{}; what may be set: spec.services.{service}.settings of release {release}", errors.join("; "));
    Err(Stall::new(reasons::INVALID_SETTINGS, message))
}

/// A JSON Pointer as it is written in a manifest: `/rates/0/currency` as `.rates[0].currency`.
fn dotted(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
    parts.map(|part| if part.bytes().all(|byte| byte.is_ascii_digit()) { format!("[{part}]") } else { format!(".{part}") }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn a_merge_patch_does_what_rfc_7396_shows() {
        let examples = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (mut target, patch, result) in examples {
            merge(&mut target, &patch);
            assert_eq!(target, result);
        }
    }

    #[test]
    fn a_wrong_setting_is_named_by_its_path() {
        let schema = json!({"type": "object", "properties": {"rates": {"type": "array", "items": {"type": "object", "properties": {"currency": {"type": "string"}}}}}});
        let stall = check("campaigns", &json!({"rates": [{"currency": 7}]}), &schema, "v1").unwrap_err();
        assert_eq!(stall.reason, reasons::INVALID_SETTINGS);
        assert!(stall.message.starts_with("services.campaigns.settings.rates[0].currency: 7 is not of type"), "{}", stall.message);
    }

    #[test]
    fn a_schema_that_is_none_stalls_and_does_not_panic() {
        let stall = check("campaigns", &json!({}), &json!({"type": 7}), "v1").unwrap_err();
        assert_eq!(stall.reason, reasons::INVALID_SETTINGS_SCHEMA);
    }
}
