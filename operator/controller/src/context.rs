//! What every reconcile has at hand.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::core::DynamicObject;
use kube::{Client, ResourceExt};
use tenantry_crds::{Release, ResourceGroupClass};
use tenantry_plan::OperatorFacts;
use tokio::time::timeout;

use crate::apply::StepGate;
use crate::backoff::Backoff;
use crate::caches::Caches;
use crate::canary::Attempts;
use crate::confinement::Confinement;
use crate::error::Failure;
use crate::events::Events;
use crate::health::Health;
use crate::kinds::{Kind, NAMESPACE, SECRET};
use crate::metrics::Metrics;
use crate::observe::{DatabaseFactsCache, MasterKeys, Secrets, TurnTimes};
use crate::postgres::Servers;
use crate::report::Unsaid;

/// How long one request to the API server may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Shared by all controllers.
pub struct Context {
    pub client: Client,
    pub operator: OperatorFacts,
    pub caches: Arc<Caches>,
    pub confinement: Arc<Confinement>,
    pub attempts: Attempts,
    pub secrets: Secrets,
    pub master_keys: MasterKeys,
    pub servers: Servers,
    pub database_facts: DatabaseFactsCache,
    pub backoff: Backoff<String>,
    pub events: Events,
    pub unsaid: Unsaid,
    pub turn_times: TurnTimes,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub gate: StepGate,
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
            if kind == NAMESPACE && self.is_new(&object) {
                self.secrets.put_new_namespace(&object.name_any());
            }
            self.caches.put_written(kind, object);
        }
    }

    /// Whether a write has made the object: it was not known, and nothing has changed in it since its creation.
    fn is_new(&self, object: &DynamicObject) -> bool {
        let unknown = self.caches.of(NAMESPACE).is_some_and(|known| known.get("", &object.name_any()).is_none());
        let [only] = object.managed_fields() else { return false };
        unknown && only.time.is_some() && only.time == object.creation_timestamp()
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
