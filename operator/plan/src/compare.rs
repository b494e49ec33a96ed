//! Whether a live object is what a manifest wants: nothing is applied that is there already, since even a server-side apply
//! without effect can change an object's resourceVersion.
//!
//! An object differs when the annotation with the hash of what was applied last is another (the desired state changed), or
//! when a value that the manifest states is missing or another (somebody changed it). What the API server or others add
//! beside it is no difference, except in lists, in what the manifest states to be empty, and where others own content: see
//! [`crate::ownership`].

use kube::core::DynamicObject;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Manifest;
use crate::ownership::foreign;

/// Keys below which strings are quantities, which the API server rewrites: `1024Mi` to `1Gi`.
const QUANTITIES: [&str; 8] = ["requests", "limits", "hard", "default", "defaultRequest", "max", "min", "sizeLimit"];

/// Keys whose whole content is meant, since an addition changes what the rest means: a peer of a network policy with a
/// further selector lets other pods in, a further entry of a quota stops them, a further setting is not the group's.
const WHOLE: [&str; 7] = ["ingress", "egress", "podSelector", "selector", "hard", "revision", "auth"];

/// Whether the manifest has to be applied over the live object.
pub(crate) fn differs(desired: &Manifest, live: &DynamicObject) -> bool {
    let wanted = &desired.object.metadata;
    let found = &live.metadata;
    let labels = wanted.labels.iter().flatten();
    let annotations = wanted.annotations.iter().flatten();
    let mut entries =
        labels.map(|entry| (entry, found.labels.as_ref())).chain(annotations.map(|entry| (entry, found.annotations.as_ref())));
    entries.any(|((key, value), found)| found.and_then(|found| found.get(key)) != Some(value))
        || foreign(found).next().is_some()
        // A manifest of metadata alone, as a namespace's, says nothing of the rest.
        || !(is_empty(&desired.object.data) || states(&desired.object.data, &live.data, Reading::default()))
}

/// Whether the live object can only become the desired one by being made again: what differs never changes in place.
pub(crate) fn must_be_replaced(desired: &Manifest, live: &DynamicObject) -> bool {
    let (wanted, found) = (&desired.object.data, &live.data);
    match desired.kind.kind.as_str() {
        "RoleBinding" => wanted["roleRef"] != found["roleRef"],
        "ConfigMap" => found["immutable"] == Value::Bool(true) && wanted["data"] != found["data"],
        "Deployment" => wanted["spec"]["selector"] != found["spec"]["selector"],
        _ => false,
    }
}

/// How the values below a key are read.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    quantity: bool,
    whole: bool,
}

impl Reading {
    fn below(self, key: &str) -> Self {
        Self { quantity: self.quantity || QUANTITIES.contains(&key), whole: self.whole || WHOLE.contains(&key) }
    }
}

/// Whether everything that `wanted` states holds in `found`.
fn states(wanted: &Value, found: &Value, reading: Reading) -> bool {
    match (wanted, found) {
        (wanted, found) if is_empty(wanted) => is_empty(found),
        (Value::Object(wanted), Value::Object(found)) => {
            (!reading.whole || wanted.len() == found.len())
                && wanted.iter().all(|(key, value)| states(value, found.get(key).unwrap_or(&Value::Null), reading.below(key)))
        }
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| states(wanted, found, reading))
        }
        (Value::String(wanted), Value::String(found)) if reading.quantity && wanted != found => {
            matches!((quantity(wanted), quantity(found)), (Some(wanted), Some(found)) if wanted == found)
        }
        (wanted, found) => wanted == found,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// A quantity of the Kubernetes API in thousand-millionths; none if it is not one or too large.
pub(crate) fn quantity(text: &str) -> Option<i128> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let nano: i128 = 1_000_000_000;
    let unit = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => nano,
        "k" => nano * 1_000,
        "M" => nano * 1_000_000,
        "G" => nano * 1_000_000_000,
        "T" => nano * 1_000_000_000_000,
        "Ki" => nano << 10,
        "Mi" => nano << 20,
        "Gi" => nano << 30,
        "Ti" => nano << 40,
        "Pi" => nano << 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = whole.parse().ok()?;
    let scaled = whole.checked_mul(unit)?;
    if fraction.is_empty() {
        return Some(scaled);
    }
    let digits = u32::try_from(fraction.len()).ok()?;
    let part = fraction.parse::<i128>().ok()?.checked_mul(unit)?;
    scaled.checked_add(part / 10_i128.checked_pow(digits)?)
}

