//! `up`: from a machine with compilers to a tenant's running application.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::cargo::Target;
use crate::charts::{self, ChartImages};
use crate::cluster::ClusterProgram;
use crate::examples;
use crate::files::{self, Lock};
use crate::forwards::{self, Forward};
use crate::images::{self, Builder, Destination, GREETER, Image, OPERATOR, SERVICES};
use crate::kubernetes::{Access, Kubernetes};
use crate::node::{self, Node};
use crate::packages;
use crate::places::Places;
use crate::progress::Progress;
use crate::readiness::{self, ReadySlot};
use crate::release::{self, Release};

/// Which cluster to use.
#[derive(Debug, Clone)]
pub enum Cluster {
    /// A throwaway node of that name.
    Node(String),
    /// A cluster that is there already.
    Existing {
        /// Context of the user's kubeconfig.
        context: String,
        /// `HOST/PATH` of a registry that the cluster pulls from.
        registry: String,
    },
}

/// Names the state of forwards into a cluster that was there already.
pub const EXISTING: &str = "existing";

/// What runs in the end.
pub struct Running {
    /// How the cluster is reached.
    pub access: Access,
    /// How a user calls kubectl for it.
    pub kubectl: String,
    /// The release that the example runs.
    pub release: String,
    /// Ports of this machine that lead to the slots' APIs.
    pub forwards: Vec<Forward>,
    /// Manifests to apply next.
    pub next: Vec<PathBuf>,
    /// The entry that a release would have for the greeter, which only tests deploy.
    pub greeter: Value,
}

/// The images' references, once they are where the cluster finds them.
struct References {
    operator: String,
    postgresql: String,
    valkey: String,
    release: Release,
    greeter: Value,
}

/// Does whatever is left to do; with nothing changed it changes nothing.
pub fn up(places: &Places, cluster: &Cluster, progress: &Progress) -> Result<Running> {
    let _lock = Lock::take(&places.state.join(format!("{}.lock", lock_name(cluster))), || {
        progress.line("waiting for another `cargo xtask up` or `down`");
    })?;
    let mut needs = vec![packages::IMAGES];
    if matches!(cluster, Cluster::Node(_)) {
        if !packages::is_root()? {
            bail!("the throwaway node needs root: run as root, or use a cluster that is there with --context and --registry");
        }
        needs.push(packages::NODE);
    }
    packages::ensure(&needs, progress)?;

    let program = ClusterProgram::of_sources(places)?;
    let binaries = prepare(places, cluster, &program, progress)?;
    let access = match cluster {
        Cluster::Node(name) => Node::named(places, name).access()?,
        Cluster::Existing { context, .. } => Access::Context(context.clone()),
    };
    let kubernetes = Kubernetes::new(&program, access.clone());
    let references = bring_images(places, cluster, &program, &binaries, progress)?;

    let stage = progress.stage("charts");
    let images = ChartImages { operator: &references.operator, postgresql: &references.postgresql };
    let changed = charts::install(places, &kubernetes, &images, &stage)?;
    stage.done(if changed { "installed" } else { "nothing to change" });

    let example = run_example(places, cluster, &kubernetes, &references, progress)?;
    let forwards = forward(places, cluster, &kubernetes, &program, &example.slots, &references.release)?;
    let stage = progress.stage("addresses");
    forwards::wait_until_served(&forwards, &stage)?;
    stage.done("all answer");
    let kubectl = match cluster {
        Cluster::Node(name) if name == node::DEFAULT_NAME => "cargo xtask kubectl".to_owned(),
        Cluster::Node(name) => format!("{}={name} cargo xtask kubectl", node::NAME_VARIABLE),
        Cluster::Existing { context, .. } => format!("kubectl --context {context}"),
    };
    Ok(Running { access, kubectl, release: references.release.name, forwards, next: example.next, greeter: references.greeter })
}

/// Compiles, starts the node and fetches Debian packages, all at once; gives the directory of the binaries.
fn prepare(places: &Places, cluster: &Cluster, program: &ClusterProgram<'_>, progress: &Progress) -> Result<PathBuf> {
    std::thread::scope(|scope| {
        let node = scope.spawn(|| -> Result<()> {
            let stage = progress.stage("cluster program");
            program.build(&stage)?;
            stage.done("ready");
            if let Cluster::Node(name) = cluster {
                let stage = progress.stage("node");
                Node::named(places, name).up(program, &stage)?;
                stage.done("ready");
            }
            Ok(())
        });
        let bases = scope.spawn(|| -> Result<()> {
            let stage = progress.stage("images from Debian packages");
            images::prepare(places, &stage)?;
            stage.done("ready");
            Ok(())
        });
        let binaries = build_binaries(places, progress);
        for thread in [node, bases] {
            thread.join().unwrap_or_else(|_| bail!("a thread of `up` panicked"))?;
        }
        binaries
    })
}

