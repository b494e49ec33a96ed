//! The throwaway node: started, asked and ended through the program of `tests/cluster`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cluster::ClusterProgram;
use crate::kubernetes::Access;
use crate::places::Places;
use crate::process;
use crate::progress::Stage;

/// The name of the node that `up` starts when no other is given.
pub const DEFAULT_NAME: &str = "tenantry";
/// Environment variable: another node's name, for commands whose arguments are a client's.
pub const NAME_VARIABLE: &str = "TENANTRY_NODE";

/// One node, running or not.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    state: PathBuf,
    log: PathBuf,
}

impl Node {
    /// The node of that name.
    pub fn named(places: &Places, name: &str) -> Self {
        Self { name: name.to_owned(), state: places.node(name), log: places.log(&format!("node-{name}")) }
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Whether there may be anything of it: its state, or what its processes hold on to without it.
    pub fn has_traces(&self) -> bool {
        self.state.is_dir() || Path::new("/run").join(format!("tenantry-{}", self.name)).exists()
    }

    /// Where its kubeconfig is while it runs.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// How it is reached; fails when it does not run.
    pub fn access(&self) -> Result<Access> {
        let kubeconfig = self.kubeconfig();
        if !kubeconfig.is_file() {
            bail!("no node runs ({} is not there); start one with `cargo xtask up`", kubeconfig.display());
        }
        Ok(Access::Kubeconfig(kubeconfig))
    }

    /// Starts it, or whatever of it does not run.
    pub fn up(&self, program: &ClusterProgram<'_>, stage: &Stage<'_>) -> Result<()> {
        let mut command = program.command();
        command.args(["node", "up", "--state"]).arg(&self.state);
        command.args(["--name", &self.name]);
        process::run(&mut command, &self.log, |line| stage.detail(&progress_text(line))).context("the throwaway node did not start")?;
        program.record(&self.state)
    }

    /// Ends it with everything that it started.
    pub fn down(&self, program: &ClusterProgram<'_>, stage: &Stage<'_>) -> Result<()> {
        let mut command = program.command();
        command.args(["node", "down", "--state"]).arg(&self.state);
        command.args(["--name", &self.name]);
        process::run(&mut command, &self.log, |line| stage.detail(&progress_text(line))).context("the throwaway node did not end cleanly")
    }

    /// Shows what runs of it.
    pub fn show_status(&self, program: &ClusterProgram<'_>) -> Result<()> {
        let mut command = program.command();
        command.args(["node", "status", "--state"]).arg(&self.state);
        process::attached_checked(&mut command)
    }

    /// What runs of it, for machines.
    pub fn status(&self, program: &ClusterProgram<'_>) -> Result<Value> {
        let mut command = program.command();
        command.args(["node", "status", "--state"]).arg(&self.state);
        command.arg("--output=json");
        let printed = process::output(&mut command)?;
        serde_json::from_slice(&printed).context("`node status` printed something else than JSON")
    }
}

/// A line of progress for people: the program prints JSON.
fn progress_text(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let words: Vec<String> = ["part", "event", "message"]
        .iter()
        .filter_map(|key| fields.get(*key).and_then(Value::as_str).map(str::to_owned))
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() { line.to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_json_and_anything_else_is_shown_as_it_is() {
        assert_eq!(progress_text(r#"{"event":"ready","part":"etcd"}"#), "etcd ready");
        assert_eq!(progress_text("panic: oops"), "panic: oops");
        assert_eq!(progress_text(r#"{"x":1}"#), r#"{"x":1}"#);
    }
}
