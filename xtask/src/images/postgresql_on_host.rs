//! The PostgreSQL of the image, as programs of this machine: tests run against it beside the distribution's own, older one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::files::{self, Lock};
use crate::places::Places;
use crate::progress::Stage;

use super::root_file_system::{POSTGRESQL, directory};

/// Where Debian has the programs of the version that the image has. They find what they need relative to that place, so it
/// stays the same below another root.
const INSTALLATION: &str = "usr/lib/postgresql/17";
/// The programs that start a server. Each of them calls others of them.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];
/// Runs the program of its own name with the libraries of the root file system that it is in, wherever that is.
const SCRIPT: &str = r#"#!/bin/sh
root=${0%/usr/lib/*}
for libraries in "$root"/usr/lib/*-linux-gnu; do break; done
for loader in "$root"/usr/lib64/ld-linux* "$root"/usr/lib/ld-linux*; do [ -e "$loader" ] && break; done
exec "$loader" --argv0 "$0" --library-path "$libraries" "${0%/bin/*}/programs/${0##*/}" "$@"
"#;

/// Path of the directory with `initdb`, `pg_ctl` and `postgres`, which run with the image's own libraries.
pub fn postgresql_on_host(places: &Places, stage: &Stage<'_>) -> Result<PathBuf> {
    let installation = POSTGRESQL.unpacked(places, stage)?.join(INSTALLATION);
    let (binaries, programs) = (installation.join("bin"), installation.join("programs"));
    let _lock = Lock::take(&directory(places).join("postgresql-on-host.lock"), || {
        stage.line("waiting for another preparation of PostgreSQL");
    })?;
    if binaries.is_dir() && programs.is_dir() {
        return Ok(binaries);
    }
    if !programs.is_dir() {
        files::rename(&binaries, &programs)?;
    }
    let unfinished = files::unfinished(&binaries);
    files::remove_directory(&unfinished)?;
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    for program in PROGRAMS {
        let script = unfinished.join(program);
        files::write_whole(&script, SCRIPT.as_bytes())?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    }
    files::rename(&unfinished, &binaries)?;
    Ok(binaries)
}
