//! Where things are: the checkout, the caches that checkouts share, and the state of what runs.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The directories that the commands work in.
#[derive(Debug, Clone)]
pub struct Places {
    /// The checkout's root.
    pub root: PathBuf,
    /// Caches, shared by all checkouts of a user; safe to delete.
    pub cache: PathBuf,
    /// Cargo's target directory for everything but xtask itself.
    pub target: PathBuf,
    /// State of what runs, one directory a node, and `logs`.
    pub state: PathBuf,
}

impl Places {
    /// Finds them from the environment.
    pub fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask's manifest has no directory above it")?.to_path_buf();
        if !root.join("Cargo.lock").is_file() {
            bail!("{} is no checkout of the workspace; run `cargo xtask` inside of one", root.display());
        }
        let cache = base_directory("XDG_CACHE_HOME", ".cache")?.join("tenantry");
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| cache.join("target"), |directory| root.join(PathBuf::from(directory)));
        let state = base_directory("XDG_STATE_HOME", ".local/state")?.join("tenantry");
        Ok(Self { root, cache, target, state })
    }

    /// The state directory of the node of that name.
    pub fn node(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// A log file of that name.
    pub fn log(&self, name: &str) -> PathBuf {
        self.state.join("logs").join(format!("{name}.log"))
    }
}

fn base_directory(variable: &str, below_home: &str) -> Result<PathBuf> {
    if let Some(directory) = env::var_os(variable).map(PathBuf::from)
        && directory.is_absolute()
    {
        return Ok(directory);
    }
    let home = env::var_os("HOME").with_context(|| format!("neither HOME nor {variable} is set; set HOME"))?;
    Ok(Path::new(&home).join(below_home))
}
