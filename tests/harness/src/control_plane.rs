//! A control plane without a node: etcd, API server and controller manager of the throwaway Kubernetes, with the API of
//! Tenantry installed from its chart. For everything about objects; nothing runs in it.
//!
//! One serves all tests of a process ([`ControlPlane::shared`]), which therefore name their objects uniquely. A test that
//! disturbs it, or reads its audit log, starts its own.

mod outage;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::OnceCell;

/// Environment variable: path of the binary that holds Kubernetes, kubectl and Helm.
pub const CLUSTER_BINARY_VARIABLE: &str = "TENANTRY_CLUSTER_BINARY";

/// How long the control plane and the installed API may take to answer. Two slow cores that also compile are slow.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs the control plane until its standard input closes, which the end of the test process does however it comes, and
/// removes its directory. `$1` is the binary, `$2` the directory, the rest are arguments. When it ends by itself, the
/// closed standard output says so, and its log stays until it was read.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
binary=$1 directory=$2; shift 2
"$binary" control-plane run --state "$directory/state" --until-stdin-closes "$@" 2>"$directory/log"
exec >&-
cat >/dev/null
rm -rf "$directory"
"#;

/// Whether the API server writes down every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// It does: see [`ControlPlane::audit_log`].
    On,
    /// It does not.
    Off,
}

/// A running control plane. Dropping it ends it.
#[derive(Debug)]
pub struct ControlPlane {
    binary: PathBuf,
    directory: PathBuf,
    kubeconfig: PathBuf,
    audit_log: Option<PathBuf>,
    shell: Child,
    /// Closing it ends everything.
    standard_input: Option<ChildStdin>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    kubeconfig: PathBuf,
    #[serde(default)]
    audit_log: PathBuf,
}

