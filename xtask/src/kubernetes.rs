//! A cluster as its users see it: through the bundled kubectl and Helm.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::ClusterProgram;
use crate::process;

/// Which cluster, and what speaks to it.
pub struct Kubernetes<'a> {
    program: &'a ClusterProgram<'a>,
    access: Access,
}

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// By a kubeconfig of its own, as the throwaway node's.
    Kubeconfig(PathBuf),
    /// By a context of the user's kubeconfig.
    Context(String),
}

impl<'a> Kubernetes<'a> {
    /// The cluster reached by `access`.
    pub fn new(program: &'a ClusterProgram<'a>, access: Access) -> Self {
        Self { program, access }
    }

    /// A kubectl command.
    pub fn kubectl(&self) -> Command {
        self.client("kubectl", "--context")
    }

    /// A Helm command.
    pub fn helm(&self) -> Command {
        self.client("helm", "--kube-context")
    }

    /// A `tenantry-cluster` command with access to the cluster.
    pub fn client(&self, subcommand: &str, context_flag: &str) -> Command {
        let mut command = self.program.command();
        command.arg(subcommand);
        match &self.access {
            Access::Kubeconfig(path) => {
                command.env("KUBECONFIG", path);
            }
            Access::Context(name) => {
                command.arg(format!("{context_flag}={name}"));
            }
        }
        command
    }

    /// Runs kubectl and gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        process::text(self.kubectl().args(arguments))
    }

    /// `kubectl get ... --output=json`.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.kubectl();
        command.arg("get").args(arguments).arg("--output=json");
        let bytes = process::output(&mut command)?;
        serde_json::from_slice(&bytes).context("kubectl printed something else than JSON")
    }

    /// The objects of a list.
    pub fn list(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let mut list = self.get(arguments)?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Applies manifests by server-side apply and gives the names of what they say, `kind.group/name`.
    pub fn apply(&self, manifests: &str) -> Result<Vec<String>> {
        let mut command = self.kubectl();
        command.args(["apply", "--server-side", "--force-conflicts", "--field-manager=tenantry-up"]);
        command.args(["--filename=-", "--output=name"]);
        let output = process::output_with_input(&mut command, Some(manifests.as_bytes()))?;
        Ok(String::from_utf8_lossy(&output).lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
    }
}
