//! A control plane with the API, the fakes, a class and releases; and groups on it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass};
use tenantry_harness::control_plane::{Audit, ControlPlane};
use tenantry_harness::manifests::{self, pinned};
use tenantry_harness::operator::{Installation, NAMESPACE, Operator};
use tokio::task::JoinSet;

use crate::operator::audit::AuditLog;
use crate::operator::fake_postgres::{Behaviour, FakePostgres};
use crate::operator::fake_workloads;

/// The slots of every group.
pub const SLOTS: [&str; 3] = ["dev", "staging", "production"];
pub const CLASS: &str = "standard";
pub const RELEASE: &str = "v1";
/// A release whose image does not exist.
pub const MISSING_RELEASE: &str = "v1-missing";
const ADMIN_SECRET: &str = "postgresql-admin";
/// Groups applied at the same time.
const APPLYING: usize = 8;
const STILL: Duration = Duration::from_secs(4);

pub struct Platform {
    /// They end before what they speak to.
    _fake_workloads: JoinSet<()>,
    pub control_plane: ControlPlane,
    pub client: Client,
    pub postgres: FakePostgres,
    installation: Installation,
    arguments: Vec<String>,
}

impl Platform {
    /// Starts everything but the operator.
    pub async fn start(operator: &str) -> Result<Self> {
        let control_plane = ControlPlane::start_without(Audit::On, fake_workloads::CONTROLLERS).await?;
        control_plane.install_api().await?;
        let installation = Installation::install(&control_plane).await?;
        let client = control_plane.client().await?;
        let postgres = FakePostgres::start(Behaviour::Works).await?;
        let fakes = fake_workloads::start(&client, &postgres);
        let arguments = operator.split_whitespace().map(str::to_owned).collect();
        let platform = Self { _fake_workloads: fakes, control_plane, client, postgres, installation, arguments };
        platform.write_login("anybody", "anything").await?;
        platform.offer_class(CLASS, platform.postgres.port()).await?;
        platform.apply::<Release>(manifests::release(RELEASE, 1)).await?;
        Ok(platform)
    }

    /// The admin login of every PostgreSQL server of the bench.
    pub async fn write_login(&self, username: &str, password: &str) -> Result<()> {
        let login = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": ADMIN_SECRET, "namespace": NAMESPACE },
            "stringData": { "username": username, "password": password },
        });
        self.apply::<Secret>(login).await
    }

    pub async fn offer_class(&self, name: &str, port: u16) -> Result<()> {
        let mut class = manifests::class(name, port, ADMIN_SECRET);
        class["spec"]["postgres"]["servers"][0]["connectionLimit"] = json!(100_000);
        self.apply::<ResourceGroupClass>(class).await
    }

    /// Offers the release whose image does not exist.
    pub async fn offer_missing_image(&self) -> Result<()> {
        let mut release = manifests::release(MISSING_RELEASE, 1);
        release["spec"]["services"]["ledger"]["image"] = manifests::IMAGE.replace("ledger", fake_workloads::NO_SUCH_IMAGE).into();
        self.apply::<Release>(release).await
    }

    pub async fn start_operator(&self) -> Result<Operator> {
        let arguments: Vec<&str> = ["--lease-duration=6"].into_iter().chain(self.arguments.iter().map(String::as_str)).collect();
        self.installation.start(&arguments).await
    }

    pub fn audit_log(&self) -> Result<AuditLog> {
        AuditLog::at_end(self.control_plane.audit_log().context("the control plane writes no audit log")?)
    }

    pub async fn apply<K>(&self, manifest: Value) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let name = manifest["metadata"]["name"].as_str().context("a manifest without name")?;
        let path = K::url_path(&(), manifest["metadata"]["namespace"].as_str());
        let request = kube::core::Request::new(path).patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(&manifest))?;
        self.client.request::<Value>(request).await?;
        Ok(())
    }

    pub async fn apply_groups(&self, groups: Vec<Value>) -> Result<()> {
        stream::iter(groups).map(|group| self.apply::<ResourceGroup>(group)).buffer_unordered(APPLYING).try_collect().await
    }

    /// Waits until those groups are Ready.
    pub async fn wait_until_ready(&self, names: &[String], deadline: Duration) -> Result<()> {
        let api: Api<ResourceGroup> = Api::all(self.client.clone());
        let begun = Instant::now();
        let mut waiting: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        loop {
            for group in api.list(&ListParams::default().match_any()).await? {
                let status = group.status.as_ref();
                let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
                let is_ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
                if is_ready && status.map(|status| status.observed_generation) == group.metadata.generation {
                    waiting.remove(group.name_any().as_str());
                } else if begun.elapsed() > deadline && waiting.contains(group.name_any().as_str()) {
                    bail!(
                        "{} of {} groups are not Ready after {deadline:?}; {}: {conditions:?}",
                        waiting.len(),
                        names.len(),
                        group.name_any()
                    );
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            ensure!(begun.elapsed() < deadline * 2, "{} groups are missing", waiting.len());
            tokio::time::sleep(Duration::from_millis(1000 + 2 * names.len() as u64)).await;
        }
    }

    /// Waits until the operator has written nothing for some seconds.
    pub async fn wait_until_still(&self) -> Result<()> {
        let mut log = self.audit_log()?;
        let begun = Instant::now();
        let mut since = Instant::now();
        while since.elapsed() < STILL {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let requests = log.of_operator()?;
            if let Some(write) = requests.iter().find(|request| request.is_write()) {
                ensure!(begun.elapsed() < Duration::from_secs(300), "the operator still writes: {} {}", write.verb, write.uri);
                since = Instant::now();
            }
        }
        Ok(())
    }
}

/// Names of equal length.
pub fn names(prefix: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|index| format!("{prefix}{index:04}")).collect()
}

/// A group of three slots.
pub fn group(name: &str) -> Value {
    group_of(name, CLASS, RELEASE)
}

pub fn group_of(name: &str, class: &str, release: &str) -> Value {
    manifests::group(name, class, SLOTS.iter().map(|slot| pinned(slot, release)).collect())
}