impl ControlPlane {
    /// The control plane that all tests of this process share, with the API installed.
    ///
    /// # Errors
    /// When it does not start, or refuses the API.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| async {
                let control_plane = Self::start(Audit::Off).await?;
                control_plane.install_api().await?;
                Ok(control_plane)
            })
            .await
    }

    /// Starts one of the test's own, without the API.
    ///
    /// # Errors
    /// When it does not start, with the last lines of its log.
    pub async fn start(audit: Audit) -> Result<Self> {
        Self::start_without(audit, &[]).await
    }

    /// Starts one whose controller manager leaves these controllers out: a fake does their work.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_without(audit: Audit, controllers: &'static [&'static str]) -> Result<Self> {
        let binary = cluster_binary()?;
        tokio::task::spawn_blocking(move || Self::start_blocking(binary, audit, controllers)).await?
    }

    fn start_blocking(binary: PathBuf, audit: Audit, without: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("tenantry-control-plane-").tempdir()?.keep();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "control-plane"]).arg(&binary).arg(&directory);
        if audit == Audit::On {
            command.arg("--audit");
        }
        if !without.is_empty() {
            command.arg(format!("--without-controllers={}", without.join(",")));
        }
        // A process group of its own: Ctrl-C ends the test process alone, and that ends the rest in order.
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh")?;
        let standard_input = shell.stdin.take();
        let mut line = String::new();
        if let Some(output) = shell.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let Ok(ready) = serde_json::from_str::<Ready>(&line) else {
            let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
            drop(standard_input);
            let _ = shell.wait();
            bail!("the control plane did not start: {line}{log}");
        };
        let audit_log = (audit == Audit::On).then_some(ready.audit_log);
        Ok(Self { binary, directory, kubeconfig: ready.kubeconfig, audit_log, shell, standard_input })
    }

    /// Installs the chart `tenantry-crds`, and returns when its definitions serve and its policies act.
    ///
    /// # Errors
    /// When the API server refuses them, or is not done in time.
    pub async fn install_api(&self) -> Result<()> {
        let chart = checkout().join("charts/tenantry-crds");
        let manifests = self.helm_template("tenantry-crds", &chart, &[]).await?;
        self.kubectl_with_input(&["apply", "--server-side", "--filename=-"], &manifests).await?;
        self.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "customresourcedefinition/releases.tenantry.dev",
            "customresourcedefinition/resourcegroupclasses.tenantry.dev",
            "customresourcedefinition/resourcegroups.tenantry.dev",
            "customresourcedefinition/slots.tenantry.dev",
        ])
        .await?;
        self.wait_for_policies().await
    }

    /// A policy acts some time after it is there: asks until a Slot in the wrong namespace is refused by it.
    async fn wait_for_policies(&self) -> Result<()> {
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        loop {
            ticks.tick().await;
            let output = self.run("kubectl", &["create", "--dry-run=server", "--filename=-"], Some(MISPLACED_SLOT)).await?;
            let said = String::from_utf8_lossy(&output.stderr);
            if said.contains("tenantry-slot-place") {
                return Ok(());
            }
            ensure!(begun.elapsed() < DEADLINE, "the policies of the API do not act after {DEADLINE:?}: {said}");
        }
    }

    /// A client as cluster administrator. Make one in each test: it belongs to the test's runtime.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's audit log, JSON lines of metadata; none when started without.
    pub fn audit_log(&self) -> Option<&Path> {
        self.audit_log.as_deref()
    }

    /// Runs kubectl; gives its standard output.
    ///
    /// # Errors
    /// When it exits with another code than 0, with what it said.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        succeeded("kubectl", arguments, self.run("kubectl", arguments, None).await?)
    }

    /// Runs kubectl with a manifest on its standard input; gives its standard output.
    ///
    /// # Errors
    /// When it exits with another code than 0, with what it said.
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        succeeded("kubectl", arguments, self.run("kubectl", arguments, Some(input)).await?)
    }

    /// Runs Helm; gives its standard output.
    ///
    /// # Errors
    /// When it exits with another code than 0, with what it said.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        succeeded("helm", arguments, self.run("helm", arguments, None).await?)
    }

    /// Renders a chart, with the `--set` values given.
    ///
    /// # Errors
    /// When Helm refuses the values or a template.
    pub async fn helm_template(&self, release: &str, chart: &Path, values: &[&str]) -> Result<String> {
        let chart = chart.to_str().context("the chart's path is not UTF-8")?;
        let mut arguments = vec!["template", release, chart, "--namespace=tenantry-system"];
        for value in values {
            arguments.extend(["--set", value]);
        }
        self.helm(&arguments).await
    }

    /// Runs one of the bundled programs and gives all that came of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn run(&self, program: &str, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        let mut child = tokio::process::Command::new(&self.binary)
            .arg(program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.directory.join("kubectl-cache"))
            .env("HELM_CACHE_HOME", self.directory.join("helm-cache"))
            .env("HELM_CONFIG_HOME", self.directory.join("helm-config"))
            .env("HELM_DATA_HOME", self.directory.join("helm-data"))
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).await?;
        }
        Ok(child.wait_with_output().await?)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // A test that failed while the API server was away left its supervisor stopped.
        let _ = self.let_supervisor_go_on();
        drop(self.standard_input.take());
        // Nothing is left to do about a failure, and a panic in `drop` would hide the test's own.
        let _ = self.shell.wait();
    }
}

/// The root of this checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn succeeded(program: &str, arguments: &[&str], output: Output) -> Result<String> {
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The binary that the environment names, or else the one built last.
fn cluster_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(CLUSTER_BINARY_VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let built = std::fs::read_dir(cache.join("tenantry/cluster"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("tenantry-cluster")))
        .filter_map(|binary| Some((binary.metadata().ok()?.modified().ok()?, binary)));
    let (_, newest) = built.max().with_context(|| {
        format!("tests/cluster is not built: run `cargo xtask test control-plane`, or name the binary in {CLUSTER_BINARY_VARIABLE}")
    })?;
    Ok(newest)
}

const MISPLACED_SLOT: &str = r"
apiVersion: tenantry.dev/v1alpha1
kind: Slot
metadata:
  name: misplaced
  namespace: default
spec:
  groupRef: { name: none, uid: none }
  classRef: { name: none }
  size: none
";
