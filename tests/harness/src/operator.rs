//! The operator under test: the real binary, run beside a control plane with the rights that its chart gives it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::control_plane::{ControlPlane, checkout};
use crate::janitor::free_port;
use crate::process::Process;
use crate::step_gate::StepGate;

/// Environment variable: path of the operator's binary.
pub const OPERATOR_BINARY_VARIABLE: &str = "TENANTRY_OPERATOR_BINARY";
/// The operator's namespace.
pub const NAMESPACE: &str = "tenantry-system";
/// The operator's ServiceAccount.
pub const SERVICE_ACCOUNT: &str = "tenantry-operator";
/// The user that the audit log names for it.
pub const USER: &str = "system:serviceaccount:tenantry-system:tenantry-operator";

const DEADLINE: Duration = Duration::from_secs(90);
const IMAGE: &str = "image=example.org/operator@sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// No pod ever runs it here.
const PROBE_IMAGE: &str = "example.org/operator@sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// What of the chart the operator needs while it runs outside of the cluster.
const KINDS: [&str; 7] = [
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// An installation: the operator's namespace, account and rights on a control plane, without a running operator.
#[derive(Debug)]
pub struct Installation {
    directory: PathBuf,
    kubeconfig: PathBuf,
}

/// A running operator. It is killed when this is dropped or the test process ends.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    health: SocketAddr,
    metrics: SocketAddr,
    log: PathBuf,
}

impl Installation {
    /// Makes the namespace, applies the chart's roles and takes a token of its ServiceAccount.
    ///
    /// # Errors
    /// When the API server refuses any of it.
    pub async fn install(control_plane: &ControlPlane) -> Result<Self> {
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {NAMESPACE} }}\n");
        control_plane.kubectl_with_input(&["apply", "--server-side", "--filename=-"], &namespace).await?;
        let chart = control_plane.helm_template("tenantry", &checkout().join("charts/tenantry"), &[IMAGE]).await?;
        let mut wanted = String::new();
        for document in serde_yaml_ng::Deserializer::from_str(&chart) {
            let document = Value::deserialize(document)?;
            if document.get("kind").and_then(Value::as_str).is_some_and(|kind| KINDS.contains(&kind)) {
                wanted.push_str("---\n");
                wanted.push_str(&serde_yaml_ng::to_string(&document)?);
            }
        }
        control_plane.kubectl_with_input(&["apply", "--server-side", "--force-conflicts", "--filename=-"], &wanted).await?;
        let token = control_plane.kubectl(&["create", "token", SERVICE_ACCOUNT, "--namespace", NAMESPACE, "--duration=2h"]).await?;
        // Beside the control plane's own files, which go with it.
        let directory = control_plane.kubeconfig().parent().context("the kubeconfig is in no directory")?.to_owned();
        let kubeconfig = directory.join("operator.kubeconfig");
        std::fs::write(&kubeconfig, with_token(control_plane.kubeconfig(), token.trim())?)?;
        Ok(Self { directory, kubeconfig })
    }

    /// Path of a kubeconfig with the token of the operator's account.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Starts the operator with further arguments of `run`, and returns when its caches are filled.
    ///
    /// # Errors
    /// When it ends or is not ready in time, with the end of its log.
    pub async fn start(&self, arguments: &[&str]) -> Result<Operator> {
        let mut operator = self.launch(arguments)?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    /// Opens a gate and starts an operator that stops at it before and after every step.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_gated(&self, arguments: &[&str]) -> Result<(Operator, StepGate)> {
        let gate = StepGate::open(&self.directory)?;
        let option = format!("--step-gate={}", gate.path().display());
        let operator = self.launch(&[arguments, &[option.as_str()]].concat())?;
        Ok((operator, gate))
    }

    /// Starts the operator, whatever becomes of it.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn launch(&self, arguments: &[&str]) -> Result<Operator> {
        let binary = binary()?;
        let address = || Ok::<_, std::io::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        let (health, metrics, canary) = (address()?, address()?, address()?);
        let log = self.directory.join(format!("operator-{}.log", health.port()));
        let process = Process::spawn(
            Command::new(&binary)
                .arg("run")
                .arg(format!("--health-address={health}"))
                .arg(format!("--metrics-address={metrics}"))
                .arg(format!("--canary-address={canary}"))
                .args(["--pod-ip=127.0.0.1", "--probe-image", PROBE_IMAGE])
                .args(["--log-format=text", "--namespace", NAMESPACE, "--service-account", SERVICE_ACCOUNT])
                .args(arguments)
                .env("KUBECONFIG", &self.kubeconfig)
                .stdout(Stdio::null())
                .stderr(File::create(&log)?),
        )
        .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Operator { process, health, metrics, log })
    }
}

impl Operator {
    /// Returns when its caches are filled.
    ///
    /// # Errors
    /// When it ends or is not ready in time, with the end of its log.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            if let Some(status) = self.process.try_wait()? {
                bail!("the operator ended: {status}\n{}", self.log());
            }
            if self.probe("readyz").await.is_some_and(|answer| answer == 200) {
                return Ok(());
            }
            ensure!(begun.elapsed() < DEADLINE, "the operator is not ready after {DEADLINE:?}\n{}", self.log());
        }
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// The status code of `livez` or `readyz`; none while nothing answers.
    pub async fn probe(&self, name: &str) -> Option<u16> {
        let answer = reqwest::get(format!("http://{}/{name}", self.health)).await.ok()?;
        Some(answer.status().as_u16())
    }

    /// All metrics, in the text format.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(reqwest::get(format!("http://{}/metrics", self.metrics)).await?.error_for_status()?.text().await?)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its resident memory, in KiB.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it where it is (SIGSTOP), until [`Self::resume`].
    ///
    /// # Errors
    /// When no signal can be sent.
    pub fn pause(&self) -> Result<()> {
        Ok(self.process.signal("STOP")?)
    }

    /// Lets a stopped one go on (SIGCONT).
    ///
    /// # Errors
    /// When no signal can be sent.
    pub fn resume(&self) -> Result<()> {
        Ok(self.process.signal("CONT")?)
    }

    /// Kills it at once (SIGKILL).
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(self) -> Result<ExitStatus> {
        Ok(self.process.kill()?)
    }

    /// Asks it to stop (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        self.process.terminate()?;
        self.ended().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < DEADLINE, "the operator does not end\n{}", self.log());
        }
    }
}

/// The administrator's kubeconfig with another user's token in it.
fn with_token(kubeconfig: &Path, token: &str) -> Result<String> {
    let mut kubeconfig: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(kubeconfig)?)?;
    let users = kubeconfig.get_mut("users").and_then(Value::as_sequence_mut).context("the kubeconfig has no users")?;
    for user in users {
        user["user"] = serde_yaml_ng::from_str(&format!("{{ token: {token} }}"))?;
    }
    Ok(serde_yaml_ng::to_string(&kubeconfig)?)
}

/// The binary that the environment names, or else the one that Cargo put beside the test's own.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(OPERATOR_BINARY_VARIABLE) {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let built = test.parent().and_then(Path::parent).map(|profile| profile.join("tenantry-operator"));
    built.filter(|binary| binary.is_file()).with_context(|| {
        format!("the operator is not built: run `cargo build -p tenantry-operator`, or name its binary in {OPERATOR_BINARY_VARIABLE}")
    })
}
