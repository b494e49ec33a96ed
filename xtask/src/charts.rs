//! Installing the two charts with Helm, and only when there is something to change.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::files::{self, ContentHash};
use crate::kubernetes::Kubernetes;
use crate::places::Places;
use crate::process;
use crate::progress::Stage;

/// Where the operator runs.
pub const SYSTEM_NAMESPACE: &str = "tenantry-system";

const CRDS: &str = "tenantry-crds";
const OPERATOR: &str = "tenantry";

/// Images that the charts need, by digest.
pub struct ChartImages<'a> {
    /// The operator's.
    pub operator: &'a str,
    /// PostgreSQL's.
    pub postgresql: &'a str,
}

/// Installs or upgrades both charts; tells whether anything was to do.
pub fn install(places: &Places, kubernetes: &Kubernetes<'_>, images: &ChartImages<'_>, stage: &Stage<'_>) -> Result<bool> {
    let crds = install_chart(places, kubernetes, CRDS, &json!({}), stage)?;
    let values = json!({
        "image": images.operator,
        "postgresql": {
            "enabled": true,
            "image": images.postgresql,
        },
    });
    let operator = install_chart(places, kubernetes, OPERATOR, &values, stage)?;
    Ok(crds || operator)
}

/// One entry of `helm history`.
#[derive(Debug, Deserialize)]
struct Revision {
    revision: u32,
    status: String,
    #[serde(default)]
    description: String,
}

fn install_chart(places: &Places, kubernetes: &Kubernetes<'_>, name: &str, values: &Value, stage: &Stage<'_>) -> Result<bool> {
    let chart = places.root.join("charts").join(name);
    let description = format!("content {}", content_hash(&chart, values)?);
    let latest = latest_revision(kubernetes, name);
    if let Some(latest) = &latest {
        if is_current(latest, &description) && everything_is_there(kubernetes, name) {
            return Ok(false);
        }
        if latest.status.starts_with("pending") {
            // Left by a kill: Helm would refuse to go on. What it had created stays and is adopted.
            let secret = format!("sh.helm.release.v1.{name}.v{}", latest.revision);
            kubernetes.run(&["--namespace", SYSTEM_NAMESPACE, "delete", "secret", &secret, "--ignore-not-found"])?;
        }
    }
    stage.detail(&format!("helm upgrade --install {name}"));
    let values_file = files::unfinished(&places.state.join(format!("{name}.values.json")));
    files::write_whole(&values_file, values.to_string().as_bytes())?;
    let mut command = kubernetes.helm();
    command
        .args(["upgrade", "--install", name])
        .arg(&chart)
        .args(["--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout=5m"])
        .arg(format!("--description={description}"))
        .arg("--values")
        .arg(&values_file);
    let done = process::run(&mut command, &places.log(&format!("helm-{name}")), |line| {
        stage.detail(line);
    });
    let _ = fs::remove_file(&values_file);
    done.with_context(|| format!("the chart {name} could not be installed{}", pods(kubernetes)))?;
    Ok(true)
}

fn is_current(latest: &Revision, description: &str) -> bool {
    latest.status == "deployed" && latest.description == description
}

fn latest_revision(kubernetes: &Kubernetes<'_>, name: &str) -> Option<Revision> {
    let mut command = kubernetes.helm();
    command.args(["history", name, "--namespace", SYSTEM_NAMESPACE, "--max=1", "--output=json"]);
    let output = process::output(&mut command).ok()?;
    let revisions: Vec<Revision> = serde_json::from_slice(&output).ok()?;
    revisions.into_iter().next_back()
}

/// Whether every object that Helm installed still exists.
fn everything_is_there(kubernetes: &Kubernetes<'_>, name: &str) -> bool {
    let mut command = kubernetes.helm();
    command.args(["get", "manifest", name, "--namespace", SYSTEM_NAMESPACE]);
    let Ok(manifest) = process::output(&mut command) else {
        return false;
    };
    let mut get = kubernetes.kubectl();
    get.args(["get", "--namespace", SYSTEM_NAMESPACE, "--filename=-", "--output=name"]);
    process::output_with_input(&mut get, Some(&manifest)).is_ok()
}

fn content_hash(chart: &Path, values: &Value) -> Result<String> {
    let mut hash = ContentHash::default();
    for file in files::walk(chart, &|_| true)? {
        let name = file.strip_prefix(chart).unwrap_or(&file).to_string_lossy();
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.add(&name, &content);
    }
    hash.add("values", values.to_string().as_bytes());
    Ok(hash.hex()[..16].to_owned())
}

/// The pods of the operator's namespace, for an error.
fn pods(kubernetes: &Kubernetes<'_>) -> String {
    crate::diagnosis::of_namespace(kubernetes, SYSTEM_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(status: &str, description: &str) -> Revision {
        Revision { revision: 1, status: status.to_owned(), description: description.to_owned() }
    }

    #[test]
    fn only_a_deployed_revision_of_the_same_content_is_current() {
        assert!(is_current(&revision("deployed", "content a"), "content a"));
        assert!(!is_current(&revision("deployed", "content b"), "content a"));
        assert!(!is_current(&revision("pending-install", "content a"), "content a"));
    }
}
