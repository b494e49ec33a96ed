//! Programs that the commands need, and the Debian packages they come from.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::files;
use crate::process;
use crate::progress::Progress;

/// A program that must be there, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// A program's name, looked up on the PATH, or the absolute path of a file.
    pub program: &'static str,
    /// Name of the Debian package.
    pub package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// For building images from Debian packages.
pub const IMAGES: &[Need] = &[
    need("mmdebstrap", "mmdebstrap"),
    need("strip", "binutils"),
    need("tar", "tar"),
    need("gpgv", "gpgv"),
    need("/usr/share/keyrings/debian-archive-trixie-stable.gpg", "debian-archive-keyring"),
];

/// For the throwaway node.
pub const NODE: &[Need] = &[
    need("containerd", "containerd"),
    need("ctr", "containerd"),
    need("runc", "runc"),
    need("/usr/lib/cni/ptp", "containernetworking-plugins"),
    need("nft", "nftables"),
    need("ip", "iproute2"),
    need("conntrack", "conntrack"),
    need("iptables", "iptables"),
    need("nsenter", "util-linux"),
];

/// For tests that start PostgreSQL themselves: the distribution's, beside the image's; and certificates for it.
pub const SERVICES: &[Need] = &[need("/usr/lib/postgresql/15/bin/initdb", "postgresql-15"), need("openssl", "openssl")];

/// For tests of pages: a browser, what drives it, and a font that has Latin, Hebrew and Arabic.
pub const BROWSER: &[Need] = &[
    need("chromium", "chromium"),
    need("chromedriver", "chromium-driver"),
    need("setsid", "util-linux"),
    need("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "fonts-dejavu-core"),
];

/// For packages of JavaScript.
pub const NPM: &[Need] = &[need("npm", "npm"), need("tar", "tar")];

/// Compilers. Debian's own are too old: they are named, not installed.
const COMPILERS: &[(&str, &str)] = &[
    ("cargo", "Rust by rustup (https://rustup.rs)"),
    ("go", "Go 1.26 or newer (https://go.dev/dl)"),
    ("cc", "a C compiler and linker (Debian: gcc)"),
];

/// Sees to it that everything in `needs` is there: installs it when it may, or says what to install.
pub fn ensure(needs: &[&[Need]], progress: &Progress) -> Result<()> {
    let absent: Vec<&str> =
        COMPILERS.iter().filter(|(program, _)| process::find_program(program).is_none()).map(|(_, origin)| *origin).collect();
    if !absent.is_empty() {
        bail!("missing on this machine: {}; install that first", absent.join(", "));
    }
    let missing = missing(needs, &is_there);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_debian() {
        bail!(
            "missing on this machine: {}. Install what has these programs (the names are those of Debian's packages)",
            missing.join(", ")
        );
    }
    if !is_root()? {
        bail!("missing on this machine; run: sudo apt-get install --no-install-recommends {}", missing.join(" "));
    }
    let stage = progress.stage("packages");
    stage.line(&format!("installing {}", missing.join(", ")));
    let log = std::env::temp_dir().join(format!("tenantry-packages-{}.log", std::process::id()));
    let mut update = apt_get();
    update.arg("update");
    process::run(&mut update, &log, |line| stage.detail(line))
        .context("cannot read the lists of Debian packages; is the network there?")?;
    if missing.contains(&"postgresql-15") {
        without_server_of_the_distribution()?;
    }
    let mut install = apt_get();
    install.args(["install", "--yes", "--no-install-recommends"]);
    install.args(&missing);
    process::run(&mut install, &log, |line| stage.detail(line))?;
    let _ = fs::remove_file(&log);
    let still: Vec<&str> = self::missing(needs, &is_there);
    if !still.is_empty() {
        bail!("installed, but still without what is needed of: {}", still.join(", "));
    }
    stage.done(&format!("{} installed", missing.len()));
    Ok(())
}

/// The packages, each once, of what `is_there` denies.
fn missing(needs: &[&[Need]], is_there: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for need in needs.iter().copied().flatten() {
        if !is_there(need.program) && !packages.contains(&need.package) {
            packages.push(need.package);
        }
    }
    packages
}

fn is_there(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    process::find_program(program).is_some()
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && process::find_program("apt-get").is_some()
}

/// Whether this process is root.
pub fn is_root() -> Result<bool> {
    Ok(process::text(Command::new("id").arg("-u"))? == "0")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["--quiet", "--option=DPkg::Lock::Timeout=300"])
        .args(["--option=DPkg::Options::=--force-confold"]);
    command
}

/// Debian's PostgreSQL makes and starts a server when it is installed, unless told not to. Tests start their own.
fn without_server_of_the_distribution() -> Result<()> {
    let path = Path::new("/etc/postgresql-common/createcluster.conf");
    if path.exists() {
        return Ok(());
    }
    files::write_whole(path, b"create_main_cluster = false\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_once_for_all_that_is_missing_of_it() {
        let missing = missing(&[NODE], &|program| program != "containerd" && program != "ctr");
        assert_eq!(missing, ["containerd"]);
    }

    #[test]
    fn nothing_is_missing_when_all_is_there() {
        assert!(missing(&[NODE, IMAGES, SERVICES, BROWSER, NPM], &|_| true).is_empty());
    }
}
