//! Nothing in the project speaks of the machine that it was written on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Finding;

/// Beginnings of absolute paths that only one machine has.
const DIRECTORIES: [&str; 3] = ["work", "root", "home"];

/// Lines with such a path.
pub fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files {
        // What is not text has no lines to look at.
        let Ok(text) = String::from_utf8(fs::read(root.join(file))?) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if let Some(path) = machine_path(line) {
                findings.push(format!("{}:{}: names {path}, a path of one machine", file.display(), number + 1));
            }
        }
    }
    Ok(findings)
}

/// The first such path of a line.
fn machine_path(line: &str) -> Option<String> {
    for directory in DIRECTORIES {
        let start = format!("/{directory}/");
        for (position, _) in line.match_indices(&start) {
            let before = line[..position].chars().next_back();
            let inside_of_a_path = before.is_some_and(|before| before.is_alphanumeric() || "/._-~})*".contains(before));
            let goes_on = line[position + start.len()..].chars().next().is_some_and(|next| next.is_alphanumeric() || next == '.');
            if !inside_of_a_path && goes_on {
                let path = line[position..].split(|next: char| next.is_whitespace() || "\"'`)".contains(next));
                return path.into_iter().next().map(str::to_owned);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found() {
        // Put together here, so that this file keeps the rule.
        let path = ["", "home", "me", "x"].join("/");
        assert_eq!(machine_path(&format!("see `{path}`")), Some(path));
    }

    #[test]
    fn other_paths_with_such_a_part_are_left_alone() {
        assert_eq!(machine_path("/var/lib/work/x"), None);
        assert_eq!(machine_path("https://example.org/home/x"), None);
        assert_eq!(machine_path("root:x:0:0:root:/root:/bin/sh"), None);
    }
}
