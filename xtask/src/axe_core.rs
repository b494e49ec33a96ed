//! axe-core, which judges how accessible a page is: one file of JavaScript for tests alone, fetched once and never shipped (MPL-2.0).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha512};

use crate::files;
use crate::places::Places;
use crate::process;
use crate::progress::Stage;

const PACKAGE: &str = "axe-core";
const VERSION: &str = "4.14.1";
/// SHA-512 of the package's archive.
const ARCHIVE: &str =
    "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5";
/// The file in the archive.
const MEMBER: &str = "package/axe.min.js";

/// Where it is once it was fetched.
pub fn path(places: &Places) -> PathBuf {
    places.cache.join(PACKAGE).join(format!("{PACKAGE}-{VERSION}.min.js"))
}

/// Sees to it that it is there; gives its path.
pub fn fetched(places: &Places, stage: &Stage<'_>) -> Result<PathBuf> {
    let path = path(places);
    if path.is_file() {
        return Ok(path);
    }
    files::create_parent(&path)?;
    files::sweep_unfinished(&places.cache.join(PACKAGE));
    let directory = files::unfinished(&path);
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let fetched = fetch_into(&directory, &places.log(PACKAGE), stage).and_then(|script| files::rename(&script, &path));
    files::remove_directory(&directory)?;
    fetched?;
    Ok(path)
}

/// The script, in `directory`.
fn fetch_into(directory: &Path, log: &Path, stage: &Stage<'_>) -> Result<PathBuf> {
    let mut npm = Command::new("npm");
    npm.args(["pack", &format!("{PACKAGE}@{VERSION}"), "--ignore-scripts", "--no-update-notifier", "--pack-destination"]).arg(directory);
    process::run(&mut npm, log, |line| stage.detail(line))
        .with_context(|| format!("cannot fetch {PACKAGE} {VERSION}; is the network there?"))?;
    let archive = directory.join(format!("{PACKAGE}-{VERSION}.tgz"));
    let content = fs::read(&archive).with_context(|| format!("cannot read {}", archive.display()))?;
    check(&content)?;
    process::output(Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(directory).arg(MEMBER))?;
    Ok(directory.join(MEMBER))
}

/// Refuses an archive that is not the one whose hash is known.
fn check(archive: &[u8]) -> Result<()> {
    use std::fmt::Write as _;
    let mut found = String::new();
    for byte in Sha512::digest(archive) {
        let _ = write!(found, "{byte:02x}");
    }
    if found == ARCHIVE {
        return Ok(());
    }
    bail!("the archive of {PACKAGE} {VERSION} has the SHA-512 {found}, not {ARCHIVE}: it is another one, and is not used")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_archive_is_refused() {
        let error = check(b"something else").unwrap_err().to_string();
        assert!(error.contains("not 1477dafa"), "{error}");
    }
}
