//! Parts that several kinds share.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Names a ResourceGroupClass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassRef {
    /// Name of the ResourceGroupClass.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "!format.dns1123Subdomain().validate(self).hasValue()",
        "must be the name of a ResourceGroupClass: lower-case letters, digits, inner hyphens and dots"
    ))]
    pub name: String,
}

/// Names a Secret in the operator's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "!format.dns1123Subdomain().validate(self).hasValue()",
        "must be the name of a Secret: lower-case letters, digits, inner hyphens and dots"
    ))]
    pub name: String,
}

/// Who may look at a group's slots: a user or a group of the cluster's authentication.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// `Group` or `User`.
    pub kind: OwnerKind,
    /// Name of the user or group, as the cluster's authentication gives it. Names that begin with `system:` are refused.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "!self.startsWith('system:')",
        "names that begin with system: belong to the cluster itself; name a group or a user of your own authentication"
    ))]
    pub name: String,
}

/// What an [`Owner`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum OwnerKind {
    /// A group of users.
    Group,
    /// One user.
    User,
}

/// When the passwords of database logins are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRotation {
    /// How long a login is used, in hours: `720h`. Without it only `generation` asks for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 6))]
    #[x_kube(validation = ("self.matches('^[1-9][0-9]*h$')", "must be a number of hours, as in 720h for 30 days"))]
    pub every: Option<String>,
    /// Raise this number to have the logins replaced now. A lower one than before has no effect.
    #[serde(default)]
    pub generation: u32,
}

impl CredentialRotation {
    /// How long a login is used, in seconds.
    pub fn every_seconds(&self) -> Option<i64> {
        seconds(self.every.as_ref().filter(|every| every.ends_with('h'))?)
    }
}

/// The seconds of a length of time: a number with `s`, `m`, `h` or `d`.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let unit = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    text[..text.len() - 1].parse::<i64>().ok()?.checked_mul(unit)
}

/// Names a Secret of the tenant's own, in the slot's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSource {
    /// Name of the Secret, which carries the label `tenantry.dev/user-secret` and is of type Opaque. Each slot has its own.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "!format.dns1123Subdomain().validate(self).hasValue()",
        "must be the name of a Secret: lower-case letters, digits, inner hyphens and dots"
    ))]
    #[x_kube(validation = (
        "!self.matches('^(cache|.*-(api|database|migration))(-.*)?$')",
        "a Secret of this name may be one of the slot's own: take a name that is not cache and does not end in -api, -database or -migration"
    ))]
    pub secret_name: String,
}

/// What a group sets for one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSettings {
    /// The Secrets that the service uses, by the names that the release says: `spec.services.<name>.needs.credentials`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    #[x_kube(validation = (
        "self.all(name, size(name) <= 20 && name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$'))",
        "a credential is named by at most 20 lower-case letters, digits and inner hyphens, as the release names it in needs.credentials"
    ))]
    pub credentials: BTreeMap<String, CredentialSource>,
    /// The service's settings. Which there are, the release says: `spec.services.<name>.settings`, a JSON Schema.
    #[serde(default = "empty_object")]
    #[schemars(schema_with = "any_object")]
    pub settings: Value,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// The `observedGeneration` of an object that the operator has not seen yet: less than every generation.
pub(crate) const NEVER_OBSERVED: i64 = -1;

/// [`NEVER_OBSERVED`], as serde wants it.
pub(crate) fn never_observed() -> i64 {
    NEVER_OBSERVED
}

/// The schema of an object whose keys the API server neither knows nor prunes.
pub(crate) fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "maxProperties": 64, "x-kubernetes-preserve-unknown-fields": true })
}

/// The schema of an instant.
pub(crate) fn time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time", "maxLength": 64 })
}

/// The schema of a list of conditions, one of each type, bounded as in Kubernetes' own API.
pub(crate) fn conditions(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's state.",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": { "type": "string", "maxLength": 63, "description": "The aspect, in CamelCase." },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "maxLength": 7,
                    "description": "Whether it holds.",
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 128,
                    "description": "Why, as a constant in CamelCase that scripts may compare.",
                },
                "message": {
                    "type": "string",
                    "maxLength": 4096,
                    "description": "Why, for people, and what to do next.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "maxLength": 64,
                    "description": "When `status` last changed.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "The generation of the object of which the condition speaks.",
                },
            },
        },
    })
}
