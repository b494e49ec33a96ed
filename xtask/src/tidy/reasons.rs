//! Every reason that tells of trouble has a page in `docs/reasons` that says what to do, and no page is left of a reason that is
//! gone. Reasons are constants of one file: a literal would have no page.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Finding, has_extension};

const CONSTANTS: &str = "operator/plan/src/reasons.rs";
const PAGES: &str = "docs/reasons";
/// What a page has to say.
const SECTIONS: [&str; 4] = ["## What it means", "## How to see it", "## What to do", "## How to verify"];
/// What takes a reason first.
const TAKERS: [&str; 3] = ["Failure::new(", "Stall::new(", "Wait::new("];

/// Reasons without a page, pages without a reason, incomplete pages, and reasons that are no constants.
pub fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let constants = fs::read_to_string(root.join(CONSTANTS)).with_context(|| format!("cannot read {CONSTANTS}"))?;
    let reasons = constants.lines().filter_map(declared).collect::<BTreeMap<_, _>>();
    let mut findings = Vec::new();
    let pages: Vec<&PathBuf> = files.iter().filter(|file| file.parent() == Some(Path::new(PAGES)) && has_extension(file, "md")).collect();
    for (reason, needs_page) in &reasons {
        let page = Path::new(PAGES).join(format!("{reason}.md"));
        if *needs_page && !pages.contains(&&page) {
            findings.push(format!(
                "{CONSTANTS}: {reason} has no page: write {} (or mark it `: progress` if nothing is wrong when it is given)",
                page.display()
            ));
        }
    }
    for page in pages {
        let reason = page.file_stem().unwrap_or_default().to_string_lossy();
        if !reasons.contains_key(reason.as_ref()) {
            findings.push(format!("{}: {CONSTANTS} has no such reason; delete the page", page.display()));
        }
        let text = fs::read_to_string(root.join(page))?;
        let title = format!("# {reason}");
        let lacking = std::iter::once(title.as_str()).chain(SECTIONS).find(|heading| !text.lines().any(|line| line == *heading));
        if let Some(heading) = lacking {
            findings.push(format!("{}: has no heading {heading:?}", page.display()));
        }
    }
    for file in files.iter().filter(|file| file.starts_with("operator") && has_extension(file, "rs")) {
        findings.extend(
            literals(&fs::read_to_string(root.join(file))?).map(|literal| {
                format!("{}: the reason {literal:?} is no constant of {CONSTANTS}, so it would have no page", file.display())
            }),
        );
    }
    Ok(findings)
}

/// A line that declares a reason: its text, and whether it needs a page.
fn declared(line: &str) -> Option<(String, bool)> {
    let (name, rest) = line.trim().split_once(" = \"")?;
    let is_constant = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_');
    let (text, mark) = rest.split_once('"')?;
    (is_constant && mark.ends_with(';')).then(|| (text.to_owned(), mark != ": progress;"))
}

/// Literals where a reason is expected.
fn literals(source: &str) -> impl Iterator<Item = String> + '_ {
    TAKERS.iter().flat_map(|taker| source.split(taker).skip(1)).filter_map(|rest| {
        let (literal, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(literal.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_with_their_marks() {
        assert_eq!(declared("    READY = \"Ready\": progress;"), Some(("Ready".to_owned(), false)));
        assert_eq!(declared("    NOT_OURS = \"NotOurs\": lasting;"), Some(("NotOurs".to_owned(), true)));
        assert_eq!(declared("    IN_USE = \"InUse\";"), Some(("InUse".to_owned(), true)));
        assert_eq!(declared("    let name = \"x\";"), None);
    }

    #[test]
    fn missing_dead_and_incomplete_pages_and_literal_reasons_are_found() {
        let root = std::env::temp_dir().join(format!("xtask-reasons-{}", std::process::id()));
        let whole = |reason: &str| format!("# {reason}\n{}\n", SECTIONS.join("\n"));
        let contents = [
            (CONSTANTS, "    FINE = \"Fine\": progress;\n    FULL = \"Full\";\n    GONE = \"Gone\";\n    HALF = \"Half\";\n".to_owned()),
            ("docs/reasons/Full.md", whole("Full")),
            ("docs/reasons/Half.md", "# Half\n".to_owned()),
            ("docs/reasons/Dead.md", whole("Dead")),
            ("operator/controller/src/a.rs", "Failure::new(\n    \"Loose\",\n)".to_owned()),
        ];
        let mut files = Vec::new();
        for (file, text) in &contents {
            crate::files::write_whole(&root.join(file), text.as_bytes()).unwrap();
            files.push(PathBuf::from(file));
        }
        let findings = check(&root, &files).unwrap();
        crate::files::remove_directory(&root).unwrap();
        let expected = ["Gone has no page", "Dead.md: operator/plan", "Half.md: has no heading", "\"Loose\" is no constant"];
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for text in expected {
            assert!(findings.iter().any(|finding| finding.contains(text)), "{text} is not in {findings:?}");
        }
    }
}
