//! Migrations: run where the recorded schema version is below the release's, one at a time for each service. A version that
//! is equal or higher needs none: the release's code is the older one then, and whether it still runs on the newer schema,
//! the release that made that schema had to say (`runsOnFrom`) before it was rolled out.

use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;

use super::content::{Content, Service};
use super::health;
use crate::live::{Live, apply, id_of, label, name_of};
use crate::names::schema;
use crate::objects::pod::Role;
use crate::objects::{Place, configuration, migration};
use crate::{DatabaseFacts, Stall, Step, Wait, reasons};
use tenantry_crds::names::{ROLE_LABEL, SERVICE_LABEL};

/// What the migrations of all services need.
#[derive(Debug, Default)]
pub(crate) struct Migrations {
    /// Jobs that are of no use any more, and failed ones that are to stay.
    pub(crate) ended: Vec<Step>,
    /// Configurations of the Jobs.
    pub(crate) configurations: Vec<Step>,
    /// Jobs to start.
    pub(crate) jobs: Vec<Step>,
    /// The first migration that has to end.
    pub(crate) wait: Option<Wait>,
    /// The first migration that failed.
    pub(crate) stall: Option<Stall>,
}

impl Migrations {
    /// Whether every schema is what the release needs.
    pub(crate) fn are_done(&self) -> bool {
        self.wait.is_none() && self.stall.is_none()
    }
}

/// The migrations that are missing.
pub(crate) fn migrations(place: &Place, content: &Content<'_>, facts: &DatabaseFacts, live: &Live<'_>) -> Migrations {
    let mut migrations = Migrations::default();
    for service in content.with_database() {
        let recorded = facts.schemas.get(&schema(service.name)).and_then(|schema| schema.version);
        let target = service.released.schema.as_ref().map(|schema| schema.version);
        if recorded >= target {
            let of_no_use = jobs_of(live, service).filter(|job| !is_running(job, live) && !goes(job, &service.released.image));
            migrations.ended.extend(of_no_use.filter(is_there).map(|job| Step::Delete(id_of(job))));
        } else {
            migrate(place, content, service, recorded, live, &mut migrations);
        }
    }
    migrations
}

fn migrate(
    place: &Place,
    content: &Content<'_>,
    service: &Service<'_>,
    recorded: Option<u32>,
    live: &Live<'_>,
    migrations: &mut Migrations,
) {
    let configuration = configuration::configuration(place, service, content.release, content.migration_database(service), None);
    let job = migration::job(place, service, recorded, &content.size.migrate, configuration.name());
    let others: Vec<_> = jobs_of(live, service).filter(|other| name_of(other) != job.name()).collect();
    if let Some(running) = others.iter().find(|other| is_running(other, live)) {
        let message = format!(
            "an earlier migration of {} still runs (Job {}); this release's begins once it has ended",
            service.name,
            name_of(running)
        );
        migrations.wait.get_or_insert(Wait::new(reasons::MIGRATING, message));
        return;
    }
    migrations.ended.extend(others.into_iter().filter(is_there).map(|other| Step::Delete(id_of(other))));
    let Some(found) = live.get("Job", job.name()) else {
        migrations.configurations.extend(live.towards(&[configuration]).applied);
        migrations.jobs.push(apply(&job));
        migrations.wait.get_or_insert(Wait::new(reasons::MIGRATING, message(service, recorded, "is being started")));
        return;
    };
    if let Some(failure) = health::job_condition(found, "Failed") {
        if migration::goes_by_itself(found) {
            migrations.ended.push(apply(&migration::kept(job)));
        }
        let cause = last_words(live, found).unwrap_or_else(|| failure.to_owned());
        let message = format!(
            "the migration of {} failed: {}; what runs is left as it is. See its log (kubectl logs job/{name}), then delete the Job {name} \
             to have it tried again, or take another release",
            service.name,
            health::quoted(&cause),
            name = name_of(found),
        );
        migrations.stall.get_or_insert(Stall::new(reasons::MIGRATION_FAILED, message));
        return;
    }
    let state = match health::trouble(pods_of_job(live, found)) {
        Some(trouble) => format!("cannot go on: {}", trouble.message),
        None if health::job_condition(found, "Complete").is_some() => "has ended, its version is not recorded yet".to_owned(),
        None => "runs".to_owned(),
    };
    migrations.wait.get_or_insert(Wait::new(reasons::MIGRATING, message(service, recorded, &state)));
}

fn message(service: &Service<'_>, recorded: Option<u32>, state: &str) -> String {
    let from = recorded.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
    let to = service.released.schema.as_ref().map_or(0, |schema| schema.version);
    format!("the migration of {} from schema version {from} to {to} {state}", service.name)
}

fn jobs_of<'l>(live: &Live<'l>, service: &Service<'_>) -> impl Iterator<Item = &'l DynamicObject> {
    live.owned("Job").filter(|job| label(job, SERVICE_LABEL) == Some(service.name) && label(job, ROLE_LABEL) == Some(Role::Migrate.name()))
}

fn is_there(job: &&DynamicObject) -> bool {
    job.metadata.deletion_timestamp.is_none()
}

/// Whether a container of the Job runs: it is not deleted then, a migration is left to end.
fn is_running(job: &DynamicObject, live: &Live<'_>) -> bool {
    pods_of_job(live, job).any(|pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        statuses.filter_map(|status| status.state.as_ref()).any(|state| state.running.is_some())
    })
}

/// Whether the cluster removes the Job when its time has come: it has succeeded, or is of the present release and about to, since
/// what it does is recorded before its pod has ended.
fn goes(job: &DynamicObject, image: &str) -> bool {
    let has = |condition| health::job_condition(job, condition).is_some();
    migration::goes_by_itself(job) && (has("Complete") || (migration::image(job) == Some(image) && !has("Failed")))
}

fn pods_of_job<'l>(live: &'l Live<'_>, job: &DynamicObject) -> impl Iterator<Item = &'l Pod> {
    let name = name_of(job).to_owned();
    live.pods()
        .iter()
        .filter(move |pod| pod.metadata.labels.as_ref().and_then(|labels| labels.get("batch.kubernetes.io/job-name")) == Some(&name))
}

/// What the last container of the Job said before it ended.
fn last_words(live: &Live<'_>, job: &DynamicObject) -> Option<String> {
    let mut pods: Vec<&Pod> = pods_of_job(live, job).collect();
    pods.sort_by(|one, other| one.metadata.creation_timestamp.cmp(&other.metadata.creation_timestamp));
    let status = pods.last()?.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.terminated.as_ref()?.message.clone()
}
