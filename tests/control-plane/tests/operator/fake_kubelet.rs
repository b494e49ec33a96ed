//! A FAKE kubelet: there is no node. It says of each pod of a slot that it is ready, and of a migration's pod that it has
//! succeeded, after doing on the real database, with the pod's own credentials, what a service's `migrate` would do.
//!
//! There is no network either: of a probe's pod it says that it was refused and listens, at an address of this machine where
//! nobody does; or, in a slot that [`open_network`] names, that it reached the operator.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tenantry_contract::paths::{CONFIGURATION_KEY, PASSWORD, SCHEMA_VERSION_TABLE, USERNAME};
use tenantry_contract::{ServiceConfiguration, commands};
use tenantry_crds::Release;
use tenantry_crds::names::ROLE_LABEL;
use tenantry_harness::control_plane::ControlPlane;

const PERIOD: Duration = Duration::from_millis(150);
/// A probe's exit code when it got through, as the operator's binary gives it.
const PROBE_REACHED: i32 = 3;
/// In the name of an image: it does not exist, and its pods never run.
pub const NO_SUCH_IMAGE: &str = "no-such-image";
/// A real one listens for longer.
const LISTENS_FOR: Duration = Duration::from_secs(5);

/// Runs on a thread of its own, since a test's runtime ends with the test; ends with the control plane.
pub fn start(control_plane: &ControlPlane) -> Result<()> {
    let path = control_plane.kubeconfig().to_owned();
    let kubeconfig = Kubeconfig::read_from(&path)?;
    std::thread::Builder::new().name("fake-kubelet".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            let client = Client::try_from(config.expect("the kubeconfig is good")).expect("a client can be made");
            let mut ticks = tokio::time::interval(PERIOD);
            // The file goes with the control plane.
            while path.exists() {
                ticks.tick().await;
                // Whatever fails (an object went meanwhile) is tried again.
                if let Err(error) = look(&client).await {
                    eprintln!("fake kubelet: {error:#}");
                }
            }
        });
    })?;
    Ok(())
}

async fn look(client: &Client) -> Result<()> {
    let pods: Api<Pod> = Api::all(client.clone());
    for pod in pods.list(&ListParams::default().labels("app.kubernetes.io/managed-by=tenantry")).await? {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if phase == "Running" && is_probe(&pod) && has_listened(&pod) {
            let ended = [container_status("probe", json!({ "terminated": { "exitCode": 0 } }))];
            set_status(&pod, json!({ "phase": "Succeeded", "conditions": [], "containerStatuses": ended }), client).await?;
        }
        if phase != "Pending" || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        if let Err(error) = play(&pod, client).await {
            eprintln!("fake kubelet: pod {}: {error:#}", pod.name_any());
        }
    }
    Ok(())
}

async fn play(pod: &Pod, client: &Client) -> Result<()> {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first()).context("no container")?;
    if container.image.as_deref().is_some_and(|image| image.contains(NO_SUCH_IMAGE)) {
        return Ok(());
    }
    let is_migration = container.args.iter().flatten().chain(container.command.iter().flatten()).any(|word| word == commands::MIGRATE);
    let status = if is_probe(pod) {
        let namespace = pod.namespace().context("no namespace")?;
        let open = Api::<ConfigMap>::namespaced(client.clone(), "default").get_opt(&open_network(&namespace)).await?.is_some();
        if open {
            let words = "a pod of the slot reached the operator at 127.0.0.1:1\n";
            let ended = json!({ "terminated": { "exitCode": PROBE_REACHED, "message": words } });
            json!({ "phase": "Failed", "containerStatuses": [container_status(&container.name, ended)] })
        } else {
            json!({
                "phase": "Running",
                "podIP": "127.0.0.1",
                "podIPs": [{ "ip": "127.0.0.1" }],
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now() }],
                "containerStatuses": [container_status(&container.name, json!({ "running": {} }))],
            })
        }
    } else if is_migration {
        migrate(pod, client).await?;
        json!({ "phase": "Succeeded", "containerStatuses": [container_status(&container.name, json!({ "terminated": { "exitCode": 0 } }))] })
    } else {
        json!({
            "phase": "Running",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now() }],
            "containerStatuses": [container_status(&container.name, json!({ "running": {} }))],
        })
    };
    set_status(pod, status, client).await
}

async fn set_status(pod: &Pod, status: Value, client: &Client) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().context("no namespace")?);
    api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await?;
    Ok(())
}

/// Name of the ConfigMap in the namespace `default` that opens the network of a slot's namespace.
pub fn open_network(namespace: &str) -> String {
    format!("open-network-of-{namespace}")
}

fn is_probe(pod: &Pod) -> bool {
    pod.labels().get(ROLE_LABEL).is_some_and(|role| role == "probe")
}

fn has_listened(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready").and_then(|ready| ready.last_transition_time.as_ref());
    ready.is_some_and(|since| since.0 + LISTENS_FOR < Timestamp::now())
}

fn container_status(name: &str, state: Value) -> Value {
    json!({ "name": name, "ready": state.get("running").is_some(), "restartCount": 0, "image": "", "imageID": "", "state": state })
}

/// What a service's `migrate` does, with a table `things` for its own.
async fn migrate(pod: &Pod, client: &Client) -> Result<()> {
    let namespace = pod.namespace().context("no namespace")?;
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).context("no volumes")?;
    let config_map = volumes.iter().find_map(|volume| volume.config_map.as_ref()).context("no configuration")?;
    let secret = volumes.iter().find_map(|volume| volume.secret.as_ref()).context("no credentials")?;
    let config_map = Api::<ConfigMap>::namespaced(client.clone(), &namespace).get(&config_map.name).await?;
    let text = config_map.data.as_ref().and_then(|data| data.get(CONFIGURATION_KEY)).context("no service.json")?;
    let configuration: ServiceConfiguration<Value> = serde_json::from_str(text)?;
    let secret_name = secret.secret_name.as_deref().context("no Secret")?;
    let secret = Api::<Secret>::namespaced(client.clone(), &namespace).get(secret_name).await?;
    let field = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key)).context("an incomplete Secret")?;
        Ok::<_, anyhow::Error>(String::from_utf8(bytes.0.clone())?)
    };
    let release = Api::<Release>::all(client.clone()).get(&configuration.identity.release).await?;
    let version = release.spec.services[&configuration.identity.service].schema.context("no schema")?.version;
    let database = configuration.database.context("no database")?;
    let mut connection = PgConnectOptions::new_without_pgpass()
        .host(&database.host)
        .port(database.port)
        .database(&database.name)
        .username(&field(USERNAME)?)
        .password(&field(PASSWORD)?)
        .connect()
        .await?;
    let statements = format!(
        "CREATE TABLE IF NOT EXISTS things (id bigint GENERATED ALWAYS AS IDENTITY, name text); \
         CREATE TABLE IF NOT EXISTS {SCHEMA_VERSION_TABLE} (version integer, completed_at timestamptz); \
         DELETE FROM {SCHEMA_VERSION_TABLE}; INSERT INTO {SCHEMA_VERSION_TABLE} VALUES ({version}, now())"
    );
    connection.execute(AssertSqlSafe(statements)).await?;
    connection.close().await?;
    Ok(())
}
