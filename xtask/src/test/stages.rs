//! What each stage does.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::axe_core;
use crate::cargo::{Target, TestProgram};
use crate::cluster::ClusterProgram;
use crate::commands;
use crate::files;
use crate::generate;
use crate::go_program::GoProgram;
use crate::images;
use crate::node::Node;
use crate::packages;
use crate::places::Places;
use crate::progress::{Progress, Stage};
use crate::tidy;
use crate::up::{self, Cluster};

use super::{Options, StageName, alerts, go, rust};

/// The node of the stage `node`.
const NODE: &str = "test";

/// What comes of `make`, where it is wanted, shown as a stage of the command.
fn made<T>(wanted: bool, name: &str, progress: &Progress, make: impl FnOnce(&Stage<'_>) -> Result<T>) -> Result<Option<T>> {
    if !wanted {
        return Ok(None);
    }
    let stage = progress.stage(name);
    let made = make(&stage)?;
    stage.done("ready");
    Ok(Some(made))
}

/// What all stages share: programs that are built, and where they find what they need.
pub struct Session<'a> {
    places: &'a Places,
    options: &'a Options,
    progress: &'a Progress,
    programs: Vec<TestProgram>,
    binaries: PathBuf,
    cluster: PathBuf,
    others: Others<'a>,
}

/// What some stages need that is not made by cargo.
struct Others<'a> {
    valkey: Option<PathBuf>,
    postgresql: Option<PathBuf>,
    axe_core: Option<PathBuf>,
    promtool: Option<GoProgram<'a>>,
}

