//! Programs that are made of a Go module of the project: built once for each state of its sources, outside of the checkout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::files::{self, ContentHash, Lock};
use crate::places::Places;
use crate::process;
use crate::progress::Stage;

/// Programs of other states of the sources are deleted when they were not used for so long.
const KEPT_FOR: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A Go module and the program that it makes. Its file `ldflags` has the linker's flags.
#[derive(Debug, Clone, Copy)]
pub struct GoModule {
    /// Where it is, in the checkout.
    pub directory: &'static str,
    /// Where its programs go, below the project's cache directory.
    pub cache: &'static str,
    /// The package of the program.
    pub package: &'static str,
    /// Build tags, separated by commas.
    pub tags: &'static str,
    /// The program's name.
    pub program: &'static str,
}

/// A module's program, whether built or not.
pub struct GoProgram<'a> {
    places: &'a Places,
    module: GoModule,
    path: PathBuf,
}

impl<'a> GoProgram<'a> {
    /// Finds where the program of the present sources belongs.
    pub fn of_sources(places: &'a Places, module: GoModule) -> Result<Self> {
        let hash = source_hash(&places.root.join(module.directory))?;
        let path = places.cache.join(module.cache).join(hash).join(module.program);
        Ok(Self { places, module, path })
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
        let programs = self.places.cache.join(self.module.cache);
        let _lock = Lock::take(&programs.join("lock"), || {
            stage.line("waiting for another build of it");
        })?;
        if self.is_built() {
            return Ok(());
        }
        let directory = self.places.root.join(self.module.directory);
        let flags = directory.join("ldflags");
        let flags = fs::read_to_string(&flags).with_context(|| format!("cannot read {}", flags.display()))?;
        files::create_parent(&self.path)?;
        let unfinished = files::unfinished(&self.path);
        let mut command = go(&directory);
        command.args(["build", "-trimpath", "-buildvcs=false", "-v", "-tags", self.module.tags, "-ldflags"]).arg(flags.trim());
        command.arg("-o").arg(&unfinished).arg(self.module.package);
        let mut packages = 0_u32;
        process::run(&mut command, &self.places.log(&format!("go-build-{}", self.module.cache)), |line| {
            packages += 1;
            stage.detail(&format!("{packages} packages, {line}"));
        })?;
        files::rename(&unfinished, &self.path)?;
        delete_old(&programs);
        Ok(())
    }
}

/// A Go command in a module.
pub fn go(module: &Path) -> Command {
    let program = process::find_program("go").unwrap_or_else(|| PathBuf::from("go"));
    let mut command = Command::new(program);
    command.current_dir(module).env("CGO_ENABLED", "0");
    command
}

fn delete_old(programs: &Path) {
    let Ok(entries) = fs::read_dir(programs) else {
        return;
    };
    for directory in entries.flatten().map(|entry| entry.path()) {
        let age = directory.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if directory.is_dir() && age.is_some_and(|age| age > KEPT_FOR) {
            let _ = files::remove_directory(&directory);
        }
    }
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
        let directory = std::env::temp_dir().join(format!("xtask-go-{name}-{}", std::process::id()));
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