/// The hash of a value, the same whatever the order of its keys: 16 characters.
pub(crate) fn canonical_hash(value: &Value) -> String {
    let mut digest = Sha256::new();
    feed(value, &mut digest);
    data_encoding::BASE32_NOPAD.encode(&digest.finalize()[..10]).to_ascii_lowercase()
}

fn feed(value: &Value, digest: &mut Sha256) {
    match value {
        Value::Object(entries) => {
            let mut keys: Vec<&String> = entries.keys().collect();
            keys.sort();
            digest.update(b"{");
            for key in keys {
                feed(&Value::String(key.clone()), digest);
                feed(&entries[key], digest);
            }
            digest.update(b"}");
        }
        Value::Array(items) => {
            digest.update(b"[");
            items.iter().for_each(|item| feed(item, digest));
            digest.update(b"]");
        }
        scalar => {
            let text = scalar.to_string();
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn holds(wanted: Value, found: Value) -> bool {
        states(&wanted, &found, Reading::default())
    }

    #[test]
    fn what_the_server_adds_is_no_difference() {
        assert!(holds(json!({"spec": {"replicas": 2}}), json!({"spec": {"replicas": 2, "paused": false}, "status": {}})));
    }

    #[test]
    fn a_changed_or_removed_value_is_a_difference() {
        assert!(!holds(json!({"replicas": 2}), json!({"replicas": 3})));
        assert!(!holds(json!({"replicas": 2}), json!({})));
    }

    #[test]
    fn an_added_list_item_is_a_difference() {
        assert!(!holds(json!({"args": ["api"]}), json!({"args": ["api", "--debug"]})));
    }

    #[test]
    fn what_is_stated_to_be_empty_has_to_be_empty() {
        assert!(holds(json!({"ingress": []}), json!({})));
        assert!(!holds(json!({"ingress": []}), json!({"ingress": [{}]})));
        assert!(!holds(json!({"podSelector": {}}), json!({"podSelector": {"matchLabels": {"a": "b"}}})));
    }

    #[test]
    fn a_selector_added_to_a_network_peer_is_a_difference() {
        let peer = |peer: Value| json!({"ingress": [{"from": [peer]}]});
        let wanted = peer(json!({"podSelector": {}}));
        assert!(holds(wanted.clone(), wanted.clone()));
        assert!(!holds(wanted, peer(json!({"podSelector": {}, "namespaceSelector": {}}))));
    }

    #[test]
    fn quantities_are_compared_by_value_only_where_quantities_stand() {
        assert!(holds(json!({"requests": {"cpu": "1000m", "memory": "2048Mi"}}), json!({"requests": {"cpu": "1", "memory": "2Gi"}})));
        assert!(!holds(json!({"requests": {"cpu": "1000m"}}), json!({"requests": {"cpu": "1001m"}})));
        assert!(!holds(json!({"data": {"key": "1000m"}}), json!({"data": {"key": "1"}})));
    }

    #[test]
    fn the_hash_does_not_depend_on_the_order_of_keys() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":[{"c":2,"d":3}]}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b":[{"d":3,"c":2}],"a":1}"#).unwrap();
        assert_eq!(canonical_hash(&one), canonical_hash(&other));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), "[a-z]{1,5}".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,4}", inner, 1..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_is_what_it_states_whatever_is_added_beside(value in any_value(), added in any_value()) {
            prop_assert!(holds(value.clone(), value.clone()));
            if let Value::Object(entries) = &value {
                let mut more = entries.clone();
                more.insert("addedByTheServer".into(), added);
                prop_assert!(holds(value.clone(), Value::Object(more)));
            }
        }

        #[test]
        fn values_with_another_hash_are_other_values(one in any_value(), other in any_value()) {
            prop_assert_eq!(canonical_hash(&one) == canonical_hash(&other), one == other);
        }
    }
}
