//! The operator's master key: 32 random bytes in a Secret of its namespace, from which every slot's passwords are derived.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use rand::Rng;
use tenantry_crds::ResourceGroup;
use tenantry_crds::names::{FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL, TEARDOWN_FINALIZER};
use tenantry_plan::{MasterKey, Observation, reasons};
use tokio::time::timeout;

use crate::caches::Caches;
use crate::error::Failure;

/// Name of the Secret.
pub const SECRET: &str = "tenantry-master-key";
/// Its key.
const KEY: &str = "key";
const LENGTH: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(3);

/// The key, once it has been read. It never changes while the operator runs, even if its Secret is lost.
pub struct MasterKeys {
    api: Api<Secret>,
    namespace: String,
    known: Mutex<Option<MasterKey>>,
}

impl MasterKeys {
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.to_owned(), known: Mutex::new(None) }
    }

    /// The key: as it is known, or from its Secret.
    pub async fn get(&self) -> Observation<MasterKey> {
        if let Some(key) = self.lock().clone() {
            return Observation::Known(key);
        }
        let found = match self.read().await {
            Ok(Some(secret)) => self.key_of(&secret),
            Ok(None) => Err(Failure::new(
                reasons::MASTER_KEY_MISSING,
                format!(
                    "Secret {SECRET} in namespace {} is gone, and the slots' passwords are derived from it: restore it from its backup. What runs goes on running. If there is no backup, docs/operations/master-key.md says how to begin with another key",
                    self.namespace
                ),
            )),
            Err(failure) => Err(failure),
        };
        match found {
            Ok(key) => {
                *self.lock() = Some(key.clone());
                Observation::Known(key)
            }
            Err(Failure { reason, message }) => Observation::Failed { reason, message },
        }
    }

    /// Makes the key at a first installation: when its Secret does not exist, nor any Slot, nor a group that an operator has
    /// seen (all of whose Slots may be lost). Another key in the place of a
    /// lost one would lock every tenant out. Tries until there is a key or a Slot.
    pub async fn create_at_first_installation(&self, caches: &Caches) {
        let is_first = || {
            let seen = |group: &ResourceGroup| group.finalizers().iter().any(|finalizer| finalizer == TEARDOWN_FINALIZER);
            caches.slots.objects.is_empty() && !caches.groups.objects.all().iter().any(|group| seen(group))
        };
        while is_first() {
            match self.read_or_create().await {
                Ok(()) => return,
                Err(error) => tracing::error!(%error, secret = SECRET, "the master key cannot be made"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn read_or_create(&self) -> Result<(), Failure> {
        if self.read().await?.is_some() {
            return Ok(());
        }
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match timeout(TIMEOUT, self.api.create(&parameters, &fresh())).await {
            Ok(Ok(_)) => {
                tracing::info!(secret = SECRET, "made the master key: back its Secret up");
                Ok(())
            }
            // A former leader was faster.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(Failure::kubernetes(&format!("creating Secret {SECRET}"), &error)),
            Err(_) => Err(Failure::no_answer(&format!("creating Secret {SECRET}"), TIMEOUT)),
        }
    }

    async fn read(&self) -> Result<Option<Secret>, Failure> {
        let doing = format!("reading Secret {SECRET}");
        match timeout(TIMEOUT, self.api.get_opt(SECRET)).await {
            Ok(answer) => answer.map_err(|error| Failure::kubernetes(&doing, &error)),
            Err(_) => Err(Failure::no_answer(&doing, TIMEOUT)),
        }
    }

    fn key_of(&self, secret: &Secret) -> Result<MasterKey, Failure> {
        let bytes = secret.data.as_ref().and_then(|data| data.get(KEY)).map(|bytes| bytes.0.as_slice()).unwrap_or_default();
        MasterKey::from_bytes(bytes).map_err(|error| {
            Failure::new(reasons::MASTER_KEY_INVALID, format!("Secret {SECRET} in namespace {}, key {KEY}: {error}", self.namespace))
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<MasterKey>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh() -> Secret {
    let mut bytes = vec![0; LENGTH];
    rand::rng().fill_bytes(&mut bytes);
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())])),
            // Nothing that uninstalls the operator may take the key along.
            annotations: Some(BTreeMap::from([("helm.sh/resource-policy".to_owned(), "keep".to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(bytes))])),
        immutable: Some(true),
        ..Secret::default()
    }
}
