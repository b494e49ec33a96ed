//! FAKE Deployments and Jobs: there is no node and no controller of them. A Deployment is said to be rolled out as soon as it
//! is seen, a Job to have succeeded, after its migration was recorded in the fake PostgreSQL. What names an image that does
//! not exist never comes up.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, watcher::Error};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tenantry_crds::names::{GROUP_UID_LABEL, MANAGED_BY_LABEL, ROLE_LABEL, SLOT_LABEL};
use tokio::task::JoinSet;

use crate::operator::fake_postgres::FakePostgres;

/// In an image: it does not exist.
pub const NO_SUCH_IMAGE: &str = "no-such-image";
/// The controllers whose work this does.
pub const CONTROLLERS: &[&str] = &["deployment-controller", "replicaset-controller", "job-controller"];
const AT_ONCE: usize = 8;
const PROBE: &str = "probe";
/// As long as the real one.
const PROBE_LISTENS: Duration = Duration::from_secs(15);
const JOB_LABEL: &str = "batch.kubernetes.io/job-name";
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Plays until the tasks are dropped.
pub fn start(client: &Client, postgres: &FakePostgres) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(play_probes(client));
    let deployments = watcher(Api::<Deployment>::all(client.clone()), config()).default_backoff().applied_objects();
    let playing = client.clone();
    tasks.spawn(deployments.for_each_concurrent(AT_ONCE, move |deployment| {
        let client = playing.clone();
        async move {
            if let Ok(deployment) = seen(deployment)
                && let Some(status) = rolled_out(&deployment)
            {
                write(&Api::<Deployment>::namespaced(client, &deployment.namespace().unwrap_or_default()), &deployment.name_any(), status)
                    .await;
            }
        }
    }));
    let jobs = watcher(Api::<Job>::all(client.clone()), config()).default_backoff().applied_objects();
    let (playing, postgres) = (client.clone(), postgres.clone());
    tasks.spawn(jobs.for_each_concurrent(AT_ONCE, move |job| {
        let (client, postgres) = (playing.clone(), postgres.clone());
        async move {
            let Ok(job) = seen(job) else { return };
            if job.status.as_ref().is_some_and(|status| status.completion_time.is_some()) {
                return;
            }
            let label = |key: &str| job.labels().get(key).cloned().unwrap_or_default();
            if label(ROLE_LABEL) == PROBE {
                if let Err(error) = make_pod(&job, &client).await {
                    eprintln!("fake workloads: the pod of {}: {error}", job.name_any());
                }
                return;
            }
            postgres.migrate(&label(GROUP_UID_LABEL), &label(SLOT_LABEL), 1);
            write(&Api::<Job>::namespaced(client, &job.namespace().unwrap_or_default()), &job.name_any(), succeeded()).await;
        }
    }));
    tasks
}

/// The one pod of a Job. An account that pods may have is there a moment after the namespace.
async fn make_pod(job: &Job, client: &Client) -> Result<(), kube::Error> {
    let namespace = job.namespace().unwrap_or_default();
    let Some(template) = job.spec.as_ref().map(|spec| &spec.template) else { return Ok(()) };
    let mut pod = Pod { metadata: template.metadata.clone().unwrap_or_default(), spec: template.spec.clone(), status: None };
    pod.metadata.name = Some(format!("{}-pod", job.name_any()));
    pod.metadata.labels.get_or_insert_default().insert(JOB_LABEL.to_owned(), job.name_any());
    pod.metadata.owner_references = job.controller_owner_ref(&()).map(|owner| vec![owner]);
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for _ in 0..ATTEMPTS {
        match api.create(&PostParams::default(), &pod).await {
            Err(kube::Error::Api(status)) if status.is_forbidden() => tokio::time::sleep(PAUSE).await,
            Err(kube::Error::Api(status)) if status.is_already_exists() => return Ok(()),
            other => return other.map(drop),
        }
    }
    Ok(())
}

/// FAKE probes of a slot's network: each is refused, and listens for a while at an address of this machine where nobody does.
fn play_probes(client: &Client) -> impl Future<Output = ()> + use<> {
    let config = watcher::Config::default().labels(&format!("{ROLE_LABEL}={PROBE}"));
    let pods = watcher(Api::<Pod>::all(client.clone()), config).default_backoff().applied_objects();
    let playing = client.clone();
    pods.for_each_concurrent(None, move |pod| {
        let client = playing.clone();
        async move {
            let Ok(pod) = seen(pod) else { return };
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
            if phase != "Pending" || pod.metadata.deletion_timestamp.is_some() {
                return;
            }
            let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
            let container = |state: Value| {
                let ready = state.get("running").is_some();
                json!([{ "name": "probe", "ready": ready, "restartCount": 0, "image": "", "imageID": "", "state": state }])
            };
            let listens = json!({
                "phase": "Running",
                "podIP": "127.0.0.1",
                "podIPs": [{ "ip": "127.0.0.1" }],
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now() }],
                "containerStatuses": container(json!({ "running": {} })),
            });
            write(&api, &pod.name_any(), listens).await;
            tokio::time::sleep(PROBE_LISTENS).await;
            let ended = container(json!({ "terminated": { "exitCode": 0 } }));
            write(&api, &pod.name_any(), json!({ "phase": "Succeeded", "conditions": [], "containerStatuses": ended })).await;
            if let Some(job) = pod.labels().get(JOB_LABEL) {
                write(&Api::<Job>::namespaced(api.into_client(), &pod.namespace().unwrap_or_default()), job, succeeded()).await;
            }
        }
    })
}

fn config() -> watcher::Config {
    watcher::Config::default().labels(MANAGED_BY_LABEL)
}

fn seen<K>(object: Result<K, Error>) -> Result<K, ()> {
    object.map_err(|error| eprintln!("fake workloads: {error}"))
}

fn rolled_out(deployment: &Deployment) -> Option<Value> {
    let spec = &deployment.spec;
    let image = spec.template.spec.as_ref()?.containers.first()?.image.as_deref()?;
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if observed == deployment.metadata.generation || image.contains(NO_SUCH_IMAGE) {
        return None;
    }
    let replicas = spec.replicas.unwrap_or(1);
    Some(json!({
        "observedGeneration": deployment.metadata.generation,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
    }))
}

fn succeeded() -> Value {
    let now = Timestamp::now();
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now });
    json!({
        "startTime": now,
        "completionTime": now,
        "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    })
}

async fn write<K>(api: &Api<K>, name: &str, status: Value)
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(error) => eprintln!("fake workloads: {name}: {error}"),
    }
}
