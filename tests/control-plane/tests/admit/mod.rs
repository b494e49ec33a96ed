//! What the API server refuses and accepts, by the rules in the definitions and the policies of the chart. Manifests are
//! written as a user writes them, and applied as `kubectl apply --server-side` does, mostly as a dry run.

mod admit_auth;
mod admit_class;
mod admit_credentials;
mod admit_group;
mod admit_promotion;
mod admit_release;
mod admit_slot;
mod admit_slot_contents;
mod charts;
mod examples;
mod reading;
mod rights;

use anyhow::{Context, Result};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};
use tenantry_harness::control_plane::ControlPlane;

/// A digest that an image may have.
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A name that no other test uses.
fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8])
}

/// `text`, each line indented by so many spaces: to set a part of a manifest into the rest.
fn indented(text: &str, spaces: usize) -> String {
    let margin = " ".repeat(spaces);
    text.trim_matches('\n').lines().map(|line| format!("{margin}{line}\n")).collect()
}

async fn client() -> Client {
    let control_plane = ControlPlane::shared().await.expect("the control plane starts");
    control_plane.client().await.expect("its kubeconfig is good")
}

fn kind_of(object: &DynamicObject) -> Result<ApiResource> {
    let kind = &object.types.as_ref().context("the manifest has no kind")?.kind;
    [
        ApiResource::erase::<ResourceGroup>(&()),
        ApiResource::erase::<ResourceGroupClass>(&()),
        ApiResource::erase::<Release>(&()),
        ApiResource::erase::<Slot>(&()),
    ]
    .into_iter()
    .find(|known| &known.kind == kind)
    .with_context(|| format!("{kind} is no kind of tenantry.dev"))
}

fn api(client: Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
    let kind = kind_of(object)?;
    Ok(match object.meta().namespace.as_deref() {
        Some(namespace) => Api::namespaced_with(client, namespace, &kind),
        None => Api::all_with(client, &kind),
    })
}

/// What the API server answers: the object as it would be stored, or its message.
async fn try_apply(manifest: &str, parameters: PatchParams) -> Result<DynamicObject, String> {
    let object: DynamicObject = serde_yaml_ng::from_str(manifest).expect("the manifest is YAML");
    let name = object.meta().name.clone().expect("the manifest has a name");
    let api = api(client().await, &object).expect("the manifest is of our API");
    match api.patch(&name, &parameters.validation_strict(), &Patch::Apply(&object)).await {
        Ok(stored) => Ok(stored),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(other) => panic!("the API server did not answer: {other}"),
    }
}

/// Asserts that a manifest is accepted, and stores nothing.
async fn accepted(manifest: &str) -> DynamicObject {
    match try_apply(manifest, PatchParams::apply("test").dry_run()).await {
        Ok(object) => object,
        Err(message) => panic!("refused: {message}\n{manifest}"),
    }
}

/// Asserts that a manifest is refused, with a message that holds `expected`.
async fn refused(manifest: &str, expected: &str) {
    match try_apply(manifest, PatchParams::apply("test").dry_run()).await {
        Ok(_) => panic!("accepted:\n{manifest}"),
        Err(message) => assert!(message.contains(expected), "refused, but by: {message}"),
    }
}

/// Stores an object until the end of the test's scope is reached and [`Stored::delete`] is called.
struct Stored {
    object: DynamicObject,
}

impl Stored {
    async fn apply(manifest: &str) -> Self {
        match try_apply(manifest, PatchParams::apply("test")).await {
            Ok(object) => Self { object },
            Err(message) => panic!("refused: {message}\n{manifest}"),
        }
    }

    async fn delete(self) {
        let name = self.object.meta().name.clone().expect("a stored object has a name");
        let api = api(client().await, &self.object).expect("it is of our API");
        api.delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
    }
}
