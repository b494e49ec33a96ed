//! Runs an operator through a scenario at the step gate: unkilled, to learn of its steps; or killed once at each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tenantry_harness::operator::Operator;
use tenantry_harness::step_gate::{Held, Moment, StepGate};

use super::normal::Names;
use super::platform::Platform;

/// For a whole scenario, with all of its restarts, on slow cores that also compile.
const DEADLINE: Duration = Duration::from_secs(420);
/// So long without a step, and the operator is at rest.
const QUIET: Duration = Duration::from_millis(1500);
const PERIOD: Duration = Duration::from_millis(100);

/// Steps of one wave come to the gate together: so long they are waited for, before the operator is killed at all of them.
const GATHERING: Duration = Duration::from_millis(150);

/// A scenario and a moment in it.
pub type Place = (String, Moment);

/// Where the operator is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kills {
    Never,
    /// At each moment that was not seen before in its scenario, alone: what else is under way is cut off somewhere.
    AtFirstSight,
    /// At these, together with those of them that come at the same time.
    At(BTreeSet<Place>),
}

/// One group's life under an operator that stops at every step.
pub struct Campaign<'p> {
    platform: &'p Platform,
    names: Names,
    kills: Kills,
    running: Option<(Operator, StepGate)>,
    /// How often the operator was killed.
    pub killed: usize,
    /// Where.
    pub killed_at: BTreeSet<Place>,
    /// All objects that a step was done to or for, as they are named in the cluster.
    pub touched: BTreeSet<String>,
}

impl<'p> Campaign<'p> {
    pub fn new(platform: &'p Platform, kills: Kills, names: Names) -> Self {
        Self { platform, names, kills, running: None, killed: 0, killed_at: BTreeSet::new(), touched: BTreeSet::new() }
    }

    /// Lets the operator work until `done` says so and nothing has been done for a while. Gives the moments that there were,
    /// normalised.
    pub async fn until(&mut self, scenario: &str, mut done: impl AsyncFnMut() -> Result<(), String>) -> BTreeSet<Moment> {
        let (begun, mut last, mut why) = (Instant::now(), Instant::now(), String::new());
        let mut seen = BTreeSet::new();
        let mut ticks = tokio::time::interval(PERIOD);
        loop {
            let (operator, gate) = self.running.get_or_insert_with(|| self.platform.start_gated_operator(&[]));
            tokio::select! {
                held = gate.next() => {
                    let held = held.unwrap();
                    last = Instant::now();
                    if let Some(held) = self.judge(scenario, held, &mut seen).await {
                        self.kill(scenario, held, &mut seen).await;
                    }
                }
                _ = ticks.tick() => {
                    assert!(operator.try_wait().unwrap().is_none(), "the operator ended by itself: {}", operator.log());
                    if last.elapsed() > QUIET {
                        match done().await {
                            Ok(()) => return seen,
                            Err(not_yet) => why = not_yet,
                        }
                    }
                    assert!(begun.elapsed() < DEADLINE, "{scenario} is not over after {DEADLINE:?}; last: {why}\n{}", operator.log());
                }
            }
        }
    }

    /// Lets a step go on, or holds it because the operator is to be killed there.
    async fn judge(&mut self, scenario: &str, held: Held, seen: &mut BTreeSet<Moment>) -> Option<Held> {
        self.touched.extend([held.moment.object.clone(), held.moment.planned.clone()]);
        let moment = self.normal(&held.moment);
        let place = (scenario.to_owned(), moment.clone());
        let is_new = seen.insert(moment);
        let is_meant = match &self.kills {
            Kills::Never => false,
            Kills::AtFirstSight => is_new,
            Kills::At(places) => places.contains(&place) && !self.killed_at.contains(&place),
        };
        if is_meant {
            self.killed_at.insert(place);
            return Some(held);
        }
        held.go().await.unwrap();
        None
    }

    async fn kill(&mut self, scenario: &str, first: Held, seen: &mut BTreeSet<Moment>) {
        let Some((operator, mut gate)) = self.running.take() else { return };
        let mut all = vec![first];
        if let Kills::At(_) = self.kills {
            let begun = Instant::now();
            while let Ok(held) = tokio::time::timeout(GATHERING.saturating_sub(begun.elapsed()), gate.next()).await {
                all.extend(self.judge(scenario, held.unwrap(), seen).await);
            }
        }
        operator.kill().unwrap();
        self.killed += 1;
    }

    fn normal(&self, moment: &Moment) -> Moment {
        let normal = |text: &str| self.names.normal(text);
        Moment { planned: normal(&moment.planned), object: normal(&moment.object), ..moment.clone() }
    }
}

/// What a set of places consists of, for the eye: how many in which scenario and track.
pub fn summary(places: &BTreeSet<Place>) -> String {
    let mut tracks: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (scenario, moment) in places {
        *tracks.entry((scenario, &moment.track)).or_default() += 1;
    }
    tracks.iter().map(|((scenario, track), count)| format!("{scenario} {track} {count}")).collect::<Vec<_>>().join(", ")
}
