//! Kubernetes events, part of report: what happened, not how often it was looked at. One when an object becomes Ready or ceases
//! to be, one when trouble begins or becomes another; none for progress, none for a retry. Trouble that comes and goes is told of
//! once in a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tenantry_plan::reasons;

use crate::metrics::Metrics;

/// Longest note of an event, in bytes (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1024;
/// The same trouble of an object is not told of again for so long.
const TOLD_FOR: Duration = Duration::from_secs(600);

#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    metrics: Arc<Metrics>,
    told: Arc<Told>,
}

impl Events {
    pub fn new(client: Client, instance: &str, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter { controller: "tenantry-operator".to_owned(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), metrics, told: Arc::default() }
    }

    /// Publishes what a change of conditions tells; that the object is Ready only if that is `news`. A failure is only logged: an
    /// event is a courtesy, the condition is the truth.
    pub async fn publish_transitions<K>(&self, object: &K, before: &[Condition], after: &[Condition], news: bool)
    where
        K: Resource<DynamicType = ()>,
    {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        for (condition, type_) in transitions(before, after) {
            if type_ == EventType::Normal && condition.status == "True" && !news {
                continue;
            }
            if type_ == EventType::Warning && !self.told.is_news(uid, &condition.reason, Instant::now()) {
                continue;
            }
            let event = Event {
                type_,
                reason: condition.reason.clone(),
                note: Some(truncated(&condition.message, LONGEST_NOTE)),
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            match self.recorder.publish(&event, &object.object_ref(&())).await {
                Ok(()) => self.metrics.event_published(&K::kind(&())),
                Err(error) => tracing::debug!(%error, reason = condition.reason, "an event could not be published"),
            }
        }
    }
}

impl Events {
    /// Publishes a warning of something that was done to an object because somebody asked for it.
    pub async fn warn<K>(&self, object: &K, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let note = Some(truncated(note, LONGEST_NOTE));
        let event = Event { type_: EventType::Warning, reason: reason.to_owned(), note, action: "Reconcile".to_owned(), secondary: None };
        match self.recorder.publish(&event, &object.object_ref(&())).await {
            Ok(()) => self.metrics.event_published(&K::kind(&())),
            Err(error) => tracing::debug!(%error, reason, "an event could not be published"),
        }
    }
}

/// The trouble that was told of lately, by UID and reason.
#[derive(Debug, Default)]
struct Told(Mutex<HashMap<(String, String), Instant>>);

impl Told {
    /// Whether this was not told of that object lately. From now on it was.
    fn is_news(&self, uid: &str, reason: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, since| now.duration_since(*since) < TOLD_FOR);
        let key = (uid.to_owned(), reason.to_owned());
        if told.contains_key(&key) {
            return false;
        }
        told.insert(key, now);
        true
    }
}

/// What is to be told: that `Ready` became another, and trouble that is new; the same reason once.
fn transitions<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<(&'a Condition, EventType)> {
    let was = |type_: &str| before.iter().find(|condition| condition.type_ == type_);
    let is_true = |condition: &Condition| condition.status == "True";
    let mut told: Vec<(&Condition, EventType)> = Vec::new();
    for type_ in ["Stalled", "DeletionBlocked", "Reconciling", "Ready"] {
        let Some(condition) = after.iter().find(|condition| condition.type_ == type_) else { continue };
        let old = was(type_);
        let is_new = old.is_none_or(|old| old.reason != condition.reason || !is_true(old));
        let event = match type_ {
            "Stalled" | "DeletionBlocked" if is_true(condition) && is_new => EventType::Warning,
            "Reconciling" if is_true(condition) && is_new && !reasons::is_progress(&condition.reason) => EventType::Warning,
            "Ready" if is_true(condition) != old.is_some_and(is_true) => EventType::Normal,
            _ => continue,
        };
        if told.iter().all(|(earlier, _)| earlier.reason != condition.reason) {
            told.push((condition, event));
        }
    }
    told
}

/// The text, cut at a character's end where it is longer than `bytes`.
pub fn truncated(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes.saturating_sub(3)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn condition(kind: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    /// The conditions of an object, as `Ready`, `Reconciling` and `Stalled` are always written together.
    fn state(type_: &str, reason: &str) -> Vec<Condition> {
        let of = |kind: &str| condition(kind, if kind == type_ { "True" } else { "False" }, reason);
        vec![of("Ready"), of("Reconciling"), of("Stalled")]
    }

    fn told(before: &[Condition], after: &[Condition]) -> Vec<(String, bool)> {
        let transitions = transitions(before, after).into_iter();
        transitions.map(|(condition, type_)| (condition.reason.clone(), type_ == EventType::Warning)).collect()
    }

    #[test]
    fn becoming_ready_and_new_trouble_are_told_and_progress_is_not() {
        let progress = ["Reconciling", "AwaitingData", "Migrating", "RollingOut"].map(|reason| state("Reconciling", reason));
        assert!(told(&[], &progress[0]).is_empty());
        assert!(progress.windows(2).all(|pair| told(&pair[0], &pair[1]).is_empty()));
        let ready = state("Ready", "Ready");
        assert_eq!(told(&progress[3], &ready), [("Ready".to_owned(), false)]);
        assert!(told(&ready, &ready).is_empty());
        assert_eq!(told(&ready, &progress[3]), [("RollingOut".to_owned(), false)], "that it is not Ready any more");
        let crashing = state("Reconciling", "CrashLooping");
        assert_eq!(told(&progress[3], &crashing), [("CrashLooping".to_owned(), true)]);
        assert_eq!(told(&ready, &crashing), [("CrashLooping".to_owned(), true)], "once, not for Ready too");
        assert!(told(&crashing, &crashing).is_empty());
        let stalled = state("Stalled", "UnknownClass");
        assert_eq!(told(&crashing, &stalled), [("UnknownClass".to_owned(), true)]);
        assert!(told(&stalled, &progress[0]).is_empty());
    }

    #[test]
    fn trouble_that_comes_and_goes_is_told_once_in_a_while() {
        let (told, now) = (Told::default(), Instant::now());
        assert!(told.is_news("1", "PostgresUnreachable", now));
        assert!(told.is_news("1", "PostgresBusy", now) && told.is_news("2", "PostgresBusy", now));
        for second in 1..60 {
            assert!(!told.is_news("1", "PostgresUnreachable", now + Duration::from_secs(second)));
        }
        assert!(told.is_news("1", "PostgresUnreachable", now + TOLD_FOR));
        assert!(told.is_news("1", "Other", now + TOLD_FOR * 3));
        assert_eq!(told.0.lock().unwrap().len(), 1, "what is old is forgotten");
    }

    #[test]
    fn a_long_note_is_cut_at_a_characters_end() {
        assert_eq!(truncated("short", 10), "short");
        let cut = truncated(&"ä".repeat(10), 10);
        assert!(cut.len() <= 10 && cut.ends_with("..."), "{cut}");
    }
}
