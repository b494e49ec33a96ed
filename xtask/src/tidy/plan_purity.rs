//! `operator/plan` depends on no client, runtime, database, clock or random source (invariant 1 of the architecture):
//! what it needs of those comes in as facts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cargo;
use crate::places::Places;
use crate::process;

use super::{Finding, has_extension};

const PACKAGE: &str = "tenantry-plan";
const DIRECTORY: &str = "operator/plan/src";

/// Crates that do I/O, tell the time or draw lots.
const FORBIDDEN_CRATES: [&str; 18] = [
    "async-std",
    "chrono",
    "futures-executor",
    "hyper",
    "kube-client",
    "kube-runtime",
    "mio",
    "rand",
    "redis",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "sqlx",
    "sqlx-core",
    "sqlx-postgres",
    "tokio",
    "ureq",
];

/// What of std and of its dependencies does.
const FORBIDDEN_CODE: [&str; 12] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
];

/// Dependencies and lines that break the rule.
pub fn check(places: &Places, files: &[PathBuf]) -> Result<Vec<Finding>> {
    // `cargo tree` and not `cargo metadata`: the latter unites the features of the whole workspace.
    let mut command = cargo::cargo(places, "tree");
    command.args(["--package", PACKAGE, "--edges=normal", "--prefix=none", "--format={p}"]);
    let mut findings = forbidden_crates(&process::text(&mut command)?);
    for file in files {
        if file.starts_with(DIRECTORY) && has_extension(file, "rs") {
            let text = fs::read_to_string(places.root.join(file))?;
            findings.extend(forbidden_code(file, &text));
        }
    }
    Ok(findings)
}

fn forbidden_crates(tree: &str) -> Vec<Finding> {
    let mut found: Vec<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| FORBIDDEN_CRATES.contains(name)).collect();
    found.sort_unstable();
    found.dedup();
    found
        .into_iter()
        .map(|name| format!("{PACKAGE} depends on {name}: planning is pure; `cargo tree -p {PACKAGE} -i {name}` says why"))
        .collect()
}

fn forbidden_code(file: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let word = FORBIDDEN_CODE.iter().find(|word| code.contains(**word));
        if let Some(word) = word.or_else(|| code.contains("async fn").then_some(&"async fn")) {
            findings.push(format!("{}:{}: {word} in planning, which is pure", file.display(), number + 1));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_does_io_is_named_once() {
        let tree = "tenantry-plan v0.1.0 (/x)\nserde v1.0.0\ntokio v1.0.0\ntokio v1.0.0 (*)\n";
        let findings = forbidden_crates(tree);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("depends on tokio"));
    }

    #[test]
    fn code_counts_and_comments_do_not() {
        let file = Path::new("operator/plan/src/lib.rs");
        assert_eq!(forbidden_code(file, "// never std::fs\nlet x = 1;\n").len(), 0);
        assert_eq!(forbidden_code(file, "use std::fs;\nasync fn x() {}\n").len(), 2);
    }
}
