//! What every reconcile has at hand.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::DynamicObject;
use tenantry_crds::{Release, ResourceGroupClass};
use tenantry_plan::OperatorFacts;
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::caches::Caches;
use crate::error::Failure;
use crate::events::Events;
use crate::health::Health;
use crate::kinds::{Kind, SECRET};
use crate::metrics::Metrics;
use crate::observe::{DatabaseFactsCache, MasterKeys, Secrets};
use crate::postgres::Servers;

/// How long one request to the API server may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Shared by all controllers.
pub struct Context {
    pub client: Client,
    pub operator: OperatorFacts,
    pub caches: Arc<Caches>,
    pub secrets: Secrets,
    pub master_keys: MasterKeys,
    pub servers: Servers,
    pub database_facts: DatabaseFactsCache,
    pub backoff: Backoff<String>,
    pub events: Events,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub secret_interval: Duration,
    pub resync_interval: Duration,
}

impl Context {
    pub fn class(&self, name: &str) -> Option<ResourceGroupClass> {
        self.caches.classes.objects.get("", name).map(|class| (*class).clone())
    }

    pub fn release(&self, name: &str) -> Option<Release> {
        self.caches.releases.objects.get("", name).map(|release| (*release).clone())
    }

    /// Takes in what a write of the operator returned, before the watch reports it.
    pub fn put_written(&self, kind: Kind, object: DynamicObject) {
        if kind == SECRET {
            self.secrets.put_written(object);
        } else {
            self.caches.put_written(kind, object);
        }
    }

    /// A request to the API server, with a time limit.
    ///
    /// # Errors
    /// When it fails or is not answered in time.
    pub async fn in_time<T>(&self, doing: &str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
        match timeout(REQUEST_TIMEOUT, request).await {
            Ok(answer) => answer.map_err(|error| Failure::kubernetes(doing, &error)),
            Err(_) => Err(Failure::no_answer(doing, REQUEST_TIMEOUT)),
        }
    }
}
