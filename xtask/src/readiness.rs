//! Waiting for groups to become Ready, telling what each slot waits for, and what is wrong when they do not.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::charts::SYSTEM_NAMESPACE;
use crate::diagnosis::{self, text_at};
use crate::kubernetes::Kubernetes;
use crate::progress::Stage;

/// How long groups may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// How long all that is not ready may call itself stalled before it is believed.
const STALLED_DEADLINE: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(500);

/// A slot that is Ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadySlot {
    /// Its namespace, `<group>-<slot>`.
    pub namespace: String,
    /// The slot's name.
    pub name: String,
    /// The services that run in it.
    pub services: Vec<String>,
}

/// Waits until each group and all its slots are Ready; gives the slots.
pub fn wait_for_groups(kubernetes: &Kubernetes<'_>, groups: &[String], stage: &Stage<'_>) -> Result<Vec<ReadySlot>> {
    let began = Instant::now();
    let mut stalled_since = None;
    let mut shown = String::new();
    loop {
        let observed = Observation::of(kubernetes, groups);
        if let Ok(observed) = &observed {
            if observed.all_ready() {
                return Ok(observed.ready_slots());
            }
            let line = observed.summary();
            stage.detail(&line);
            if line != shown {
                stage.line(&line);
                shown = line;
            }
            stalled_since = observed.is_stalled().then(|| stalled_since.unwrap_or_else(Instant::now));
        }
        let stalled = stalled_since.is_some_and(|since: Instant| since.elapsed() > STALLED_DEADLINE);
        if stalled || began.elapsed() > DEADLINE {
            bail!("{}", failure(kubernetes, groups, observed?, stalled));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Groups and their slots as the API server has them.
struct Observation {
    groups: Vec<Value>,
    slots: Vec<Value>,
}

impl Observation {
    fn of(kubernetes: &Kubernetes<'_>, groups: &[String]) -> Result<Self> {
        let mine = |name: &str| groups.iter().any(|group| group == name);
        let found = kubernetes.list(&["resourcegroups.tenantry.dev"])?;
        let slots = kubernetes.list(&["slots.tenantry.dev", "--all-namespaces"])?;
        Ok(Self {
            groups: found.into_iter().filter(|group| mine(text_at(group, "/metadata/name"))).collect(),
            slots: slots.into_iter().filter(|slot| mine(text_at(slot, "/spec/groupRef/name"))).collect(),
        })
    }

    fn all_ready(&self) -> bool {
        !self.groups.is_empty() && self.groups.iter().all(is_ready) && self.slots.iter().all(is_ready) && self.missing().next().is_none()
    }

    /// Namespaces of slots that groups name, and that are not there or run another release than the group pins.
    fn missing(&self) -> impl Iterator<Item = String> {
        self.groups.iter().flat_map(move |group| {
            let name = text_at(group, "/metadata/name");
            let wanted = group.pointer("/spec/slots").and_then(Value::as_array);
            wanted.into_iter().flatten().filter_map(move |slot| {
                let namespace = format!("{name}-{}", text_at(slot, "/name"));
                let found = self.slots.iter().find(|found| text_at(found, "/metadata/namespace") == namespace);
                let release = text_at(slot, "/release");
                let runs = found.map(|found| text_at(found, "/status/runningRelease"));
                let arrived = runs.is_some_and(|runs| release.is_empty() || runs == release);
                (!arrived).then_some(namespace)
            })
        })
    }

    fn ready_slots(&self) -> Vec<ReadySlot> {
        let mut slots: Vec<ReadySlot> = self
            .slots
            .iter()
            .map(|slot| ReadySlot {
                namespace: text_at(slot, "/metadata/namespace").to_owned(),
                name: text_at(slot, "/metadata/name").to_owned(),
                services: slot
                    .pointer("/spec/revision/services")
                    .and_then(Value::as_object)
                    .map(|services| services.keys().cloned().collect())
                    .unwrap_or_default(),
            })
            .collect();
        slots.sort_by(|one, other| one.namespace.cmp(&other.namespace));
        slots
    }

    /// One line about all slots.
    fn summary(&self) -> String {
        let mut parts: Vec<String> =
            self.slots.iter().map(|slot| format!("{} {}", text_at(slot, "/metadata/namespace"), state(slot))).collect();
        parts.sort();
        for namespace in self.missing() {
            if !parts.iter().any(|part| part.starts_with(&namespace)) {
                parts.push(format!("{namespace} is not there yet"));
            }
        }
        parts.join("; ")
    }

    /// Whether everything that is not ready says that it cannot go on.
    fn is_stalled(&self) -> bool {
        let mut waiting = self.slots.iter().filter(|slot| !is_ready(slot)).peekable();
        waiting.peek().is_some() && waiting.all(|slot| condition(slot, "Stalled") == Some("True"))
    }
}

/// Ready, as of what the object asks for now.
fn is_ready(object: &Value) -> bool {
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
    let asked = object.pointer("/metadata/generation").and_then(Value::as_i64);
    observed.is_some() && observed == asked && condition(object, "Ready") == Some("True")
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    find_condition(object, kind).map(|condition| text_at(condition, "/status"))
}

fn find_condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| text_at(condition, "/type") == kind)
}

/// What a slot waits for, in the order in which it comes about.
const PARTS: [&str; 4] = ["DataServicesReady", "SchemaCurrent", "WorkloadsReady", "Ready"];

/// A few words on one slot: the first part of it that is not there.
fn state(slot: &Value) -> String {
    if is_ready(slot) {
        return "Ready".to_owned();
    }
    let waiting = PARTS.iter().find_map(|part| find_condition(slot, part).filter(|found| text_at(found, "/status") != "True"));
    let Some(waiting) = waiting else {
        return "is new".to_owned();
    };
    let reason = text_at(waiting, "/reason");
    let message: String = text_at(waiting, "/message").chars().take(120).collect();
    if message.is_empty() { reason.to_owned() } else { format!("{reason} ({message})") }
}

fn failure(kubernetes: &Kubernetes<'_>, groups: &[String], observed: Observation, stalled: bool) -> String {
    let mut text = if stalled {
        format!("{} cannot become Ready", groups.join(", "))
    } else {
        format!("{} not Ready after {} minutes", groups.join(", "), DEADLINE.as_secs() / 60)
    };
    for group in observed.groups.iter().filter(|group| !is_ready(group)) {
        let _ = write!(text, "\n  group {}:{}", text_at(group, "/metadata/name"), diagnosis::conditions(group));
    }
    for slot in observed.slots.iter().filter(|slot| !is_ready(slot)) {
        let namespace = text_at(slot, "/metadata/namespace");
        let _ = write!(text, "\n  slot {namespace}:{}", diagnosis::conditions(slot));
        text.push_str(&diagnosis::of_namespace(kubernetes, namespace));
    }
    text.push_str(&diagnosis::of_namespace(kubernetes, SYSTEM_NAMESPACE));
    text.push_str("\n  look further with `cargo xtask kubectl`; `cargo xtask up` again goes on from here");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slot(ready: &str, stalled: &str, observed: i64, runs: &str) -> Value {
        json!({
            "metadata": {"name": "dev", "namespace": "pcasia-dev", "generation": 2},
            "spec": {"groupRef": {"name": "pcasia"}, "revision": {"services": {"campaigns": {}}}},
            "status": {"observedGeneration": observed, "runningRelease": runs, "conditions": [
                {"type": "Ready", "status": ready, "reason": "Because", "message": "of it"},
                {"type": "Stalled", "status": stalled},
            ]},
        })
    }

    fn observation(slots: Vec<Value>) -> Observation {
        let group = json!({
            "metadata": {"name": "pcasia", "generation": 1},
            "spec": {"slots": [{"name": "dev", "release": "v2"}]},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        Observation { groups: vec![group], slots }
    }

    #[test]
    fn ready_means_ready_for_what_is_asked_now() {
        assert!(observation(vec![slot("True", "False", 2, "v2")]).all_ready());
        assert!(!observation(vec![slot("True", "False", 1, "v2")]).all_ready());
        assert!(!observation(vec![slot("False", "False", 2, "v2")]).all_ready());
    }

    #[test]
    fn a_slot_that_runs_another_release_or_is_missing_is_not_there_yet() {
        assert!(!observation(vec![slot("True", "False", 2, "v1")]).all_ready());
        let none = observation(Vec::new());
        assert!(!none.all_ready());
        assert_eq!(none.summary(), "pcasia-dev is not there yet");
    }

    #[test]
    fn stalled_means_that_nothing_moves() {
        assert!(observation(vec![slot("False", "True", 2, "v1")]).is_stalled());
        assert!(!observation(vec![slot("False", "False", 2, "v1"), slot("False", "True", 2, "v1")]).is_stalled());
        assert!(!observation(Vec::new()).is_stalled());
    }

    #[test]
    fn a_slot_says_what_it_waits_for() {
        let mut slot_without_database = slot("False", "False", 2, "v1");
        let data = json!({"type": "DataServicesReady", "status": "False", "reason": "NoServer", "message": "none answers"});
        slot_without_database["status"]["conditions"].as_array_mut().unwrap().push(data);
        assert_eq!(observation(vec![slot_without_database]).summary(), "pcasia-dev NoServer (none answers)");
        assert_eq!(observation(vec![slot("False", "False", 2, "v1")]).summary(), "pcasia-dev Because (of it)");
    }
}
