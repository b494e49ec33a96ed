//! Metrics as a process prints them, and what the chart's alert rules and dashboards ask of them.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::control_plane::checkout;

/// The value of a series, written with its labels as it is printed.
#[must_use]
pub fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The names of the series.
#[must_use]
pub fn names(metrics: &str) -> BTreeSet<&str> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

/// All expressions of a file in `charts/tenantry/files`, of alert rules or a dashboard.
///
/// # Errors
/// When there is no such file, or it is neither YAML nor JSON.
pub fn expressions_of_chart(file: &str) -> Result<Vec<String>> {
    let path = checkout().join("charts/tenantry/files").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut found = Vec::new();
    expressions(&serde_yaml_ng::from_str(&text)?, &mut found);
    Ok(found)
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            found.extend(entries.get("expr").and_then(Value::as_str).map(str::to_owned));
            entries.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}
