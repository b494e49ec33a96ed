//! What a slot should run, looked up and checked: with this in hand, no builder can fail.

use std::collections::BTreeMap;

use serde_json::Value;
use tenantry_contract::{AuthConfiguration, DatabaseConfiguration};
use tenantry_crds::{Auth, CredentialRotation, CredentialSource, Release, ReleasedService, ResourceGroupClass, Slot, SlotSize};

use super::placement::{self, Placement};
use super::user_credentials;
use crate::objects::cache;
use crate::{SlotFacts, SlotIdentity, Stall, reasons, settings};

/// Connections of a service's migration login: one for the lock, one for the work, and as many for one that is replaced.
pub(crate) const MIGRATION_CONNECTIONS: u32 = 4;
/// Names that a service may not have, since objects of these names are the slot's own or Kubernetes'.
const RESERVED: [&str; 2] = [cache::NAME, "default"];

/// What a slot should run.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    /// The slot's class.
    pub(crate) class: &'a ResourceGroupClass,
    /// The slot's size.
    pub(crate) size: &'a SlotSize,
    /// Where its database is, or is to be.
    pub(crate) placement: Placement<'a>,
    /// Name of the release.
    pub(crate) release: &'a str,
    /// The services, by name.
    pub(crate) services: Vec<Service<'a>>,
    /// Who and where the database is.
    pub(crate) identity: SlotIdentity,
    /// UID of the Slot, which holds the database.
    pub(crate) holder: &'a str,
    /// When its logins are replaced.
    pub(crate) rotation: Option<&'a CredentialRotation>,
    /// Whose tokens its services accept.
    pub(crate) accepted: Option<&'a Auth>,
}

/// A service of the revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// What the release says of it.
    pub(crate) released: &'a ReleasedService,
    /// Its settings, valid.
    pub(crate) settings: &'a Value,
    /// The Secrets that the group names for its credentials, by their names.
    pub(crate) credentials: &'a BTreeMap<String, CredentialSource>,
}

impl<'a> Content<'a> {
    /// None for a slot without a revision.
    pub(crate) fn of(slot: &'a Slot, facts: &'a SlotFacts) -> Option<Result<Self, Stall>> {
        let revision = slot.spec.revision.as_ref()?;
        Some(Self::checked(slot, facts, revision))
    }

    fn checked(slot: &'a Slot, facts: &'a SlotFacts, revision: &'a tenantry_crds::Revision) -> Result<Self, Stall> {
        let class = facts.class.as_ref().ok_or_else(|| unknown_class(&slot.spec.class_ref.name))?;
        let size = class.spec.sizes.get(&slot.spec.size).ok_or_else(|| unknown_size(&slot.spec.size, class))?;
        let release = facts.release.as_ref().ok_or_else(|| unknown_release(&revision.release))?;
        let services = revision
            .services
            .iter()
            .map(|(name, service)| {
                if RESERVED.contains(&name.as_str()) {
                    return Err(reserved(name));
                }
                let released = release.spec.services.get(name).ok_or_else(|| unknown_service(name, release))?;
                settings::check(name, &service.settings, &released.settings, &revision.release)?;
                let service = Service { name, released, settings: &service.settings, credentials: &service.credentials };
                user_credentials::unknown(&service, &revision.release).map_or(Ok(service), Err)
            })
            .collect::<Result<Vec<_>, Stall>>()?;
        let identity = SlotIdentity::of(slot, &facts.operator.cluster_uid);
        let mut content = Self {
            class,
            size,
            placement: Placement::NotNeeded,
            release: &revision.release,
            services,
            identity,
            holder: slot.metadata.uid.as_deref().unwrap_or_default(),
            rotation: slot.spec.credential_rotation.as_ref(),
            accepted: slot.spec.auth.as_ref(),
        };
        content.placement = placement::of(slot, facts, &content);
        Ok(content)
    }

    /// The services that have a schema.
    pub(crate) fn with_database(&self) -> impl Iterator<Item = &Service<'a>> {
        self.services.iter().filter(|service| service.released.needs.database.is_some())
    }

    /// Whether any service needs the cache.
    pub(crate) fn has_cache(&self) -> bool {
        self.services.iter().any(|service| service.released.needs.cache.is_some())
    }

    /// Connections of a service's runtime login: what the size says, and at least one for every process.
    pub(crate) fn runtime_connections(&self, service: &Service<'_>) -> u32 {
        self.size.database.connections_per_service.max(self.processes(service))
    }

    /// Connections of the slot's database: of all its logins together.
    pub(crate) fn connections(&self) -> u32 {
        self.with_database().map(|service| self.runtime_connections(service) + MIGRATION_CONNECTIONS).sum()
    }

    /// How `api` and `worker` reach the database.
    pub(crate) fn runtime_database(&self, service: &Service<'_>) -> Option<DatabaseConfiguration> {
        self.database(service, self.runtime_connections(service) / self.processes(service).max(1))
    }

    /// How `migrate` reaches the database.
    pub(crate) fn migration_database(&self, service: &Service<'_>) -> Option<DatabaseConfiguration> {
        self.database(service, MIGRATION_CONNECTIONS / 2)
    }

    /// Whose tokens a service accepts; none where that is nobody's, or where the service is of a release that does not know of
    /// issuers: an unknown key in its configuration would keep it from starting.
    pub(crate) fn auth(&self, service: &Service<'_>) -> Option<AuthConfiguration> {
        service.released.needs.auth.as_ref()?;
        self.accepted.map(AuthConfiguration::from)
    }

    fn database(&self, service: &Service<'_>, max_connections: u32) -> Option<DatabaseConfiguration> {
        let server = self.placement.server()?;
        service.released.needs.database.as_ref().map(|_| DatabaseConfiguration {
            host: server.host.clone(),
            port: server.port,
            name: self.identity.database(),
            tls: server.tls,
            max_connections,
        })
    }

    /// The most processes of a service at a time, the one more of a roll-out included.
    fn processes(&self, service: &Service<'_>) -> u32 {
        let roles = &service.released.roles;
        let api = roles.api.as_ref().map(|_| self.size.api.most_replicas());
        let worker = roles.worker.as_ref().map(|_| self.size.worker.most_replicas());
        api.into_iter().chain(worker).map(|replicas| replicas + 1).sum()
    }
}

fn names<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn unknown_class(class: &str) -> Stall {
    let message = format!("there is no ResourceGroupClass {class}; create it, or name another one in spec.classRef of the group");
    Stall::new(reasons::UNKNOWN_CLASS, message)
}

fn unknown_size(size: &str, class: &ResourceGroupClass) -> Stall {
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let message = format!("the class {name} has no size {size}; write one of: {}", names(class.spec.sizes.keys()));
    Stall::new(reasons::UNKNOWN_SIZE, message)
}

fn unknown_release(release: &str) -> Stall {
    let message = format!("there is no Release {release}; create it, or name one that exists (kubectl get releases.tenantry.dev)");
    Stall::new(reasons::UNKNOWN_RELEASE, message)
}

fn unknown_service(service: &str, release: &Release) -> Stall {
    let name = release.metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "the release {name} has no service {service}; it has: {}. Remove it from spec.services of the group, or take another release",
        names(release.spec.services.keys())
    );
    Stall::new(reasons::UNKNOWN_SERVICE, message)
}

fn reserved(service: &str) -> Stall {
    let message = format!("a service may not be called {service}, a slot has objects of that name; rename it in a new release");
    Stall::new(reasons::RESERVED_SERVICE_NAME, message)
}
