//! The program of `tests/cluster`: the way to everything Kubernetes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::files;
use crate::go_program::{GoModule, GoProgram};
use crate::places::Places;
use crate::progress::{Progress, Stage};

const MODULE: GoModule = GoModule { directory: "tests/cluster", cache: "cluster", package: ".", tags: "", program: "tenantry-cluster" };
/// In a node's state directory: the path of the program that started it.
const RECORD: &str = "program";

/// The program, whether built or not.
pub enum ClusterProgram<'a> {
    /// Of the present sources.
    OfSources(GoProgram<'a>),
    /// Of the sources at the time when a node was started.
    OfNode(PathBuf),
}

impl<'a> ClusterProgram<'a> {
    /// Finds where the program of the present sources belongs.
    pub fn of_sources(places: &'a Places) -> Result<Self> {
        Ok(Self::OfSources(GoProgram::of_sources(places, MODULE)?))
    }

    /// Where it is, once built.
    pub fn path(&self) -> &Path {
        match self {
            Self::OfSources(program) => program.path(),
            Self::OfNode(path) => path,
        }
    }

    /// Whether it is there.
    pub fn is_built(&self) -> bool {
        self.path().is_file()
    }

    /// Builds it unless it is there.
    pub fn build(&self, stage: &Stage<'_>) -> Result<()> {
        match self {
            Self::OfSources(program) => program.build(stage),
            Self::OfNode(_) => Ok(()),
        }
    }

    /// Notes that it started the node with this state directory.
    pub fn record(&self, state: &Path) -> Result<()> {
        files::write_whole(&state.join(RECORD), self.path().as_os_str().as_encoded_bytes()).map(drop)
    }

    /// A command of it.
    pub fn command(&self) -> Command {
        Command::new(self.path())
    }
}

/// The program that started the node with this state directory; of the present sources, built if need be, when that is
/// not known.
pub fn of_node<'a>(places: &'a Places, state: &Path) -> Result<ClusterProgram<'a>> {
    if let Ok(path) = fs::read_to_string(state.join(RECORD)).map(PathBuf::from)
        && path.is_file()
    {
        return Ok(ClusterProgram::OfNode(path));
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
    places.root.join(MODULE.directory)
}
