//! Rules on the sources that no compiler checks. Each is a module that names what breaks it.

mod alerts;
mod length;
mod licences;
mod machine_paths;
mod orphans;
mod plan_purity;
mod reasons;
mod snapshots;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::places::Places;
use crate::process;

pub use alerts::ALERTS;
pub use snapshots::unreferenced;

/// What breaks a rule, as a line for people.
pub type Finding = String;

/// `tidy`.
pub fn run(places: &Places) -> Result<()> {
    let findings = findings(places)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        eprintln!("tidy");
        return Ok(());
    }
    bail!("{} findings", findings.len())
}

/// All that breaks a rule.
pub fn findings(places: &Places) -> Result<Vec<Finding>> {
    let files = project_files(places)?;
    let mut findings = length::check(&places.root, &files)?;
    findings.extend(machine_paths::check(&places.root, &files)?);
    findings.extend(snapshots::check(&places.root, &files)?);
    findings.extend(alerts::check(&places.root)?);
    findings.extend(reasons::check(&places.root, &files)?);
    findings.extend(orphans::check(places, &files)?);
    findings.extend(plan_purity::check(places, &files)?);
    findings.extend(licences::check(places)?);
    Ok(findings)
}

/// Files that are or would be under version control, relative to the root, sorted.
fn project_files(places: &Places) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command.current_dir(&places.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]);
    let listed = process::output(&mut command)?;
    let mut files: Vec<PathBuf> = listed
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
        .filter(|file| places.root.join(file).is_file())
        .collect();
    files.sort();
    Ok(files)
}

fn has_extension(file: &std::path::Path, wanted: &str) -> bool {
    file.extension().is_some_and(|extension| extension == wanted)
}