impl<'a> Session<'a> {
    /// Installs and builds what the stages need.
    pub fn prepare(places: &'a Places, options: &'a Options, wanted: &[StageName], progress: &'a Progress) -> Result<Self> {
        let mut needs = Vec::new();
        if wanted.contains(&StageName::Services) || wanted.contains(&StageName::ControlPlane) {
            needs.extend([packages::SERVICES, packages::IMAGES]);
        }
        if wanted.contains(&StageName::Services) {
            needs.push(packages::BROWSER);
            if !axe_core::path(places).is_file() {
                needs.push(packages::NPM);
            }
        }
        if wanted.contains(&StageName::Node) {
            if !packages::is_root()? {
                bail!("the stage node needs root; name the others: cargo xtask test unit services control-plane");
            }
            needs.extend([packages::NODE, packages::IMAGES]);
        }
        packages::ensure(&needs, progress)?;
        let cluster = ClusterProgram::of_sources(places)?;
        let (programs, binaries, others) = std::thread::scope(|scope| {
            let others = scope.spawn(|| -> Result<Others<'a>> {
                let services = wanted.contains(&StageName::Services);
                let databases = services || wanted.contains(&StageName::ControlPlane);
                // Without it a filtered run is faster, and a filter names Rust tests.
                let rules = wanted.contains(&StageName::Unit) && options.filter.is_none();
                let valkey = made(services, "Valkey", progress, |stage| images::valkey_on_host(places, stage))?;
                let postgresql = made(databases, "PostgreSQL 17", progress, |stage| images::postgresql_on_host(places, stage))?;
                let axe_core = made(services, "axe-core", progress, |stage| axe_core::fetched(places, stage))?;
                made(true, "cluster program", progress, |stage| cluster.build(stage))?;
                let promtool = made(rules, "promtool", progress, |stage| alerts::promtool(places, stage))?;
                Ok(Others { valkey, postgresql, axe_core, promtool })
            });
            let built = build(places, progress);
            let made = others.join().unwrap_or_else(|_| bail!("a thread of `test` panicked"))?;
            built.map(|(programs, binaries)| (programs, binaries, made))
        })?;
        Ok(Self { places, options, progress, programs, binaries, cluster: cluster.path().to_path_buf(), others })
    }

    /// Runs one stage to its end; gives what failed in it.
    pub fn run(&self, stage: StageName) -> Vec<String> {
        let mut failures = Failures(Vec::new());
        match stage {
            StageName::Unit => self.unit(&mut failures),
            StageName::Services => self.programs_of(stage, &self.environment(), &mut failures),
            StageName::ControlPlane => self.programs_of(stage, &self.environment(), &mut failures),
            StageName::Node => self.node(&mut failures),
        }
        failures.0
    }

    fn unit(&self, failures: &mut Failures) {
        let references = rust::snapshot_references(&self.places.target);
        let _ = std::fs::remove_file(&references);
        let mut environment = self.environment();
        environment.push(("INSTA_SNAPSHOT_REFERENCES_FILE", references.clone()));
        self.programs_of(StageName::Unit, &environment, failures);
        if self.options.filter.is_some() {
            return;
        }
        let places = self.places;
        failures.note("documentation tests", rust::documentation(places));
        failures.note("snapshots", self.unreferenced_snapshots(&references));
        failures.note("cargo fmt", rust::format(places));
        failures.note("cargo clippy", rust::clippy(places));
        failures.note("tidy", tidy::run(places));
        failures.note("generated files", self.generated_files());
        if let Some(promtool) = &self.others.promtool {
            failures.note("alert rules", alerts::check(places, promtool));
        }
        failures.note("gofmt", go::format(places));
        failures.note("go test", go::test(places, &["./..."], &self.environment()));
    }

    fn unreferenced_snapshots(&self, references: &std::path::Path) -> Result<()> {
        let dead = tidy::unreferenced(&self.places.root, references)?;
        if dead.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = dead.iter().map(|path| path.display().to_string()).collect();
        bail!("no test compares with {}; delete them", names.join(", "))
    }

    fn generated_files(&self) -> Result<()> {
        let stale = generate::from_binaries(self.places, &self.binaries, true)?;
        if stale.is_empty() {
            return Ok(());
        }
        bail!("{} stale: run `cargo xtask generate`", stale.join(", "))
    }

    fn node(&self, failures: &mut Failures) {
        let started = self.start_node();
        match &started {
            Ok(environment) => self.programs_of(StageName::Node, environment, failures),
            Err(error) => failures.0.push(format!("the node did not start: {error:#}")),
        }
        if self.options.filter.is_none() {
            let own_node = ["-tags", "node", "-run", "^TestNode", "./clustertest"];
            failures.note("a node leaves nothing behind", go::test(self.places, &own_node, &self.environment()));
            let packets = ["-tags", "node", "-run", "^TestNode", "./internal/policy"];
            failures.note("packets pass as policies say", go::test(self.places, &packets, &self.environment()));
        }
        if self.options.keep_node {
            return;
        }
        failures.note("ending the node", commands::down(self.places, NODE));
    }

    /// Brings a whole Tenantry up, as a user does.
    fn start_node(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let running = up::up(self.places, &Cluster::Node(NODE.to_owned()), self.progress)?;
        let greeter = self.places.node(NODE).join("greeter.json");
        files::write_whole(&greeter, running.greeter.to_string().as_bytes()).context("cannot write the greeter's entry")?;
        let mut environment = self.environment();
        environment.push(("TENANTRY_NODE_KUBECONFIG", Node::named(self.places, NODE).kubeconfig()));
        environment.push(("TENANTRY_NODE_GREETER", greeter));
        Ok(environment)
    }

    fn programs_of(&self, stage: StageName, environment: &[(&str, PathBuf)], failures: &mut Failures) {
        for program in rust::of_stage(&self.programs, stage) {
            let result = rust::run(self.places, program, self.options.filter.as_deref(), environment);
            if let Err(error) = result {
                failures.0.push(format!("{error:#}"));
            }
        }
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut environment = vec![
            ("TENANTRY_CLUSTER_BINARY", self.cluster.clone()),
            ("TENANTRY_OPERATOR_BINARY", self.binaries.join(images::OPERATOR.name)),
        ];
        let Others { valkey, postgresql, axe_core, .. } = &self.others;
        for (variable, path) in [("TENANTRY_VALKEY", valkey), ("TENANTRY_POSTGRES_17_BIN", postgresql), ("TENANTRY_AXE_CORE", axe_core)] {
            if let Some(path) = path {
                environment.push((variable, path.clone()));
            }
        }
        environment
    }
}

fn build(places: &Places, progress: &Progress) -> Result<(Vec<TestProgram>, PathBuf)> {
    let stage = progress.stage("Rust programs and tests");
    let target = Target::hold(places, &stage)?;
    let binaries = target.build_binaries(&stage)?;
    let programs = target.build_tests(&stage)?;
    stage.done(&format!("{} test programs", programs.len()));
    Ok((programs, binaries))
}

/// What failed in a stage, so far.
struct Failures(Vec<String>);

impl Failures {
    fn note(&mut self, what: &str, result: Result<()>) {
        match result {
            Ok(()) => eprintln!("{what}: ok"),
            Err(error) => {
                eprintln!("{what}: FAILED: {error:#}");
                self.0.push(format!("{what}: {error:#}"));
            }
        }
    }
}