fn build_binaries(places: &Places, progress: &Progress) -> Result<PathBuf> {
    let stage = progress.stage("Rust programs");
    let target = Target::hold(places, &stage)?;
    let binaries = target.build_binaries(&stage)?;
    stage.done("built");
    Ok(binaries)
}

fn bring_images(
    places: &Places,
    cluster: &Cluster,
    program: &ClusterProgram<'_>,
    binaries: &std::path::Path,
    progress: &Progress,
) -> Result<References> {
    let destination = match cluster {
        Cluster::Node(name) => Destination::Node(places.node(name)),
        Cluster::Existing { registry, .. } => Destination::Registry(registry.clone()),
    };
    let stage = progress.stage("images");
    let builder = Builder::new(places, program, &stage);
    let bring = |image: Result<Image>| -> Result<String> {
        let image = image?;
        stage.detail(&image.name);
        destination.bring(program, &image)
    };
    let release = release_of(&builder, binaries, &bring)?;
    let greeter_image = bring(builder.program(GREETER, binaries))?;
    let references = References {
        operator: bring(builder.program(OPERATOR, binaries))?,
        postgresql: bring(builder.postgresql())?,
        valkey: bring(builder.valkey())?,
        greeter: release::entry(GREETER, binaries, &greeter_image)?,
        release,
    };
    stage.done(&format!("release {}", references.release.name));
    Ok(references)
}

/// The Release of this tree, its images brought where `bring` brings them.
pub fn release_of(builder: &Builder<'_>, binaries: &std::path::Path, bring: &dyn Fn(Result<Image>) -> Result<String>) -> Result<Release> {
    let mut services = Map::new();
    for service in SERVICES {
        let reference = bring(builder.program(service, binaries))?;
        let entry = release::entry(service, binaries, &reference)?;
        services.insert(service.name.to_owned(), entry);
    }
    Ok(Release::of(services))
}

fn run_example(
    places: &Places,
    cluster: &Cluster,
    kubernetes: &Kubernetes<'_>,
    references: &References,
    progress: &Progress,
) -> Result<Example> {
    let stage = progress.stage("example");
    let values = BTreeMap::from([("RELEASE", references.release.name.as_str()), ("VALKEY_IMAGE", references.valkey.as_str())]);
    let directory = places.root.join("examples");
    let mut manifests = references.release.manifest().to_string();
    for manifest in examples::read(&directory, &values)? {
        manifests.push_str("\n---\n");
        manifests.push_str(&manifest.text);
    }
    let names = kubernetes.apply(&manifests).context("the API server refused the manifests of examples/")?;
    let groups: Vec<String> = names.iter().filter_map(|name| name.strip_prefix("resourcegroup.tenantry.dev/")).map(str::to_owned).collect();
    if groups.is_empty() {
        bail!("examples/ has no ResourceGroup");
    }
    let slots = readiness::wait_for_groups(kubernetes, &groups, &stage)?;
    let mut next = Vec::new();
    for manifest in examples::read(&directory.join("next"), &values)? {
        let path = places.node(lock_name(cluster)).join("next").join(manifest.file);
        files::write_whole(&path, manifest.text.as_bytes())?;
        next.push(path);
    }
    stage.done(&format!("{} with {} slots is Ready", groups.join(", "), slots.len()));
    Ok(Example { slots, next })
}

/// The example, running.
struct Example {
    slots: Vec<ReadySlot>,
    /// Manifests to apply next, filled in.
    next: Vec<PathBuf>,
}

fn forward(
    places: &Places,
    cluster: &Cluster,
    kubernetes: &Kubernetes<'_>,
    program: &ClusterProgram<'_>,
    slots: &[ReadySlot],
    release: &Release,
) -> Result<Vec<Forward>> {
    let directory = places.node(lock_name(cluster));
    let path = directory.join("forwards.json");
    let previous = forwards::read(&path);
    let forwards = forwards::plan(slots, release, &previous, &forwards::is_free)?;
    forwards::write(&path, &forwards)?;
    if matches!(cluster, Cluster::Existing { .. }) {
        forwards::supervise(kubernetes, program, &path)?;
    }
    Ok(forwards)
}

/// What tells one cluster's state directory and lock from another's.
pub fn lock_name(cluster: &Cluster) -> &str {
    match cluster {
        Cluster::Node(name) => name,
        Cluster::Existing { .. } => EXISTING,
    }
}
