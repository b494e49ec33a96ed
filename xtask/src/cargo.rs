//! Building the workspace in a target directory that all checkouts share.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::files::{self, Lock};
use crate::places::Places;
use crate::process;
use crate::progress::Stage;

/// Top-level directories with sources of crates.
const SOURCE_DIRECTORIES: [&str; 5] = ["crds", "operator", "services", "tests", "xtask"];

/// The target directory, held by this process alone and told which checkout it is to build.
///
/// Cargo recognises a crate of the workspace by its path below the workspace's root and judges its freshness by
/// modification times. So when two checkouts share a target directory, the second would get the first one's programs if
/// its files happen to be older. Hence: when another checkout was built last, every source of this one counts as changed.
pub struct Target<'a> {
    places: &'a Places,
    _lock: Lock,
}

impl<'a> Target<'a> {
    /// Waits until no other command builds there.
    pub fn hold(places: &'a Places, stage: &Stage<'_>) -> Result<Self> {
        let lock = Lock::take(&places.target.join("tenantry.lock"), || {
            stage.line("waiting for another build in the same target directory");
        })?;
        let marker = places.target.join("tenantry.checkout");
        let checkout = places.root.as_os_str().as_encoded_bytes();
        if fs::read(&marker).ok().as_deref() != Some(checkout) {
            // Absent while sources are touched: a kill in between touches them again.
            let _ = fs::remove_file(&marker);
            if places.target.join("debug").exists() || places.target.join("release").exists() {
                touch_sources(&places.root)?;
            }
            files::write_whole(&marker, checkout)?;
        }
        Ok(Self { places, _lock: lock })
    }

    /// A cargo command that builds there.
    pub fn cargo(&self, subcommand: &str) -> Command {
        cargo(self.places, subcommand)
    }

    /// Builds every binary of the workspace; gives the directory that they are in.
    pub fn build_binaries(&self, stage: &Stage<'_>) -> Result<PathBuf> {
        // The same selection of packages as for tests, so that features are the same and nothing is compiled twice.
        let mut command = self.cargo("build");
        command.args(["--workspace", "--bins"]);
        process::run(&mut command, &self.places.log("cargo-build"), |line| {
            show(stage, line);
        })?;
        Ok(self.places.target.join("debug"))
    }

    /// Builds the binaries of these packages as fast as they can be; gives the directory that they are in.
    pub fn build_released(&self, packages: &[&str], stage: &Stage<'_>) -> Result<PathBuf> {
        let mut command = self.cargo("build");
        command.args(["--release", "--bins"]);
        for package in packages {
            command.args(["--package", package]);
        }
        process::run(&mut command, &self.places.log("cargo-build-release"), |line| {
            show(stage, line);
        })?;
        Ok(self.places.target.join("release"))
    }

    /// Builds every test of the workspace and gives the programs that run them.
    pub fn build_tests(&self, stage: &Stage<'_>) -> Result<Vec<TestProgram>> {
        let mut command = self.cargo("test");
        command.args(["--workspace", "--all-targets", "--no-run"]);
        command.arg("--message-format=json-render-diagnostics");
        let mut programs = Vec::new();
        process::run(&mut command, &self.places.log("cargo-test-build"), |line| match TestProgram::from_message(line) {
            Some(program) => programs.push(program),
            None => show(stage, line),
        })?;
        programs.sort();
        Ok(programs)
    }
}

/// A cargo command in the checkout, with the shared target directory.
pub fn cargo(places: &Places, subcommand: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&places.root).env("CARGO_TARGET_DIR", &places.target).env("SQLX_OFFLINE", "true").arg(subcommand);
    // What `cargo run` sets for xtask is not about what xtask runs; ring's build script watches these variables, and all that
    // stands on it would be built anew each time that plain cargo and `cargo xtask` take turns.
    for (variable, _) in env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command
}

fn show(stage: &Stage<'_>, line: &str) {
    let line = line.trim();
    if ["Compiling", "Checking", "Downloading", "Downloaded", "Blocking"].iter().any(|verb| line.starts_with(verb)) {
        stage.detail(line);
    }
}

fn touch_sources(root: &Path) -> Result<()> {
    let now = SystemTime::now();
    for directory in SOURCE_DIRECTORIES {
        let directory = root.join(directory);
        if !directory.is_dir() {
            continue;
        }
        for file in files::walk(&directory, &|path| path.file_name().is_some_and(|name| name != "target"))? {
            File::options()
                .write(true)
                .open(&file)
                .and_then(|file| file.set_modified(now))
                .with_context(|| format!("cannot touch {}", file.display()))?;
        }
    }
    Ok(())
}

/// A program that runs the tests of one target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestProgram {
    /// The package that it tests.
    pub package: String,
    /// What of the package: its `lib`, a `bin`, a `test`.
    pub kind: String,
    /// Name of the target.
    pub target: String,
    /// The program.
    pub executable: PathBuf,
    /// Where tests run: the package's directory.
    pub directory: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    package_id: Option<String>,
    target: Option<MessageTarget>,
    profile: Option<MessageProfile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct MessageTarget {
    kind: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
struct MessageProfile {
    test: bool,
}

impl TestProgram {
    /// Reads one line of cargo's JSON messages, if it announces such a program.
    fn from_message(line: &str) -> Option<Self> {
        if !line.starts_with('{') {
            return None;
        }
        let message: Message = serde_json::from_str(line).ok()?;
        if message.reason != "compiler-artifact" || !message.profile?.test {
            return None;
        }
        let target = message.target?;
        Some(Self {
            package: package_name(&message.package_id?)?,
            kind: target.kind.first()?.clone(),
            target: target.name,
            executable: message.executable?,
            directory: message.manifest_path?.parent()?.to_path_buf(),
        })
    }

    /// How cargo would announce it.
    pub fn title(&self) -> String {
        format!("{} ({} {})", self.package, self.kind, self.target)
    }
}

/// The name in a package id: `path+file:///checkout/crds#tenantry-crds@0.1.0` or `path+file:///checkout/xtask#0.1.0`.
fn package_name(id: &str) -> Option<String> {
    let (path, fragment) = id.rsplit_once('#')?;
    let name = match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next()?,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_ids_of_both_forms_are_read() {
        assert_eq!(package_name("path+file:///c/crds#tenantry-crds@0.1.0").as_deref(), Some("tenantry-crds"));
        assert_eq!(package_name("path+file:///c/xtask#0.1.0").as_deref(), Some("xtask"));
    }

    #[test]
    fn only_programs_of_tests_are_taken_from_messages() {
        let message = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///c/xtask#0.1.0","manifest_path":"/c/xtask/Cargo.toml","target":{{"kind":["bin"],"name":"xtask"}},"profile":{{"test":{test}}},"executable":"/t/xtask-1"}}"#
            )
        };
        let program = TestProgram::from_message(&message(true)).unwrap();
        assert_eq!(program.title(), "xtask (bin xtask)");
        assert_eq!(program.directory, Path::new("/c/xtask"));
        assert_eq!(TestProgram::from_message(&message(false)), None);
        assert_eq!(TestProgram::from_message("   Compiling serde"), None);
    }
}
