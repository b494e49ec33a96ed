//! Every dependency has a licence that the project can live with. This is `cargo deny check licenses` without
//! cargo-deny, which takes ten minutes to build on a small machine; see `deny.toml` for what is left to it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo;
use crate::places::Places;
use crate::process;

use super::Finding;

/// Licences that need no thought: permissive, or (MPL-2.0) reaching no further than their own files.
const ALLOWED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

/// Dependencies without such a licence.
pub fn check(places: &Places) -> Result<Vec<Finding>> {
    let mut command = cargo::cargo(places, "metadata");
    command.args(["--format-version=1", "--locked"]);
    let metadata: Metadata =
        serde_json::from_slice(&process::output(&mut command)?).context("`cargo metadata` printed what this does not understand")?;
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata.packages {
        let expression = package.license.unwrap_or_else(|| "no licence".to_owned());
        if !is_allowed(&expression) {
            refused.entry(expression).or_default().push(format!("{} {}", package.name, package.version));
        }
    }
    Ok(refused
        .into_iter()
        .map(|(expression, packages)| {
            format!("{}: {expression} is not among the licences of xtask/src/tidy/licences.rs", packages.join(", "))
        })
        .collect())
}

/// Whether an SPDX expression (or the older form with slashes) can be met by allowed licences alone.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest).unwrap_or(false) && rest.is_empty()
}

fn any_of(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = all_of(rest)?;
    while rest.first() == Some(&"OR") {
        *rest = &rest[1..];
        allowed |= all_of(rest)?;
    }
    Some(allowed)
}

fn all_of(rest: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(rest)?;
    while rest.first() == Some(&"AND") {
        *rest = &rest[1..];
        allowed &= one(rest)?;
    }
    Some(allowed)
}

fn one(rest: &mut &[&str]) -> Option<bool> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    if *first == "(" {
        let allowed = any_of(rest)?;
        let (close, after) = rest.split_first()?;
        *rest = after;
        return (*close == ")").then_some(allowed);
    }
    let mut licence = (*first).to_owned();
    if let ["WITH", exception, after @ ..] = *rest {
        licence = format!("{licence} WITH {exception}");
        *rest = after;
    }
    Some(ALLOWED.contains(&licence.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        for allowed in [
            "MIT",
            "MIT-0",
            "MIT OR GPL-3.0",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "MIT OR Apache-2.0 AND BSD-3-Clause",
        ] {
            assert!(is_allowed(allowed), "{allowed}");
        }
        for refused in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT", "", "MIT WITH x", "no licence"] {
            assert!(!is_allowed(refused), "{refused}");
        }
    }
}
