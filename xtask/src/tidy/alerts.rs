//! Every alert leads to a text that says what to do, and is tested both ways: that it fires, and that it stays silent.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;

/// The files of rules, each with the file of its tests.
pub const ALERTS: [(&str, &str); 2] = [
    ("charts/tenantry/files/alerts.yaml", "tests/promtool/alerts_test.yaml"),
    ("charts/tenantry/files/alerts-campaigns.yaml", "tests/promtool/alerts-campaigns_test.yaml"),
];

/// Alerts without a runbook that exists, and alerts that no test sees firing or silent.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (rules, tests) in ALERTS {
        findings.extend(check_file(root, rules, tests)?);
    }
    Ok(findings)
}

fn check_file(root: &Path, rules_file: &str, tests_file: &str) -> Result<Vec<Finding>> {
    let read = |file: &str| fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"));
    let (rules, tests) = (read(rules_file)?, read(tests_file)?);
    let mut findings = Vec::new();
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap_or_default();
        match rule.lines().find_map(|line| line.trim().strip_prefix("runbook: ")) {
            None => findings.push(format!("{rules_file}: {name} has no runbook")),
            Some(runbook) if !leads_somewhere(root, runbook) => {
                findings.push(format!("{rules_file}: the runbook {runbook} of {name} leads nowhere"));
            }
            Some(_) => {}
        }
        if !tests.lines().any(|line| line.contains(&format!("alertname: {name},")) && line.contains("exp_alerts: []")) {
            findings.push(format!("{tests_file}: no test sees {name} stay silent"));
        }
        let fires =
            tests.contains(&format!("alertname=\"{name}\",alertstate=\"firing\"")) || tests.contains(&format!("alertname: {name}\n"));
        if !fires {
            findings.push(format!("{tests_file}: no test sees {name} fire"));
        }
    }
    Ok(findings)
}

/// A file, a section of one, or the page of whatever reason the alert has.
fn leads_somewhere(root: &Path, runbook: &str) -> bool {
    if let Some((directory, _)) = runbook.split_once("{{") {
        return root.join(directory).is_dir();
    }
    let (file, section) = runbook.split_once('#').unwrap_or((runbook, ""));
    let Ok(text) = fs::read_to_string(root.join(file)) else { return false };
    let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    section.is_empty() || headings.into_iter().any(|heading| heading.to_ascii_lowercase().replace(' ', "-") == section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_without_a_text_or_a_test_are_found() {
        let root = std::env::temp_dir().join(format!("xtask-alerts-{}", std::process::id()));
        let [(rules, tests), ..] = ALERTS;
        let write = |file: &str, text: &str| crate::files::write_whole(&root.join(file), text.as_bytes()).unwrap();
        write(
            rules,
            "- alert: Good\n  runbook: docs/alerts.md#good\n- alert: Each\n  runbook: docs/reasons/{{ $labels.reason }}.md\n- alert: Bad\n  runbook: docs/alerts.md#bad\n- alert: Mute\n",
        );
        write("docs/alerts.md", "## Good\n");
        write("docs/reasons/X.md", "");
        let both = |name: &str| {
            format!(
                "- {{ eval_time: 1m, alertname: {name}, exp_alerts: [] }}\n- expr: ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}\n"
            )
        };
        write(tests, &format!("{}{}{}", both("Good"), both("Each"), both("Bad")));
        let findings = check_file(&root, rules, tests).unwrap();
        crate::files::remove_directory(&root).unwrap();
        assert_eq!(findings.len(), 4, "{findings:?}");
        assert!(findings[0].contains("docs/alerts.md#bad of Bad leads nowhere"), "{findings:?}");
        assert!(findings[1..].iter().all(|finding| finding.contains("Mute")), "{findings:?}");
    }
}
