//! An object to apply, with the hash by which a later plan sees that the desired state changed.

use std::fmt;

use kube::core::{DynamicObject, GroupVersionKind};
use serde::{Serialize, Serializer};
use serde_json::Value;
use tenantry_crds::names::APPLIED_HASH_ANNOTATION;

use crate::compare::canonical_hash;

/// An object to apply. Its `Debug` and `Serialize` redact the data of a Secret.
#[derive(Clone, PartialEq)]
pub struct Manifest {
    /// Group, version and kind.
    pub kind: GroupVersionKind,
    /// The whole desired object.
    pub object: DynamicObject,
}

impl Manifest {
    /// The manifest of an object as a builder wrote it, with the annotation that carries its hash.
    ///
    /// A builder always writes `apiVersion`, `kind` and `metadata.name`; anything else is a bug of the builder.
    pub(crate) fn new(mut object: Value) -> Self {
        let hash = canonical_hash(&object);
        object["metadata"]["annotations"][APPLIED_HASH_ANNOTATION] = Value::String(hash);
        Self::bare(object)
    }

    /// A manifest without the hash: of a part of an object that belongs to a field manager of its own.
    pub(crate) fn bare(object: Value) -> Self {
        let object: DynamicObject = serde_json::from_value(object).expect("a builder writes metadata as the API has it");
        let types = object.types.as_ref().expect("a builder writes apiVersion and kind");
        let kind = GroupVersionKind::try_from(types).expect("a builder writes a well-formed apiVersion");
        Self { kind, object }
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether the live object is as this manifest was applied, or was edited since: what carries its hash.
    pub(crate) fn is_applied_to(&self, live: &DynamicObject) -> bool {
        let hash = |object: &DynamicObject| object.metadata.annotations.as_ref()?.get(APPLIED_HASH_ANNOTATION).cloned();
        hash(&self.object).is_some_and(|own| hash(live) == Some(own))
    }

    /// The object's namespace; none for a cluster-scoped kind.
    pub fn namespace(&self) -> Option<&str> {
        self.object.metadata.namespace.as_deref()
    }

    /// The object as JSON, with the data of a Secret replaced by `***`.
    fn redacted(&self) -> Value {
        let mut value = serde_json::to_value(&self.object).unwrap_or_default();
        if self.kind.kind == "Secret" {
            for field in ["data", "stringData"] {
                if let Some(entries) = value.get_mut(field).and_then(Value::as_object_mut) {
                    entries.values_mut().for_each(|entry| *entry = Value::String("***".to_owned()));
                }
            }
        }
        value
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Manifest({})", self.redacted())
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.redacted().serialize(serializer)
    }
}
