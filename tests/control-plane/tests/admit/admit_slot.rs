//! Slot: where it may be, and what of it never changes.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};

use super::{Stored, accepted, client, refused, unique};

fn slot(namespace: &str, name: &str, group: &str) -> String {
    format!(
        "
apiVersion: tenantry.dev/v1alpha1
kind: Slot
metadata:
  name: {name}
  namespace: {namespace}
spec:
  groupRef: {{ name: {group}, uid: 0d9f }}
  classRef: {{ name: standard }}
  size: small
  revision:
    release: v1
    services: {{ campaigns: {{ settings: {{ baseCurrency: EUR }} }} }}
"
    )
}

/// Makes a namespace, and deletes it after the test.
struct TestNamespace {
    api: Api<Namespace>,
    name: String,
}

impl TestNamespace {
    async fn create(name: String) -> Self {
        let api = Api::all(client().await);
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await.unwrap();
        Self { api, name }
    }

    async fn delete(self) {
        self.api.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_slot_lives_in_the_namespace_of_its_group_and_name() {
    let group = unique("pcasia");
    let namespace = TestNamespace::create(format!("{group}-dev")).await;
    accepted(&slot(&namespace.name, "dev", &group)).await;
    refused(&slot("default", "dev", &group), &format!("a Slot lives in the namespace <group>-<slot>: this one belongs into {group}-dev"))
        .await;
    refused(&slot(&namespace.name, "staging", &group), &format!("belongs into {group}-staging")).await;
    refused(&slot(&namespace.name, "dev", "acme"), "belongs into acme-dev").await;
    namespace.delete().await;
}

#[tokio::test]
async fn a_slot_belongs_to_its_group_for_ever() {
    let group = unique("pcasia");
    let namespace = TestNamespace::create(format!("{group}-dev")).await;
    let manifest = slot(&namespace.name, "dev", &group);
    let stored = Stored::apply(&manifest).await;
    accepted(&manifest.replace("size: small", "size: large")).await;
    accepted(&manifest.replace("release: v1", "release: v2")).await;
    refused(&manifest.replace("uid: 0d9f", "uid: another"), "a slot belongs to its group for ever").await;
    stored.delete().await;
    namespace.delete().await;
}

#[tokio::test]
async fn a_slot_object_is_named_as_a_slot() {
    refused(&slot("default", "my-dev", "pcasia"), "metadata.name must be the slot's").await;
}
