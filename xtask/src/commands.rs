//! The commands that are small: each a few steps of the modules beside it.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;

use crate::cargo::Target;
use crate::cluster::{self, ClusterProgram};
use crate::files::{self, Lock};
use crate::forwards;
use crate::images::{Builder, Destination, SERVICES};
use crate::kubernetes::Kubernetes;
use crate::node::{self, Node};
use crate::packages;
use crate::places::Places;
use crate::process;
use crate::progress::{Progress, seconds};
use crate::report;
use crate::up::{self, Cluster};

/// `up`.
pub fn up(places: &Places, cluster: &Cluster, as_json: bool) -> Result<()> {
    let progress = Progress::start("Tenantry: starting, with whatever is missing. The first time takes half an hour, later ones a minute.");
    let running = up::up(places, cluster, &progress)?;
    progress.line(&format!("up after {}", seconds(progress.elapsed())));
    if as_json {
        println!("{}", report::json(&running));
    } else {
        println!("{}", report::text(&running));
    }
    Ok(())
}

/// `down`: the node, and forwards into a cluster that was there already.
pub fn down(places: &Places, name: &str) -> Result<()> {
    let progress = Progress::start("Tenantry: ending what was started");
    let _lock = Lock::take(&places.state.join(format!("{name}.lock")), || {
        progress.line("waiting for another `cargo xtask up` or `down`");
    })?;
    forwards::stop(&places.node(up::EXISTING))?;
    let node = Node::named(places, name);
    if !node.has_traces() {
        progress.line(&format!("there is no node {name}"));
        return Ok(());
    }
    let program = cluster::of_node(places, node.state())?;
    let stage = progress.stage("node");
    node.down(&program, &stage)?;
    stage.done("ended");
    Ok(())
}

/// `kubectl` and `helm`: becomes the client; returns only the reason why not.
pub fn client(places: &Places, name: &str, arguments: &[OsString]) -> anyhow::Error {
    let prepared = || -> Result<anyhow::Error> {
        let named = std::env::var(node::NAME_VARIABLE).unwrap_or_else(|_| node::DEFAULT_NAME.to_owned());
        let node = Node::named(places, &named);
        let access = node.access()?;
        let program = cluster::of_node(places, node.state())?;
        let kubernetes = Kubernetes::new(&program, access);
        let mut command = kubernetes.client(name, "");
        Ok(process::become_command(command.args(arguments)))
    };
    prepared().unwrap_or_else(|error| error)
}

/// `kubeconfig`.
pub fn kubeconfig(places: &Places, name: &str) -> Result<()> {
    let node = Node::named(places, name);
    node.access()?;
    println!("{}", node.kubeconfig().display());
    Ok(())
}

/// `status`.
pub fn status(places: &Places, name: &str, as_json: bool) -> Result<()> {
    let node = Node::named(places, name);
    let forwards = forwards::read(&node.state().join("forwards.json"));
    let access = match node.access() {
        Ok(access) => access,
        Err(error) if as_json => {
            println!("{}", json!({ "running": false, "reason": error.to_string() }));
            return Ok(());
        }
        Err(error) => {
            println!("{error}");
            return Ok(());
        }
    };
    let program = cluster::of_node(places, node.state())?;
    let kubernetes = Kubernetes::new(&program, access);
    if as_json {
        let parts = node.status(&program)?;
        let slots = kubernetes.list(&["slots.tenantry.dev", "--all-namespaces"]).unwrap_or_default();
        let urls: Vec<_> = forwards
            .iter()
            .map(|forward| json!({ "namespace": forward.namespace, "service": forward.service, "url": forward.url() }))
            .collect();
        println!("{}", json!({ "running": true, "node": parts, "slots": slots, "urls": urls }));
        return Ok(());
    }
    node.show_status(&program)?;
    println!();
    match kubernetes.run(&["get", "resourcegroups.tenantry.dev,slots.tenantry.dev", "--all-namespaces"]) {
        Ok(table) => println!("{table}\n"),
        Err(error) => println!("no slots: {error:#}\n"),
    }
    Ok(())
}

/// `release`.
pub fn release(places: &Places, registry: Option<String>, output: Option<&Path>) -> Result<()> {
    let progress = Progress::start("building the images of a release");
    packages::ensure(&[packages::IMAGES], &progress)?;
    let program = ClusterProgram::of_sources(places)?;
    let stage = progress.stage("cluster program");
    program.build(&stage)?;
    stage.done("ready");
    let stage = progress.stage("Rust programs");
    let target = Target::hold(places, &stage)?;
    let binaries = target.build_released(&SERVICES.map(|service| service.name), &stage)?;
    stage.done("built");
    let stage = progress.stage("images");
    let builder = Builder::new(places, &program, &stage);
    let destination = registry.map_or(Destination::Nowhere, Destination::Registry);
    let release = up::release_of(&builder, &binaries, &|image| destination.bring(&program, &image?))?;
    stage.done(&release.name);
    let mut manifest = serde_json::to_string_pretty(&release.manifest())?;
    manifest.push('\n');
    match output {
        None => print!("{manifest}"),
        Some(path) if path.is_dir() => bail!("{} is a directory; name a file", path.display()),
        Some(path) => {
            files::write_whole(path, manifest.as_bytes())?;
        }
    }
    Ok(())
}
