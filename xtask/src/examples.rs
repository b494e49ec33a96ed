//! The manifests of `examples/`, in which `${NAME}` stands for what only this run knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::files;

/// One manifest file, filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the file.
    pub file: String,
    /// What it says.
    pub text: String,
}

/// The manifests of the directory itself, in the order of their names, filled in.
pub fn read(directory: &Path, values: &BTreeMap<&str, &str>) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for file in files::walk(directory, &|path| path.is_file() && path.extension().is_some_and(|extension| extension == "yaml"))? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = fill(&text, values).with_context(|| format!("cannot fill in {}", file.display()))?;
        let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        manifests.push(Manifest { file, text });
    }
    Ok(manifests)
}

/// Replaces each `${NAME}`.
fn fill(text: &str, values: &BTreeMap<&str, &str>) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            bail!("`${{` without its `}}`");
        };
        let Some(value) = values.get(name) else {
            let known: Vec<&str> = values.keys().copied().collect();
            bail!("unknown placeholder ${{{name}}}; there are {}", known.join(", "));
        };
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in() {
        let values = BTreeMap::from([("RELEASE", "v1"), ("IMAGE", "i@sha256:0")]);
        let filled = fill("a: ${RELEASE}\nb: $x ${IMAGE}${RELEASE}", &values).unwrap();
        assert_eq!(filled, "a: v1\nb: $x i@sha256:0v1");
    }

    #[test]
    fn directories_below_are_for_later() {
        let directory = std::env::temp_dir().join(format!("xtask-examples-{}", std::process::id()));
        for (file, text) in [("b.yaml", "b: ${R}"), ("a.yaml", "a"), ("next/c.yaml", "c"), ("README.md", "d")] {
            files::write_whole(&directory.join(file), text.as_bytes()).unwrap();
        }
        let texts: Vec<String> =
            read(&directory, &BTreeMap::from([("R", "v1")])).unwrap().into_iter().map(|manifest| manifest.text).collect();
        assert_eq!(texts, ["a", "b: v1"]);
        files::remove_directory(&directory).unwrap();
    }

    #[test]
    fn an_unknown_or_open_placeholder_is_an_error() {
        let values = BTreeMap::from([("RELEASE", "v1")]);
        let unknown = fill("${RELAESE}", &values).unwrap_err().to_string();
        assert!(unknown.contains("RELAESE") && unknown.contains("RELEASE"), "{unknown}");
        assert!(fill("${RELEASE", &values).is_err());
    }
}
