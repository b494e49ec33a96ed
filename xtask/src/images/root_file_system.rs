//! Root file systems of images, made of Debian packages without a container engine, cached by what they are made of.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::files::{self, ContentHash, Lock};
use crate::places::Places;
use crate::process;
use crate::progress::Stage;

/// The Debian release that all images are made of. Programs that were linked on an older one run on it.
const SUITE: &str = "trixie";
/// No file in an image is newer than this.
const SOURCE_DATE_EPOCH: &str = "1735689600";

const COMMON: &str = include_str!("recipes/common.sh");

/// What a root file system is made of.
pub struct Recipe {
    /// Name of the file in the cache.
    pub name: &'static str,
    /// Debian packages, which bring what they depend on.
    packages: &'static str,
    /// A script that takes away what is not needed and adds what is missing.
    finish: &'static str,
}

/// Under programs of this workspace.
pub const BASE: Recipe =
    Recipe { name: "base", packages: "libc6,libgcc-s1,ca-certificates,tzdata", finish: include_str!("recipes/base.sh") };

/// PostgreSQL 17.
pub const POSTGRESQL: Recipe =
    Recipe { name: "postgresql", packages: "postgresql-17,bash,coreutils,dash", finish: include_str!("recipes/postgresql.sh") };

/// Valkey 8.1.
pub const VALKEY: Recipe = Recipe { name: "valkey", packages: "valkey-server,valkey-tools", finish: include_str!("recipes/valkey.sh") };

impl Recipe {
    /// Where the tar of this recipe belongs.
    fn path(&self, places: &Places) -> PathBuf {
        let mut hash = ContentHash::default();
        hash.add("suite", SUITE.as_bytes())
            .add("date", SOURCE_DATE_EPOCH.as_bytes())
            .add("packages", self.packages.as_bytes())
            .add("common", COMMON.as_bytes())
            .add("finish", self.finish.as_bytes());
        let hash = hash.hex();
        directory(places).join(format!("{}-{}.root.tar", self.name, &hash[..12]))
    }

    /// The tar, made unless it is there.
    pub fn tar(&self, places: &Places, stage: &Stage<'_>) -> Result<PathBuf> {
        let path = self.path(places);
        if path.is_file() {
            return Ok(path);
        }
        let _lock = Lock::take(&directory(places).join(format!("{}.lock", self.name)), || {
            stage.line(&format!("waiting for another build of {}", self.name));
        })?;
        if path.is_file() {
            return Ok(path);
        }
        let unfinished = files::unfinished(&path);
        let hook = files::unfinished(&path.with_extension("sh"));
        files::write_whole(&hook, format!("#!/bin/sh\n{COMMON}\n{}", self.finish).as_bytes())?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
        let mut command = Command::new("mmdebstrap");
        command
            .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
            .args(["--variant=extract", "--format=tar"])
            // The container runtime makes /dev; the script cleans up more thoroughly than mmdebstrap would.
            .arg("--skip=output/dev,cleanup")
            .arg(format!("--include={}", self.packages))
            .arg(format!("--extract-hook={}", hook.display()))
            .arg(SUITE)
            .arg(&unfinished);
        let log = places.log(&format!("image-{}", self.name));
        let made = process::run(&mut command, &log, |line| {
            stage.detail(&format!("{}: {line}", self.name));
        });
        let _ = fs::remove_file(&hook);
        if let Err(error) = made {
            let _ = fs::remove_file(&unfinished);
            return Err(error.context(format!("cannot make the root file system of the image {} from Debian packages", self.name)));
        }
        files::rename(&unfinished, &path)?;
        Ok(path)
    }

    /// The root file system as a directory of this machine, with this user's ownership.
    pub fn unpacked(&self, places: &Places, stage: &Stage<'_>) -> Result<PathBuf> {
        let tar = self.tar(places, stage)?;
        let directory = tar.with_extension("d");
        if directory.is_dir() {
            return Ok(directory);
        }
        let unfinished = files::unfinished(&directory);
        files::remove_directory(&unfinished)?;
        fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
        let mut command = Command::new("tar");
        command.args(["--extract", "--no-same-owner", "--file"]).arg(&tar).arg("--directory").arg(&unfinished);
        process::output(&mut command)?;
        files::rename(&unfinished, &directory)?;
        Ok(directory)
    }
}

/// Where images and their parts are cached.
pub fn directory(places: &Places) -> PathBuf {
    places.cache.join("images")
}
