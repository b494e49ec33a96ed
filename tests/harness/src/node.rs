//! The node that `cargo xtask test node` started, as its user sees it: through kubectl and over the network.
//!
//! The stage brings a whole Tenantry up, as `cargo xtask up` does, and tells the tests in [`KUBECONFIG_VARIABLE`] and
//! [`CLUSTER_BINARY_VARIABLE`] where it is.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Environment variable: path of the node's kubeconfig.
pub const KUBECONFIG_VARIABLE: &str = "TENANTRY_NODE_KUBECONFIG";
/// Environment variable: path of the binary that bundles kubectl.
pub const CLUSTER_BINARY_VARIABLE: &str = "TENANTRY_CLUSTER_BINARY";

/// The namespace of the operator and of the trial PostgreSQL.
pub const SYSTEM_NAMESPACE: &str = "tenantry-system";

/// A running node with Tenantry on it.
#[derive(Debug, Clone)]
pub struct Node {
    binary: PathBuf,
    kubeconfig: PathBuf,
}

impl Node {
    /// The node of this test stage.
    ///
    /// # Errors
    /// When the stage's environment variables are missing: these tests only run under `cargo xtask test node`.
    pub fn of_this_stage() -> Result<Self> {
        let path = |variable: &str| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .with_context(|| format!("{variable} is not set: run these tests by `cargo xtask test node`"))
        };
        Ok(Self { binary: path(CLUSTER_BINARY_VARIABLE)?, kubeconfig: path(KUBECONFIG_VARIABLE)? })
    }

    /// Runs kubectl; gives its standard output.
    ///
    /// # Errors
    /// When it exits with another code than 0, with what it said.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, None).await
    }

    /// As [`Self::kubectl`], with that as its standard input.
    ///
    /// # Errors
    /// When it exits with another code than 0, with what it said.
    pub async fn kubectl_with(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let output = self.run(arguments, input).await?;
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Whether kubectl succeeds with these arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn kubectl_succeeds(&self, arguments: &[&str]) -> Result<bool> {
        Ok(self.run(arguments, None).await?.status.success())
    }

    /// `kubectl apply` of a manifest, as a user writes it.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, manifest: &str) -> Result<()> {
        let output = self.run(&["apply", "--server-side", "--field-manager=test", "-f", "-"], Some(manifest)).await?;
        ensure!(output.status.success(), "kubectl apply: {}\n{manifest}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// One object as JSON, or none if there is none of that name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn get(&self, namespace: &str, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self.kubectl(&["-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json"]).await?;
        if text.trim().is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&text)?)) }
    }

    /// The objects of a kind, by label selector, in all namespaces.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let text = self.kubectl(&["get", kind, "-A", "-l", selector, "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&text)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until a group is Ready, as a pipeline does.
    ///
    /// # Errors
    /// After the deadline, with the conditions of the group and its slots.
    pub async fn wait_until_ready(&self, group: &str, deadline: Duration) -> Result<()> {
        let target = format!("resourcegroup.tenantry.dev/{group}");
        let timeout = format!("--timeout={}s", deadline.as_secs());
        if self.kubectl_succeeds(&["wait", "--for=condition=Ready", &target, &timeout]).await? {
            return Ok(());
        }
        let slots = self.kubectl(&["get", "slots.tenantry.dev", "-A", "-o", "yaml"]).await.unwrap_or_default();
        let pods = self.kubectl(&["get", "pods", "-A", "-o", "wide"]).await.unwrap_or_default();
        bail!("group {group} was not Ready after {deadline:?}\n{slots}\n{pods}")
    }

    /// Decoded value of one key of a Secret.
    ///
    /// # Errors
    /// When there is no such Secret or key.
    pub async fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<String> {
        let secret = self.get(namespace, "secret", name).await?.with_context(|| format!("no Secret {namespace}/{name}"))?;
        let encoded = secret["data"][key].as_str().with_context(|| format!("no key {key} in Secret {namespace}/{name}"))?;
        let decoded = data_encoding::BASE64.decode(encoded.as_bytes())?;
        Ok(String::from_utf8(decoded)?)
    }

    /// Base URL of a service's API by the address of its Service, which the host reaches.
    ///
    /// # Errors
    /// When there is no such Service.
    pub async fn service_url(&self, namespace: &str, service: &str) -> Result<String> {
        let (address, port) = self.service_address(namespace, service).await?;
        Ok(format!("http://{address}:{port}"))
    }

    /// Address and first port of a Service.
    ///
    /// # Errors
    /// When there is no such Service.
    pub async fn service_address(&self, namespace: &str, service: &str) -> Result<(String, u16)> {
        let found = self.get(namespace, "service", service).await?.with_context(|| format!("no Service {namespace}/{service}"))?;
        let address = found["spec"]["clusterIP"].as_str().context("no clusterIP")?;
        let port = found["spec"]["ports"][0]["port"].as_u64().context("no port")?;
        Ok((address.to_owned(), u16::try_from(port)?))
    }

    /// Sends SIGKILL to all processes of a pod, which the node runs as processes of this machine.
    ///
    /// # Errors
    /// When the pod has no process.
    pub fn kill_pod(&self, pod: &Value) -> Result<()> {
        for pid in self.processes_of(pod)? {
            // It may have ended meanwhile, with the first one.
            std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status()?;
        }
        Ok(())
    }

    /// The processes of a pod's containers, as this machine numbers them; not that of the sandbox, which stays when a
    /// container dies of its own.
    ///
    /// # Errors
    /// When the pod has none.
    pub fn processes_of(&self, pod: &Value) -> Result<Vec<u32>> {
        let uid = pod["metadata"]["uid"].as_str().context("the pod has no UID")?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let control_group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            if !control_group.contains(uid) && !control_group.contains(&uid.replace('-', "_")) {
                continue;
            }
            let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if command.trim() != "pause" {
                found.push(pid);
            }
        }
        ensure!(!found.is_empty(), "no process of pod {} was found", pod["metadata"]["name"]);
        Ok(found)
    }

    /// The file that names the node's own network: the state folder's name is the node's.
    ///
    /// # Errors
    /// When the state folder has no name.
    pub fn network(&self) -> Result<PathBuf> {
        let name = self.kubeconfig.parent().and_then(Path::file_name).context("the kubeconfig is in no state folder")?;
        Ok(Path::new("/run").join(format!("tenantry-{}", name.display())).join("net"))
    }

    async fn run(&self, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        let mut child = Command::new(&self.binary)
            .arg("kubectl")
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
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

/// Asks again and again until the answer is some, at most for `deadline`.
///
/// # Errors
/// After the deadline, naming what was awaited; or the error of the last question.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    loop {
        ticks.tick().await;
        let answer = ask().await;
        match answer {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if begun.elapsed() < deadline => {}
            Ok(None) => bail!("{what}: not within {deadline:?}"),
            Err(_) if begun.elapsed() < deadline => {}
            Err(error) => return Err(error.context(format!("{what}: not within {deadline:?}"))),
        }
    }
}
