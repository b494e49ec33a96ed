//! Making a Release of images and of what the services say of themselves.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::files::ContentHash;
use crate::images::Program;
use crate::process;

/// A Release, ready to be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Its name, which says what is in it.
    pub name: String,
    services: Map<String, Value>,
}

impl Release {
    /// A release of these entries, by name of the service.
    pub fn of(services: Map<String, Value>) -> Self {
        let mut hash = ContentHash::default();
        for (name, entry) in &services {
            hash.add(name, entry.to_string().as_bytes());
        }
        Self { name: format!("v{}-{}", env!("CARGO_PKG_VERSION"), &hash.hex()[..8]), services }
    }

    /// The object.
    pub fn manifest(&self) -> Value {
        json!({
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "Release",
            "metadata": { "name": self.name },
            "spec": { "services": self.services },
        })
    }

    /// The port of a service's API, if it has one.
    pub fn api_port(&self, service: &str) -> Option<u16> {
        let port = self.services.get(service)?.pointer("/roles/api/port")?;
        u16::try_from(port.as_u64()?).ok()
    }
}

/// A service's entry of a release: its descriptor, asked of its own binary, and its image.
pub fn entry(program: Program, binaries: &Path, image: &str) -> Result<Value> {
    let mut command = Command::new(binaries.join(program.name));
    command.arg("describe");
    let printed = process::output(&mut command).with_context(|| format!("{} does not describe itself", program.name))?;
    entry_of(&printed, program.name, image)
}

fn entry_of(descriptor: &[u8], name: &str, image: &str) -> Result<Value> {
    let descriptor: Value =
        serde_json::from_slice(descriptor).with_context(|| format!("`{name} describe` printed something else than JSON"))?;
    let Value::Object(mut entry) = descriptor else {
        bail!("`{name} describe` printed something else than an object");
    };
    if entry.remove("name").as_ref().and_then(Value::as_str) != Some(name) {
        bail!("`{name} describe` speaks of another service");
    }
    entry.insert("image".to_owned(), image.into());
    Ok(Value::Object(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: &[u8] = br#"{"name":"greeter","roles":{"api":{"port":8080}},"needs":{},"settings":{"type":"object"}}"#;

    fn release(image: &str) -> Release {
        let entry = entry_of(DESCRIPTOR, "greeter", image).unwrap();
        Release::of(Map::from_iter([("greeter".to_owned(), entry)]))
    }

    #[test]
    fn a_release_is_named_for_what_is_in_it() {
        assert_eq!(release("r@sha256:1").name, release("r@sha256:1").name);
        assert_ne!(release("r@sha256:1").name, release("r@sha256:2").name);
        assert!(release("r@sha256:1").name.starts_with(concat!("v", env!("CARGO_PKG_VERSION"), "-")));
    }

    #[test]
    fn an_entry_is_the_descriptor_with_the_image_and_without_the_name() {
        let release = release("r@sha256:1");
        let entry = &release.manifest()["spec"]["services"]["greeter"];
        assert_eq!(entry["image"], "r@sha256:1");
        assert_eq!(entry["name"], Value::Null);
        assert_eq!(release.api_port("greeter"), Some(8080));
        assert_eq!(release.api_port("campaigns"), None);
    }

    #[test]
    fn a_binary_that_describes_another_service_is_refused() {
        let error = entry_of(DESCRIPTOR, "campaigns", "r").unwrap_err();
        assert!(error.to_string().contains("another service"));
    }
}
