//! What is generated and checked in, and whether it is as it would be generated.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::Target;
use crate::files;
use crate::places::Places;
use crate::process;
use crate::progress::Progress;

/// Binaries that print their OpenAPI document, and the files that hold it where one is checked in.
const DOCUMENTS: [(&str, &str); 1] = [("campaigns", "services/campaigns/openapi.json")];

/// `generate`.
pub fn run(places: &Places, check: bool) -> Result<()> {
    let progress = Progress::start(if check { "comparing generated files" } else { "generating files" });
    let stage = progress.stage("Rust programs");
    let target = Target::hold(places, &stage)?;
    let binaries = target.build_binaries(&stage)?;
    stage.done("built");
    let stale = from_binaries(places, &binaries, check)?;
    if stale.is_empty() {
        progress.line("generated files are up to date");
        return Ok(());
    }
    bail!("not as they would be generated: {}; run `cargo xtask generate`", stale.join(", "))
}

/// Generates or compares, with binaries that are built already; gives the names of stale files.
pub fn from_binaries(places: &Places, binaries: &Path, check: bool) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    let mut command = Command::new(binaries.join("generate-crds"));
    command.current_dir(&places.root);
    if check {
        command.arg("--check");
        if !process::attached(&mut command)?.success() {
            stale.push("the CRDs".to_owned());
        }
    } else {
        process::attached_checked(&mut command)?;
    }
    for (program, file) in DOCUMENTS {
        let path = places.root.join(file);
        if !path.is_file() {
            continue;
        }
        let document = process::output(Command::new(binaries.join(program)).arg("openapi"))
            .with_context(|| format!("{program} does not print its OpenAPI document"))?;
        if fs::read(&path)? == document {
            continue;
        }
        if check {
            stale.push(file.to_owned());
        } else {
            files::write_whole(&path, &document)?;
            println!("wrote {file}");
        }
    }
    Ok(stale)
}
