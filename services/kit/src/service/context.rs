//! What a process of a service has at hand.

use std::sync::Arc;

use tenantry_contract::Identity;

use super::ServiceError;
use crate::cache::Cache;
use crate::credentials::CredentialRoot;
use crate::database::Database;
use crate::shutdown::{Readiness, Shutdown};
use crate::telemetry::Metrics;

/// A process's parts. Clones share them.
#[derive(Debug)]
pub struct Context<S> {
    /// Group, slot, service, release.
    pub identity: Arc<Identity>,
    /// What the group set.
    pub settings: Arc<S>,
    /// The process's metrics.
    pub metrics: Metrics,
    /// Whether the process was asked to stop.
    pub shutdown: Shutdown,
    /// Whether the process is ready.
    pub readiness: Readiness,
    /// Where its credentials are, those of the tenant's own ([`super::Service::credentials`]) among them.
    pub credentials: CredentialRoot,
    pub(super) database: Option<Database>,
    pub(super) cache: Option<Cache>,
}

impl<S> Context<S> {
    /// The service's database.
    ///
    /// # Errors
    /// When the service declares no schema.
    pub fn database(&self) -> Result<&Database, ServiceError> {
        self.database.as_ref().ok_or(ServiceError::NotDeclared("a schema"))
    }

    /// The slot's cache.
    ///
    /// # Errors
    /// When the service does not declare that it needs one.
    pub fn cache(&self) -> Result<&Cache, ServiceError> {
        self.cache.as_ref().ok_or(ServiceError::NotDeclared("a cache"))
    }
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self {
            identity: Arc::clone(&self.identity),
            settings: Arc::clone(&self.settings),
            metrics: self.metrics.clone(),
            shutdown: self.shutdown.clone(),
            readiness: self.readiness.clone(),
            credentials: self.credentials.clone(),
            database: self.database.clone(),
            cache: self.cache.clone(),
        }
    }
}
