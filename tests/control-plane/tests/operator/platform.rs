//! A platform as its team would have it: the API, a PostgreSQL server with an admin login that is no superuser, and the
//! operator. Most tests share one and name their objects uniquely; a test that disturbs it starts its own.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};
use tenantry_harness::control_plane::{Audit, ControlPlane};
use tenantry_harness::operator::{Installation, NAMESPACE, Operator};
use tenantry_harness::postgres::{ADMIN, PostgresOptions, PostgresServer, PostgresVersion};
use tenantry_harness::step_gate::StepGate;
use tokio::sync::OnceCell;

use super::{fake_kubelet, manifests};

/// Two slow cores that also compile are slow.
const DEADLINE: Duration = Duration::from_secs(120);
/// The Secret with the admin login.
pub const ADMIN_SECRET: &str = "postgresql-admin";
/// Short, so that a killed operator's successor, and who repaired a Secret, need not wait long.
const ARGUMENTS: [&str; 2] = ["--lease-duration=4", "--secret-interval=10"];

pub struct Platform {
    pub control_plane: ControlPlane,
    pub postgres: PostgresServer,
    installation: Installation,
    /// Of the shared platform; others start and kill theirs.
    _operator: Option<Operator>,
}

impl Platform {
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Platform> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async {
                let mut platform = Self::start(Audit::Off).await;
                platform._operator = Some(platform.start_operator().await);
                platform
            })
            .await
    }

    /// One of the test's own, without a running operator.
    pub async fn start(audit: Audit) -> Self {
        Self::start_on(PostgresVersion::Installed, audit).await
    }

    /// One of the test's own, without a running operator, with a PostgreSQL of that version.
    pub async fn start_on(version: PostgresVersion, audit: Audit) -> Self {
        let postgres = PostgresServer::start_with(PostgresOptions { version, ..PostgresOptions::default() });
        let (control_plane, postgres) = tokio::join!(ControlPlane::start(audit), postgres);
        let (control_plane, postgres) = (control_plane.unwrap(), postgres.unwrap());
        control_plane.install_api().await.unwrap();
        let installation = Installation::install(&control_plane).await.unwrap();
        postgres.hand_over().await.unwrap();
        fake_kubelet::start(&control_plane).unwrap();
        let platform = Self { control_plane, postgres, installation, _operator: None };
        platform.write_admin_secret(ADMIN_SECRET, &platform.postgres.admin().password).await;
        platform
    }

    /// Installs the operator's namespace, account and rights again, after they were lost.
    pub async fn reinstall(&mut self) {
        self.installation = Installation::install(&self.control_plane).await.unwrap();
        self.write_admin_secret(ADMIN_SECRET, &self.postgres.admin().password).await;
    }

    pub async fn start_operator(&self) -> Operator {
        self.installation.start(&ARGUMENTS).await.unwrap()
    }

    pub async fn start_operator_with(&self, arguments: &[&str]) -> Operator {
        self.installation.start(&[&ARGUMENTS, arguments].concat()).await.unwrap()
    }

    /// Starts an operator of which nothing is expected.
    pub fn launch_operator(&self, arguments: &[&str]) -> Operator {
        self.installation.launch(&[&ARGUMENTS, arguments].concat()).unwrap()
    }

    /// One with arguments of the test's own alone.
    pub async fn start_operator_with_own(&self, arguments: &[&str]) -> Operator {
        self.installation.start(arguments).await.unwrap()
    }

    /// An operator that stops before and after every step. It has the same name in the Lease each time, so that the
    /// successor of a killed one leads at once.
    pub fn start_gated_operator(&self, arguments: &[&str]) -> (Operator, StepGate) {
        self.installation.start_gated(&[&ARGUMENTS[..], &["--identity=gated"], arguments].concat()).unwrap()
    }

    pub async fn client(&self) -> Client {
        self.control_plane.client().await.unwrap()
    }

    pub async fn write_admin_secret(&self, name: &str, password: &str) {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "stringData": { "username": ADMIN, "password": password },
        });
        self.apply::<Secret>(secret).await;
    }

    /// Another PostgreSQL server, handed over: it, and the name of the Secret with its admin login.
    pub async fn another_server(&self, version: PostgresVersion) -> (PostgresServer, String) {
        self.server_with(PostgresOptions { version, ..PostgresOptions::default() }).await
    }

    /// Another PostgreSQL server, started like that and handed over.
    pub async fn server_with(&self, options: PostgresOptions) -> (PostgresServer, String) {
        let server = PostgresServer::start_with(options).await.unwrap();
        server.hand_over().await.unwrap();
        let secret = unique("admin");
        self.write_admin_secret(&secret, &server.admin().password).await;
        (server, secret)
    }

    /// A class with those servers.
    pub async fn class_of(&self, name: &str, servers: Vec<Value>) {
        let mut class = manifests::class(name, 1, ADMIN_SECRET);
        class["spec"]["postgres"]["servers"] = servers.into();
        self.apply::<ResourceGroupClass>(class).await;
    }

    /// A class and a release of the test's own: their names.
    pub async fn offer(&self, schema_version: u32) -> (String, String) {
        let (class, release) = (unique("standard"), unique("v1"));
        self.apply::<ResourceGroupClass>(manifests::class(&class, self.postgres.port(), ADMIN_SECRET)).await;
        self.apply::<Release>(manifests::release(&release, schema_version)).await;
        (class, release)
    }

    /// Server-side apply, as a pipeline does it.
    pub async fn apply<K>(&self, manifest: Value) -> K
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Serialize,
    {
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let client = self.client().await;
        let path = K::url_path(&(), manifest["metadata"]["namespace"].as_str());
        let request = kube::core::Request::new(path).patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&manifest)).unwrap();
        client.request(request).await.unwrap()
    }

    pub async fn slot(&self, group: &str, slot: &str) -> Option<Slot> {
        let api: Api<Slot> = Api::namespaced(self.client().await, &format!("{group}-{slot}"));
        api.get_opt(slot).await.unwrap()
    }

    pub async fn group(&self, name: &str) -> Option<ResourceGroup> {
        Api::all(self.client().await).get_opt(name).await.unwrap()
    }

    /// Waits until the group's condition `Ready` is True for its present generation.
    pub async fn wait_until_ready(&self, group: &str) -> ResourceGroup {
        eventually(&format!("{group} becomes Ready"), async || {
            let found = self.group(group).await.ok_or("no group")?;
            let status = found.status.clone().unwrap_or_default();
            let ready = has(&status.conditions, "Ready", "True") && Some(status.observed_generation) == found.metadata.generation;
            if ready { Ok(found) } else { Err(format!("{:?}", self.describe(&found).await)) }
        })
        .await
    }

    /// A group of the test's own with the one slot `dev`, once it is Ready: its name and UID.
    pub async fn ready_group(&self, class: &str, release: &str) -> (String, String) {
        let name = unique("acme");
        self.apply::<ResourceGroup>(manifests::group(&name, class, vec![manifests::pinned("dev", release)])).await;
        let uid = self.wait_until_ready(&name).await.metadata.uid.unwrap();
        (name, uid)
    }

    /// Waits until a condition of the slot has that status and reason; gives its message.
    pub async fn wait_for_slot(&self, group: &str, slot: &str, kind: &str, status: &str, reason: &str) -> String {
        eventually(&format!("{kind} of {group}-{slot} becomes {status} by {reason}"), async || {
            let conditions = self.slot(group, slot).await.and_then(|slot| slot.status).unwrap_or_default().conditions;
            let found =
                conditions.iter().find(|condition| condition.type_ == kind && condition.status == status && condition.reason == reason);
            found.map(|condition| condition.message.clone()).ok_or_else(|| format!("{conditions:?}"))
        })
        .await
    }

    pub async fn describe(&self, group: &ResourceGroup) -> Vec<String> {
        let mut conditions = group.status.clone().unwrap_or_default().conditions;
        for slot in &group.spec.slots {
            conditions.extend(self.slot(&group.name_any(), &slot.name).await.and_then(|slot| slot.status).unwrap_or_default().conditions);
        }
        conditions
            .iter()
            .map(|condition| format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message))
            .collect()
    }

    pub async fn delete_group(&self, name: &str) {
        Api::<ResourceGroup>::all(self.client().await).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until group, its Slots and namespaces are gone.
    pub async fn wait_until_gone(&self, group: &str, slots: &[&str]) {
        eventually(&format!("{group} goes"), async || {
            if let Some(group) = self.group(group).await {
                return Err(format!("{:?}", self.describe(&group).await));
            }
            let namespaces: Api<Namespace> = Api::all(self.client().await);
            for slot in slots {
                if let Some(namespace) = namespaces.get_opt(&format!("{group}-{slot}")).await.unwrap() {
                    return Err(format!("{:?}", namespace.status));
                }
            }
            Ok(())
        })
        .await;
    }

    pub async fn create_namespace(&self, name: &str) -> Namespace {
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        Api::all(self.client().await).create(&PostParams::default(), &namespace).await.unwrap()
    }

    /// The names of databases and roles whose comment names a group's UID.
    pub async fn leftovers(&self, group_uid: &str) -> Vec<String> {
        let mut superuser: PgConnection = self.postgres.connect().await.unwrap();
        let rows = sqlx::query(
            "SELECT datname::text FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE '%' || $1 || '%'
             UNION ALL SELECT rolname::text FROM pg_roles WHERE shobj_description(oid, 'pg_authid') LIKE '%' || $1 || '%'",
        )
        .bind(group_uid)
        .fetch_all(&mut superuser)
        .await
        .unwrap();
        superuser.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

pub fn has(conditions: &[Condition], kind: &str, status: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == status)
}

pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8])
}

/// Asks until there is an answer, and fails with the last reason why there was none.
pub async fn eventually<T, E: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        match ask().await {
            Ok(answer) => return answer,
            Err(why) => assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}; last: {why:?}"),
        }
    }
}
