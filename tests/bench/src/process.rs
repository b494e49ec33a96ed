//! What a process uses, and what it says of itself.

use std::time::Duration;

use anyhow::{Context, Result};

/// Linux counts CPU time in hundredths of a second for user space, whatever the kernel's own tick.
const TICKS_A_SECOND: f64 = 100.0;

/// CPU time of the process so far.
pub fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which is in parentheses: fields 14 and 15 of proc_pid_stat(5).
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_A_SECOND)
}

/// Resident memory in MiB: now, and the most it ever was.
pub fn resident_mib(process: u32) -> Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        Ok::<_, anyhow::Error>(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// The sum of the metrics of a name whose labels contain all of `labels`.
pub fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let chosen = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    chosen.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The 99th percentile of what a histogram took in between two readings: the upper bound of its bucket, in seconds.
pub fn histogram_p99(before: &str, after: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let bucket = format!("{name}_bucket");
    let bounds = |metrics: &str| {
        let mut counts: Vec<(f64, f64)> = Vec::new();
        for line in metrics.lines().filter(|line| line.starts_with(&bucket) && labels.iter().all(|label| line.contains(label))) {
            let bound =
                line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).map(|bound| bound.parse().unwrap_or(f64::INFINITY));
            let count = line.rsplit(' ').next().and_then(|count| count.parse().ok());
            if let (Some(bound), Some(count)) = (bound, count) {
                counts.push((bound, count));
            }
        }
        counts
    };
    let (before, after) = (bounds(before), bounds(after));
    let of = |counts: &[(f64, f64)], bound: f64| counts.iter().filter(|(found, _)| *found == bound).map(|(_, count)| count).sum::<f64>();
    let total = of(&after, f64::INFINITY) - of(&before, f64::INFINITY);
    if total <= 0.0 {
        return None;
    }
    let mut candidates: Vec<f64> = after.iter().map(|(bound, _)| *bound).collect();
    candidates.sort_by(f64::total_cmp);
    candidates.into_iter().find(|bound| of(&after, *bound) - of(&before, *bound) >= 0.99 * total)
}

/// The value below which that part of the samples is.
pub fn percentile(samples: &mut [Duration], part: f64) -> f64 {
    samples.sort();
    let index = ((samples.len() as f64 * part).ceil() as usize).clamp(1, samples.len().max(1)) - 1;
    samples.get(index).map_or(f64::NAN, Duration::as_secs_f64)
}
