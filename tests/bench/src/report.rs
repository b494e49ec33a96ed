//! What came out: figures, and goals that are met or missed.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Text,
    Json,
}

/// All figures and goals, in the order in which they were measured. They are printed as they come, since a run is long.
#[derive(Debug, Serialize)]
pub struct Report {
    figures: Vec<Named<Value>>,
    goals: Vec<Named<Verdict>>,
    #[serde(skip)]
    format: OutputFormat,
}

#[derive(Debug, Serialize)]
struct Named<T> {
    name: String,
    value: T,
}

/// What became of a goal. As JSON `true`, `false`, and `null` for one that was not measured as it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "Option<bool>")]
pub enum Verdict {
    Met,
    Missed,
    /// At other sizes than the goal is about.
    NotJudged,
}

impl From<Verdict> for Option<bool> {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Met => Some(true),
            Verdict::Missed => Some(false),
            Verdict::NotJudged => None,
        }
    }
}

impl Report {
    pub fn new(format: OutputFormat) -> Self {
        Self { figures: Vec::new(), goals: Vec::new(), format }
    }

    pub fn figure(&mut self, name: &str, value: f64, unit: &str) {
        let rounded = (value * 1000.0).round() / 1000.0;
        self.line(&format!("{name:<56} {rounded:>12} {unit}"));
        self.figures.push(Named { name: format!("{name} [{unit}]"), value: rounded.into() });
    }

    /// A circumstance that the figures stand under.
    pub fn circumstance(&mut self, name: &str, value: &str) {
        self.line(&format!("{name}: {value}"));
        self.figures.push(Named { name: name.to_owned(), value: value.into() });
    }

    /// A goal, with the condition that it is about.
    pub fn goal(&mut self, name: &str, met: bool) {
        self.verdict(name, if met { Verdict::Met } else { Verdict::Missed });
    }

    /// A goal of which it may not be possible to say whether it is met.
    pub fn verdict(&mut self, name: &str, verdict: Verdict) {
        let word = match verdict {
            Verdict::Met => "met",
            Verdict::Missed => "missed",
            Verdict::NotJudged => "not judged: the sizes are not the goal's",
        };
        self.line(&format!("goal {name}: {word}"));
        self.goals.push(Named { name: name.to_owned(), value: verdict });
    }

    /// Progress, for whoever watches.
    pub fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Whether nothing was missed.
    pub fn finish(&self) -> bool {
        if self.format == OutputFormat::Json {
            println!("{}", serde_json::to_string_pretty(self).unwrap_or_default());
        }
        self.goals.iter().all(|goal| goal.value != Verdict::Missed)
    }

    fn line(&self, text: &str) {
        match self.format {
            OutputFormat::Text => println!("{text}"),
            OutputFormat::Json => eprintln!("{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_goal_fails_the_run_and_one_that_is_not_judged_is_neither_met_nor_missed() {
        let mut report = Report::new(OutputFormat::Json);
        report.goal("first", true);
        report.verdict("second", Verdict::NotJudged);
        assert!(report.finish());
        report.goal("third", false);
        assert!(!report.finish());
        let goals = serde_json::to_value(&report).unwrap()["goals"].clone();
        let values: Vec<Option<bool>> = goals.as_array().unwrap().iter().map(|goal| goal["value"].as_bool()).collect();
        assert_eq!(values, [Some(true), None, Some(false)]);
    }
}
