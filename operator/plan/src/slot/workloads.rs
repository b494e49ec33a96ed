//! Configurations, deployments and services of the revision; and the end of what no revision wants any more.

use tenantry_crds::RoleSize;
use tenantry_crds::names::SERVICE_LABEL;

use super::content::{Content, Service};
use super::data::Gate;
use super::health;
use crate::live::{Live, label, name_of};
use crate::objects::pod::Role;
use crate::objects::{Place, budget, cache, configuration, deployment, rbac, secret, service};
use crate::{Manifest, Track, TrackName, Wait, reasons};

/// Kinds of which everything undesired goes at once: it would only use up the quota.
const PRUNED_AT_ONCE: [&str; 4] = ["Deployment", "Job", "Service", "PodDisruptionBudget"];
/// Kinds that pods of a former revision mount until they are gone.
const PRUNED_AFTER: [&str; 2] = ["ConfigMap", "Secret"];
/// The last: as long as a service's account is there, its Secrets are looked for.
const PRUNED_LAST: [&str; 1] = ["ServiceAccount"];

pub(crate) fn workloads(place: &Place, content: &Content<'_>, live: &Live<'_>, gate: Gate) -> Track {
    let mut track = Track::new(TrackName::Workloads);
    if gate == Gate::Shut {
        let message = "the revision's pods come once the data services and the schema are ready; what runs is left as it is";
        return track.waiting(Wait::new(reasons::AWAITING_DATA, message));
    }
    let desired = Desired::of(place, content);
    let (before, rolled) = (live.towards(&desired.before), live.towards(&desired.rolled));
    track.wait = before.wait().or_else(|| rolled.wait());
    track.then(before.replaced.into_iter().chain(rolled.replaced).collect());
    track.then(before.applied);
    track.then(rolled.applied);

    let names = desired.names(content, live);
    track.then(live.prune(&PRUNED_AT_ONCE, &names));
    if !track.waves.is_empty() {
        return track;
    }
    track.wait = track.wait.or_else(|| desired.unfinished(live));
    if track.wait.is_none() {
        track.then(live.prune(&PRUNED_AFTER, &names));
        track.then(live.prune(&PRUNED_LAST, &names));
    }
    track
}

/// What the revision wants.
#[derive(Default)]
struct Desired {
    /// What pods need before they come.
    before: Vec<Manifest>,
    /// Deployments.
    rolled: Vec<Manifest>,
    /// The roles that the deployments are of.
    roles: Vec<(String, Role)>,
}

impl Desired {
    fn of(place: &Place, content: &Content<'_>) -> Self {
        let mut desired = Self::default();
        for service in &content.services {
            let configuration = configuration::configuration(place, service, content.release, content.runtime_database(service));
            let roles = &service.released.roles;
            if let Some(api) = &roles.api {
                desired.before.push(service::service(place, service.name, "http", Role::Api, api.port));
                desired.add(place, service, Role::Api, api.port, &content.size.api, configuration.name());
            }
            if let Some(worker) = &roles.worker {
                desired.add(place, service, Role::Worker, worker.metrics_port, &content.size.worker, configuration.name());
            }
            desired.before.push(configuration);
        }
        desired
    }

    fn add(&mut self, place: &Place, service: &Service<'_>, role: Role, port: u16, size: &RoleSize, configuration: &str) {
        if size.replicas > 1 {
            self.before.push(budget::disruption_budget(place, service.name, role));
        }
        self.rolled.push(deployment::deployment(place, service, role, port, size, configuration));
        self.roles.push((service.name.to_owned(), role));
    }

    /// The first roll-out that is not over, and what hangs.
    fn unfinished(&self, live: &Live<'_>) -> Option<Wait> {
        let deployments = self.rolled.iter().zip(&self.roles);
        deployments.into_iter().find_map(|(manifest, (service, role))| {
            let unfinished = health::unfinished(live.get("Deployment", manifest.name())?)?;
            Some(health::trouble(live.pods_of(service, role.name())).unwrap_or(unfinished))
        })
    }

    /// Kind and name of all that is not to be pruned, what other tracks want included.
    fn names(&self, content: &Content<'_>, live: &Live<'_>) -> Vec<(String, String)> {
        let own = self.before.iter().chain(&self.rolled);
        let mut names: Vec<(String, String)> = own.map(|manifest| (manifest.kind.kind.clone(), manifest.name().to_owned())).collect();
        let mut add = |kind: &str, name: String| names.push((kind.to_owned(), name));
        for service in &content.services {
            add(rbac::ACCOUNT_KIND, service.name.to_owned());
            if service.released.needs.database.is_some() {
                add(secret::KIND, secret::database_name(service.name));
                add(secret::KIND, secret::migration_name(service.name));
            }
            if service.released.roles.api.is_some() {
                add(secret::KIND, secret::api_name(service.name));
            }
        }
        // The Jobs of services with a schema are the data track's.
        let migrated: Vec<&str> = content.with_database().map(|service| service.name).collect();
        let jobs = live.owned("Job").filter(|job| label(job, SERVICE_LABEL).is_some_and(|service| migrated.contains(&service)));
        jobs.for_each(|job| add("Job", name_of(job).to_owned()));
        if content.has_cache() {
            for kind in ["Deployment", "Service", secret::KIND, rbac::ACCOUNT_KIND] {
                add(kind, cache::NAME.to_owned());
            }
        }
        names
    }
}
