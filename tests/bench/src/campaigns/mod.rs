//! Measures campaigns as they are deployed: real `api` and `worker` processes, a PostgreSQL that writes to the disk, and beside them, on the same
//! machine, what asks and reports. The peer of `position` and `top100` is Valkey with the same members and the same writer; the two take turns, and
//! whoever is not measured is stopped meanwhile.

mod fanout;
mod http;
mod in_process;
mod ingest;
mod ingest_probes;
mod layout;
mod load;
mod memory;
mod options;
mod peer;
mod questions;
mod scaling;
mod slot;
mod times;
mod writer;

use anyhow::Result;

use crate::report::{Report, Verdict};
pub use options::Options;
use options::Part;
use slot::Slot;

pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    options.check()?;
    report.circumstance("build", if cfg!(debug_assertions) { "Cargo's dev profile" } else { "Cargo's release profile" });
    if options.wants(&[Part::Memory, Part::Rebuild, Part::Position, Part::Top100, Part::Fanout]) {
        let slot = Slot::start(report).await?;
        // The campaign is empty until `memory` has looked at the process without it.
        let campaign = slot.campaign().await?;
        let kept = memory::run(&slot, campaign, options, report).await?;
        if options.wants(&[Part::Position, Part::Top100]) {
            in_process::run(&slot, campaign, &kept, options, report).await?;
            questions::run(&slot, campaign, &kept, options, report).await?;
        }
        if options.wants(&[Part::Fanout]) {
            fanout::run(&slot, campaign, &kept, options, report).await?;
        }
    }
    if options.wants(&[Part::Ingest, Part::Scaling, Part::Single]) {
        ingest::run(options, report).await?;
    }
    Ok(())
}

/// Says what became of a goal: `None` for a condition that was not measured, which is a goal that was missed. At other sizes than the goal's
/// nothing is said.
fn judge(report: &mut Report, name: &str, is_at_goal: bool, conditions: &[Option<bool>]) {
    let met = !conditions.is_empty() && conditions.iter().all(|condition| *condition == Some(true));
    report.verdict(
        name,
        match (is_at_goal, met) {
            (false, _) => Verdict::NotJudged,
            (true, true) => Verdict::Met,
            (true, false) => Verdict::Missed,
        },
    );
}

/// Whether a measured number is at least `bound`; one that was not measured is NaN.
fn at_least(value: f64, bound: f64) -> Option<bool> {
    value.is_finite().then_some(value >= bound)
}

/// Whether a measured number is below `bound`.
fn below(value: f64, bound: f64) -> Option<bool> {
    value.is_finite().then_some(value < bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::OutputFormat;

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert_eq!((at_least(f64::NAN, 1.0), below(f64::NAN, 1.0)), (None, None));
        assert_eq!((at_least(1.0, 1.0), below(1.0, 1.0)), (Some(true), Some(false)));
        for conditions in [&[][..], &[None], &[Some(true), None], &[Some(false)]] {
            let mut report = Report::new(OutputFormat::Json);
            judge(&mut report, "goal", true, conditions);
            assert!(!report.finish(), "{conditions:?}");
        }
        let mut report = Report::new(OutputFormat::Json);
        judge(&mut report, "goal", true, &[Some(true)]);
        judge(&mut report, "goal", false, &[Some(false)]);
        assert!(report.finish());
    }
}
