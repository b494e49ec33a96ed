//! Kubernetes events, only when a condition changes: whoever reads `kubectl describe` sees what happened, not how often it
//! was looked at.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// Longest note of an event, in bytes (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1024;

#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: "tenantry-operator".to_owned(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes one event for each condition whose status or reason differs. A failure is only logged: an event is a
    /// courtesy, the condition is the truth.
    pub async fn publish_transitions<K>(&self, object: &K, before: &[Condition], after: &[Condition])
    where
        K: Resource<DynamicType = ()>,
    {
        for condition in transitions(before, after) {
            let event = Event {
                type_: severity(condition),
                reason: condition.reason.clone(),
                note: Some(truncated(&condition.message, LONGEST_NOTE)),
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
                tracing::debug!(%error, reason = condition.reason, "an event could not be published");
            }
        }
    }
}

/// `Ready` and `Stalled` tell the whole story; what else changes is in the conditions.
fn transitions<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    after
        .iter()
        .filter(|condition| matches!(condition.type_.as_str(), "Ready" | "Stalled" | "DeletionBlocked"))
        .filter(|condition| {
            let old = before.iter().find(|old| old.type_ == condition.type_);
            let quiet = condition.type_ != "Ready" && condition.status == "False";
            match old {
                Some(old) => old.status != condition.status || (old.reason != condition.reason && !quiet),
                None => !quiet,
            }
        })
        .collect()
}

fn severity(condition: &Condition) -> EventType {
    let bad = matches!(condition.type_.as_str(), "Stalled" | "DeletionBlocked") && condition.status == "True";
    if bad { EventType::Warning } else { EventType::Normal }
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

    #[test]
    fn only_a_change_makes_an_event() {
        let ready = condition("Ready", "True", "Settled");
        let not_ready = condition("Ready", "False", "Progressing");
        let calm = condition("Stalled", "False", "Settled");
        assert_eq!(transitions(&[], &[not_ready.clone(), calm.clone()]), vec![&not_ready]);
        assert!(transitions(&[ready.clone(), calm.clone()], &[ready.clone(), calm.clone()]).is_empty());
        assert_eq!(transitions(std::slice::from_ref(&not_ready), std::slice::from_ref(&ready)), vec![&ready]);
    }

    #[test]
    fn a_long_note_is_cut_at_a_characters_end() {
        assert_eq!(truncated("short", 10), "short");
        let cut = truncated(&"ä".repeat(10), 10);
        assert!(cut.len() <= 10 && cut.ends_with("..."), "{cut}");
    }
}
