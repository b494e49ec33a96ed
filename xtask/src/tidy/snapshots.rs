//! A snapshot that no test compares with is dead, and looks alive.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Finding, has_extension};

/// Snapshots whose source file is gone.
pub fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| has_extension(file, "snap")) {
        let text = fs::read_to_string(root.join(file))?;
        let source = text.lines().find_map(|line| line.strip_prefix("source: "));
        if let Some(source) = source.map(|source| source.trim_matches('"'))
            && !root.join(source).is_file()
        {
            findings.push(format!("{}: its source {source} is gone; delete it", file.display()));
        }
    }
    Ok(findings)
}

/// Snapshots below `root` that a run of all tests did not compare with, by the list that insta wrote meanwhile.
pub fn unreferenced(root: &Path, references: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_to_string(references).unwrap_or_default();
    let referenced: BTreeSet<PathBuf> = listed.lines().filter_map(|line| fs::canonicalize(line.trim()).ok()).collect();
    let snapshots = crate::files::walk(root, &|path| {
        let name = path.file_name().unwrap_or_default();
        name != "target" && name != ".git" && (path.is_dir() || has_extension(path, "snap"))
    })?;
    let mut dead = Vec::new();
    for snapshot in snapshots {
        if !referenced.contains(&fs::canonicalize(&snapshot)?) {
            dead.push(snapshot.strip_prefix(root).map(Path::to_path_buf).unwrap_or(snapshot));
        }
    }
    Ok(dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_no_test_asked_for_is_found() {
        let root = std::env::temp_dir().join(format!("xtask-snapshots-{}", std::process::id()));
        for name in ["plan/snapshots/used.snap", "plan/snapshots/dead.snap"] {
            crate::files::write_whole(&root.join(name), b"---\nsource: plan/lib.rs\n---\nx").unwrap();
        }
        let references = root.join("references");
        let used = root.join("plan/snapshots/used.snap");
        crate::files::write_whole(&references, format!("{}\n", used.display()).as_bytes()).unwrap();
        assert_eq!(unreferenced(&root, &references).unwrap(), [PathBuf::from("plan/snapshots/dead.snap")]);
        let gone = check(&root, &[PathBuf::from("plan/snapshots/used.snap")]).unwrap();
        assert!(gone[0].contains("plan/lib.rs"), "{gone:?}");
        crate::files::remove_directory(&root).unwrap();
    }
}
