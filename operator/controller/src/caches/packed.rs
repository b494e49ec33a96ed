//! How the caches hold what the operator owns: at a thousand groups that is a hundred thousand objects, of which one slot's
//! few are looked at at a time. So each is kept as compressed JSON, and read when it is asked for.
//!
//! The objects of one name differ between slots in little more than names and UIDs: each is compressed against the first of
//! its kind and name that was seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::DynamicObject;
use kube::{Resource, ResourceExt};

use super::objects::Kept;

/// How many dictionaries a kind may have. Names that carry a hash would else make one each.
const DICTIONARIES: usize = 64;

/// A compressed object. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Packed {
    object: Arc<Compressed>,
    version: Option<u64>,
}

#[derive(Debug)]
struct Compressed {
    uid: Option<String>,
    length: usize,
    bytes: Box<[u8]>,
    dictionary: Arc<[u8]>,
}

impl Packed {
    /// The object, as it was packed.
    pub fn unpack(&self) -> DynamicObject {
        let Compressed { length, bytes, dictionary, .. } = &*self.object;
        let json = lz4_flex::block::decompress_with_dict(bytes, *length, dictionary).expect("it was compressed with that dictionary");
        let mut object: DynamicObject = serde_json::from_slice(&json).expect("it was written by the same type");
        object.metadata.resource_version = self.version.map(|version| version.to_string());
        object
    }
}

impl Kept for Packed {
    fn uid(&self) -> Option<&str> {
        self.object.uid.as_deref()
    }

    fn version(&self) -> Option<u64> {
        self.version
    }

    /// Whether only the resource version differs: a status that nobody looks at changed then, and nothing else.
    fn says_the_same(&self, other: &Self) -> bool {
        let (one, other) = (&*self.object, &*other.object);
        Arc::ptr_eq(&one.dictionary, &other.dictionary) && one.length == other.length && one.bytes == other.bytes
    }
}

/// Packs the objects of one kind.
#[derive(Debug, Default)]
pub struct Packer {
    dictionaries: Mutex<HashMap<String, Arc<[u8]>>>,
}

impl Packer {
    /// Packs an object. What no plan looks at has been taken off it before.
    pub fn pack(&self, mut object: DynamicObject) -> Packed {
        let version = object.metadata.resource_version.take().and_then(|version| version.parse().ok());
        let uid = object.uid();
        let json = serde_json::to_vec(&object).expect("an object of the API is JSON");
        let dictionary = self.dictionary(object.meta().name.as_deref().unwrap_or_default(), &json);
        let bytes = lz4_flex::block::compress_with_dict(&json, &dictionary).into_boxed_slice();
        Packed { object: Arc::new(Compressed { uid, length: json.len(), bytes, dictionary }), version }
    }

    fn dictionary(&self, name: &str, json: &[u8]) -> Arc<[u8]> {
        let mut dictionaries = self.dictionaries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = dictionaries.get(name) {
            return Arc::clone(known);
        }
        // The one without a name serves all names that came too late.
        let name = if dictionaries.len() < DICTIONARIES { name } else { "" };
        Arc::clone(dictionaries.entry(name.to_owned()).or_insert_with(|| json.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, version: &str, text: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": format!("uid-of-{namespace}"),
                "resourceVersion": version,
                "labels": { "app.kubernetes.io/managed-by": "tenantry", "tenantry.dev/group": namespace },
            },
            "data": { "service.json": text, "other": "x".repeat(300) },
        }))
        .unwrap()
    }

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        let packer = Packer::default();
        for (namespace, name) in [("a-dev", "one"), ("b-dev", "one"), ("b-dev", "two")] {
            let object = object(namespace, name, "7", "text");
            assert_eq!(packer.pack(object.clone()).unpack(), object);
        }
    }

    #[test]
    fn a_further_object_of_a_name_takes_little_room() {
        let packer = Packer::default();
        packer.pack(object("a-dev", "one", "7", "text"));
        let packed = packer.pack(object("b-dev", "one", "8", "text"));
        assert!(packed.object.bytes.len() * 5 < packed.object.length, "{} of {}", packed.object.bytes.len(), packed.object.length);
    }

    #[test]
    fn names_without_end_do_not_make_dictionaries_without_end() {
        let packer = Packer::default();
        for index in 0..1000 {
            let object = object("a-dev", &format!("name-{index}"), "7", "text");
            assert_eq!(packer.pack(object.clone()).unpack(), object);
        }
        assert!(packer.dictionaries.lock().unwrap().len() <= DICTIONARIES + 1);
    }

    #[test]
    fn another_resource_version_alone_says_the_same() {
        let packer = Packer::default();
        let one = packer.pack(object("a-dev", "one", "7", "text"));
        assert!(one.says_the_same(&packer.pack(object("a-dev", "one", "8", "text"))));
        assert!(!one.says_the_same(&packer.pack(object("a-dev", "one", "8", "texts"))));
        assert_eq!(packer.pack(object("a-dev", "one", "8", "text")).version(), Some(8));
    }
}
