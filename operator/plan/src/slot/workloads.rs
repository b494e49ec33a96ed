//! Configurations, deployments and services of the revision; and the end of what no revision wants any more.

use std::collections::BTreeMap;

use tenantry_crds::RoleSize;
use tenantry_crds::names::SERVICE_LABEL;

use super::content::{Content, Service};
use super::credentials::Credentials;
use super::data::Gate;
use super::health;
use super::probe::is_probe;
use super::user_credentials::{self, UserSecret};
use crate::live::{Live, label, name_of};
use crate::objects::deployment::Inputs;
use crate::objects::pod::{HTTP_PORT, Role};
use crate::objects::{Place, autoscaler, budget, cache, configuration, deployment, rbac, secret, service};
use crate::{Manifest, Step, Track, TrackName, Wait, reasons};

/// Goes first: what the Deployment's manifest states again, an autoscaler would change.
const PRUNED_BEFORE: [&str; 1] = [autoscaler::KIND];
/// Kinds of which everything undesired goes at once: it would only use up the quota.
const PRUNED_AT_ONCE: [&str; 4] = ["Deployment", "Job", "Service", "PodDisruptionBudget"];
/// Kinds that pods of a former revision mount until they are gone.
const PRUNED_AFTER: [&str; 2] = ["ConfigMap", "Secret"];
/// The last: as long as a service's account is there, its Secrets are looked for.
const PRUNED_LAST: [&str; 1] = ["ServiceAccount"];

pub(crate) fn workloads(
    place: &Place,
    content: &Content<'_>,
    credentials: &BTreeMap<String, Credentials>,
    user_secrets: &BTreeMap<String, UserSecret>,
    live: &Live<'_>,
    gate: Gate,
) -> Track {
    let mut track = Track::new(TrackName::Workloads);
    track.stall = user_credentials::stall(content, &place.namespace(), user_secrets);
    if gate == Gate::Shut {
        let message = "the revision's pods come once the data services and the schema are ready; what runs is left as it is";
        return track.waiting(Wait::new(reasons::AWAITING_DATA, message));
    }
    let desired = Desired::of(place, content, credentials, user_secrets, live);
    let (before, rolled) = (live.towards(&desired.before), live.towards(&desired.rolled));
    track.wait = before.wait().or_else(|| rolled.wait());
    let names = desired.names(content, live);
    track.then(before.replaced.into_iter().chain(rolled.replaced).collect());
    track.then(live.prune(&PRUNED_BEFORE, &names));
    track.then(before.applied);
    track.then(desired.handed_over(live));
    track.then(rolled.applied);
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
    /// What the deployments are of, in their order.
    roles: Vec<Deployed>,
}

/// The role that a Deployment is of.
struct Deployed {
    service: String,
    role: Role,
    /// Where an autoscaler owns the number of pods: the fewest.
    fewest: Option<i64>,
}

impl Desired {
    fn of(
        place: &Place,
        content: &Content<'_>,
        credentials: &BTreeMap<String, Credentials>,
        user_secrets: &BTreeMap<String, UserSecret>,
        live: &Live<'_>,
    ) -> Self {
        let mut desired = Self::default();
        for service in &content.services {
            let (database, auth) = (content.runtime_database(service), content.auth(service));
            let configuration = configuration::configuration(place, service, content.release, database, auth);
            let credential = credentials.get(service.name).map(|found| found.current.note.fingerprint.as_str());
            let mounted = |role: Role| user_credentials::mounted(service, role, user_secrets, live);
            let inputs = Inputs { config_map: configuration.name(), credential, user_credentials: &[] };
            let roles = &service.released.roles;
            if let Some(api) = &roles.api {
                desired.before.push(service::service(place, service.name, HTTP_PORT, Role::Api, api.port));
                desired.add(
                    place,
                    service,
                    Role::Api,
                    api.port,
                    &content.size.api,
                    Inputs { user_credentials: &mounted(Role::Api), ..inputs },
                );
            }
            if let Some(worker) = &roles.worker {
                desired.add(
                    place,
                    service,
                    Role::Worker,
                    worker.metrics_port,
                    &content.size.worker,
                    Inputs { user_credentials: &mounted(Role::Worker), ..inputs },
                );
            }
            desired.before.push(configuration);
        }
        desired
    }

    fn add(&mut self, place: &Place, service: &Service<'_>, role: Role, port: u16, size: &RoleSize, inputs: Inputs<'_>) {
        if size.most_replicas() > 1 {
            self.before.push(budget::disruption_budget(place, service.name, role));
        }
        if let Some(autoscaling) = &size.autoscaling {
            self.before.push(autoscaler::autoscaler(place, service.name, role, size, autoscaling));
        }
        self.rolled.push(deployment::deployment(place, service, role, port, size, inputs));
        let fewest = size.autoscaling.as_ref().map(|_| size.replicas.into());
        self.roles.push(Deployed { service: service.name.to_owned(), role, fewest });
    }

    /// The numbers of pods that the operator sets last: of Deployments whose manifests state them no longer, as they are; and
    /// the fewest, where there are fewer. An autoscaler leaves a Deployment with none alone.
    fn handed_over(&self, live: &Live<'_>) -> Vec<Step> {
        let deployments = self.rolled.iter().zip(&self.roles);
        let autoscaled = deployments.filter_map(|(manifest, deployed)| Some((live.get("Deployment", manifest.name())?, deployed.fewest?)));
        autoscaled
            .filter(|(live, _)| live.metadata.deletion_timestamp.is_none())
            .filter_map(|(live, fewest)| {
                let replicas = live.data["spec"]["replicas"].as_i64().unwrap_or(1);
                (!autoscaler::is_autoscaled(&live.metadata) || replicas < fewest).then(|| autoscaler::hand_over(live, replicas.max(fewest)))
            })
            .collect()
    }

    /// The first roll-out that is not over, and what hangs.
    fn unfinished(&self, live: &Live<'_>) -> Option<Wait> {
        let deployments = self.rolled.iter().zip(&self.roles);
        deployments.into_iter().find_map(|(manifest, deployed)| {
            let unfinished = health::unfinished(live.get("Deployment", manifest.name())?, deployed.fewest)?;
            Some(health::trouble(live.pods_of(&deployed.service, deployed.role.name())).unwrap_or(unfinished))
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
        live.owned("Job").filter(|job| is_probe(job)).for_each(|job| add("Job", name_of(job).to_owned()));
        if content.has_cache() {
            for kind in ["Deployment", "Service", secret::KIND, rbac::ACCOUNT_KIND] {
                add(kind, cache::NAME.to_owned());
            }
        }
        names
    }
}
