//! The program of `tests/cluster`: built once for each state of its sources, and the way to everything Kubernetes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::files::{self, ContentHash, Lock};
use crate::places::Places;
use crate::process;
use crate::progress::{Progress, Stage};

const PROGRAM: &str = "tenantry-cluster";
/// In a node's state directory: the path of the program that started it.
const RECORD: &str = "program";
/// Programs of other states of the sources are deleted when they were not used for so long.
const KEPT_FOR: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The program, whether built or not.
pub struct ClusterProgram<'a> {
    places: &'a Places,
    path: PathBuf,
}

impl<'a> ClusterProgram<'a> {
    /// Finds where the program of the present sources belongs.
    pub fn of_sources(places: &'a Places) -> Result<Self> {
        let hash = source_hash(&module(places))?;
        let path = programs(places).join(hash).join(PROGRAM);
        Ok(Self { places, path })
    }

    /// Where it is, once built.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub fn is_built(&self) -> bool {
        self.path.is_file()
    }

    /// Builds it unless it is there.
    pub fn build(&self, stage: &Stage<'_>) -> Result<()> {
        if self.is_built() {
            // Its age says when it was last used.
            if let Some(directory) = self.path.parent() {
                let _ = fs::File::open(directory).and_then(|file| file.set_modified(SystemTime::now()));
            }
            return Ok(());
        }
        let _lock = Lock::take(&programs(self.places).join("lock"), || {
            stage.line("waiting for another build of it");
        })?;
        if self.is_built() {
            return Ok(());
        }
        let module = module(self.places);
        let flags =
            fs::read_to_string(module.join("ldflags")).with_context(|| format!("cannot read {}", module.join("ldflags").display()))?;
        files::create_parent(&self.path)?;
        let unfinished = files::unfinished(&self.path);
        let mut command = go(&module);
        command.args(["build", "-trimpath", "-buildvcs=false", "-v", "-ldflags"]).arg(flags.trim()).arg("-o").arg(&unfinished).arg(".");
        let mut packages = 0_u32;
        process::run(&mut command, &self.places.log("go-build"), |line| {
            packages += 1;
            stage.detail(&format!("{packages} packages, {line}"));
        })?;
        files::rename(&unfinished, &self.path)?;
        self.delete_old();
        Ok(())
    }

    /// Notes that it started the node with this state directory.
    pub fn record(&self, state: &Path) -> Result<()> {
        files::write_whole(&state.join(RECORD), self.path.as_os_str().as_encoded_bytes()).map(drop)
    }

    /// A command of it.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }

    fn delete_old(&self) {
        let Ok(entries) = fs::read_dir(programs(self.places)) else {
            return;
        };
        for directory in entries.flatten().map(|entry| entry.path()) {
            let age = directory.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
            if directory.is_dir() && age.is_some_and(|age| age > KEPT_FOR) {
                let _ = files::remove_directory(&directory);
            }
        }
    }
}

/// The program that started the node with this state directory; of the present sources, built if need be, when that is
/// not known.
pub fn of_node<'a>(places: &'a Places, state: &Path) -> Result<ClusterProgram<'a>> {
    if let Ok(path) = fs::read_to_string(state.join(RECORD)).map(PathBuf::from)
        && path.is_file()
    {
        return Ok(ClusterProgram { places, path });
    }
    let program = ClusterProgram::of_sources(places)?;
    if !program.is_built() {
        let progress = Progress::start("building the throwaway cluster's program, once (13 minutes when nothing is cached)");
        let stage = progress.stage("cluster program");
        program.build(&stage)?;
        stage.done("built");
    }
    Ok(program)
}

/// The Go module.
pub fn module(places: &Places) -> PathBuf {
    places.root.join("tests/cluster")
}

/// A Go command in the module.
pub fn go(module: &Path) -> Command {
    let program = process::find_program("go").unwrap_or_else(|| PathBuf::from("go"));
    let mut command = Command::new(program);
    command.current_dir(module).env("CGO_ENABLED", "0");
    command
}

fn programs(places: &Places) -> PathBuf {
    places.cache.join("cluster")
}

/// A hash of all that the program is made of; tests and documents do not count.
fn source_hash(module: &Path) -> Result<String> {
    let mut hash = ContentHash::default();
    for file in files::walk(module, &is_source)? {
        let name = file.strip_prefix(module).unwrap_or(&file);
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.add(&name.to_string_lossy(), &content);
    }
    let mut hex = hash.hex();
    hex.truncate(16);
    Ok(hex)
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !(name.starts_with('.') || name.ends_with("_test.go") || name.ends_with(".md") || name == "testdata")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module_of(name: &str, contents: &[(&str, &str)]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("xtask-cluster-{name}-{}", std::process::id()));
        for (file, content) in contents {
            files::write_whole(&directory.join(file), content.as_bytes()).unwrap();
        }
        directory
    }

    #[test]
    fn sources_count_in_the_hash_and_tests_do_not() {
        let module = module_of("hash", &[("main.go", "a"), ("internal/x/x.go", "b")]);
        let before = source_hash(&module).unwrap();
        files::write_whole(&module.join("internal/x/x_test.go"), b"c").unwrap();
        files::write_whole(&module.join("README.md"), b"c").unwrap();
        files::write_whole(&module.join("internal/x/testdata/case"), b"c").unwrap();
        assert_eq!(source_hash(&module).unwrap(), before);
        files::write_whole(&module.join("ldflags"), b"-s").unwrap();
        assert_ne!(source_hash(&module).unwrap(), before);
        files::remove_directory(&module).unwrap();
    }
}
