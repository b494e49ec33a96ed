//! A source that no `mod` leads to is never compiled: a test in it never runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo;
use crate::places::Places;
use crate::process;

use super::{Finding, has_extension};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    src_path: PathBuf,
}

/// Rust files that no target of the workspace reaches.
pub fn check(places: &Places, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let mut command = cargo::cargo(places, "metadata");
    command.args(["--no-deps", "--format-version=1"]);
    let metadata: Metadata =
        serde_json::from_slice(&process::output(&mut command)?).context("`cargo metadata` printed what this does not understand")?;
    let roots = metadata.packages.into_iter().flat_map(|package| package.targets).map(|target| target.src_path).collect();
    let reached = reachable(roots)?;
    Ok(files
        .iter()
        .filter(|file| has_extension(file, "rs") && !reached.contains(&places.root.join(file)))
        .map(|file| format!("{}: no `mod` leads to it, so it is never compiled", file.display()))
        .collect())
}

/// All files that the modules of these roots are in.
fn reachable(mut pending: Vec<PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let roots: BTreeSet<PathBuf> = pending.iter().cloned().collect();
    let mut reached = BTreeSet::new();
    while let Some(file) = pending.pop() {
        if !reached.insert(file.clone()) {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let parent = file.parent().unwrap_or(Path::new(""));
        let is_directory_owner = roots.contains(&file) || file.file_name().is_some_and(|name| name == "mod.rs");
        let directory = if is_directory_owner { parent.to_path_buf() } else { file.with_extension("") };
        for module in declared_modules(&text) {
            let candidates = match &module {
                Module::Named(name) => vec![directory.join(format!("{name}.rs")), directory.join(name).join("mod.rs")],
                Module::At(path) => vec![parent.join(path)],
            };
            pending.extend(candidates.into_iter().filter(|path| path.is_file()));
        }
    }
    Ok(reached)
}

#[derive(Debug, PartialEq, Eq)]
enum Module {
    Named(String),
    At(String),
}

/// What the `mod name;` lines of a source declare.
fn declared_modules(text: &str) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(attribute) = line.strip_prefix("#[path = \"") {
            path = attribute.split('"').next().map(str::to_owned);
            continue;
        }
        let declaration = line.strip_prefix("pub ").or_else(|| Some(line.strip_prefix("pub(")?.split_once(") ")?.1)).unwrap_or(line);
        let name = declaration.strip_prefix("mod ").and_then(|rest| rest.split_once(';')).map(|(name, _)| name.trim());
        if let Some(name) = name {
            modules.push(path.take().map_or_else(|| Module::Named(name.to_owned()), Module::At));
        } else if !line.starts_with("#[") {
            path = None;
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_of_all_forms_are_read() {
        let text = "mod a;\npub mod b; // c\npub(crate) mod d;\n#[path = \"x/y.rs\"]\nmod e;\nmod inline {}\n";
        let names = ["a", "b", "d"].map(|name| Module::Named(name.to_owned()));
        let [a, b, d] = names;
        assert_eq!(declared_modules(text), [a, b, d, Module::At("x/y.rs".to_owned())]);
    }

    #[test]
    fn modules_are_followed_through_files_and_directories() {
        let root = std::env::temp_dir().join(format!("xtask-orphans-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            crate::files::write_whole(&root.join(name), text.as_bytes()).unwrap();
        };
        write("lib.rs", "mod one;\nmod two;\n");
        write("one.rs", "mod deep;\n");
        write("one/deep.rs", "");
        write("two/mod.rs", "mod deep;\n");
        write("two/deep.rs", "");
        write("orphan.rs", "");
        let reached = reachable(vec![root.join("lib.rs")]).unwrap();
        let expected = ["lib.rs", "one.rs", "one/deep.rs", "two/deep.rs", "two/mod.rs"];
        assert_eq!(reached, expected.map(|name| root.join(name)).into());
        crate::files::remove_directory(&root).unwrap();
    }
}
