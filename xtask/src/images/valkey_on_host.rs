//! The Valkey of the image, as a program of this machine: tests of the services use the version that slots run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::files;
use crate::places::Places;
use crate::progress::Stage;

use super::root_file_system::VALKEY;

/// Path of a program that starts Valkey's server with the image's own libraries.
pub fn valkey_on_host(places: &Places, stage: &Stage<'_>) -> Result<PathBuf> {
    let root = VALKEY.unpacked(places, stage)?;
    let libraries = library_directories(&root)?;
    let loader = dynamic_loader(&root)?;
    let program = root.join("valkey-server");
    let script = format!(
        "#!/bin/sh\nexec '{}' --library-path '{libraries}' '{}' \"$@\"\n",
        loader.display(),
        root.join("usr/bin/valkey-server").display(),
    );
    files::write_whole(&program, script.as_bytes())?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// The multi-architecture directories below `usr/lib`, separated by colons.
fn library_directories(root: &Path) -> Result<String> {
    let directory = root.join("usr/lib");
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?.flatten() {
        if entry.file_name().to_string_lossy().ends_with("-linux-gnu") {
            found.push(entry.path().display().to_string());
        }
    }
    Ok(found.join(":"))
}

fn dynamic_loader(root: &Path) -> Result<PathBuf> {
    for directory in ["usr/lib64", "usr/lib"] {
        let Ok(entries) = fs::read_dir(root.join(directory)) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with("ld-linux") {
                return Ok(entry.path());
            }
        }
    }
    anyhow::bail!("{} has no dynamic loader", root.display())
}
