//! A file is one thought: past 600 lines without its tests it is two.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Finding, has_extension};

const MAX_LINES: usize = 600;

/// Sources that are too long.
pub fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files {
        let is_go_test = file.to_string_lossy().ends_with("_test.go");
        if is_go_test || !(has_extension(file, "rs") || has_extension(file, "go")) {
            continue;
        }
        let lines = lines_without_tests(&fs::read_to_string(root.join(file))?);
        if lines > MAX_LINES {
            findings.push(format!("{}: {lines} lines without tests, at most {MAX_LINES}: split it by what it is about", file.display()));
        }
    }
    Ok(findings)
}

/// The lines before a test module at the end of the file.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {")).unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_at_the_end_do_not_count() {
        assert_eq!(lines_without_tests("a\nb\n#[cfg(test)]\nmod tests {\n    x\n}\n"), 2);
        assert_eq!(lines_without_tests("a\n#[cfg(test)]\nuse b;\nc\n"), 4);
    }
}
