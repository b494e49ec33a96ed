//! What came out: figures, and goals that are met or missed.

use serde::Serialize;
use serde_json::Value;

use crate::options::OutputFormat;

/// All figures and goals, in the order in which they were measured. They are printed as they come, since a run is long.
#[derive(Debug, Serialize)]
pub struct Report {
    figures: Vec<Named<Value>>,
    goals: Vec<Named<bool>>,
    #[serde(skip)]
    format: OutputFormat,
}

#[derive(Debug, Serialize)]
struct Named<T> {
    name: String,
    value: T,
}

impl Report {
    pub fn new(format: OutputFormat) -> Self {
        Self { figures: Vec::new(), goals: Vec::new(), format }
    }

    pub fn figure(&mut self, name: &str, value: f64, unit: &str) {
        let rounded = (value * 1000.0).round() / 1000.0;
        self.line(&format!("{name:<44} {rounded:>12} {unit}"));
        self.figures.push(Named { name: format!("{name} [{unit}]"), value: rounded.into() });
    }

    /// A goal, with the condition that it is about.
    pub fn goal(&mut self, name: &str, met: bool) {
        self.line(&format!("goal {name}: {}", if met { "met" } else { "missed" }));
        self.goals.push(Named { name: name.to_owned(), value: met });
    }

    /// Progress, for whoever watches.
    pub fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    pub fn finish(&self) -> bool {
        if self.format == OutputFormat::Json {
            println!("{}", serde_json::to_string_pretty(self).unwrap_or_default());
        }
        self.goals.iter().all(|goal| goal.value)
    }

    fn line(&self, text: &str) {
        match self.format {
            OutputFormat::Text => println!("{text}"),
            OutputFormat::Json => eprintln!("{text}"),
        }
    }
}
