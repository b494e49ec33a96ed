//! Conditions as kstatus reads them: `Ready` always; `Reconciling` and `Stalled` are True only while it is so.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::verdict::Verdict;
use crate::{Now, reasons};

/// Whether that is more than a deletion on its way.
pub(crate) fn blocks_deletion(reason: &str) -> bool {
    ![reasons::DELETING, reasons::RECONCILING].contains(&reason)
}

/// Writes conditions over those of before. A condition's time changes only with its status.
pub(crate) struct Conditions<'a> {
    before: &'a [Condition],
    generation: i64,
    now: &'a Now,
    written: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub(crate) fn new(before: &'a [Condition], generation: i64, now: &'a Now) -> Self {
        Self { before, generation, now, written: Vec::new() }
    }

    pub(crate) fn set(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let before = self.before.iter().find(|condition| condition.type_ == type_ && condition.status == status);
        self.written.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: Some(self.generation),
            last_transition_time: before.map_or_else(|| self.now.clone(), |before| before.last_transition_time.clone()),
        });
    }

    /// `Ready`, `Reconciling` and `Stalled`.
    pub(crate) fn summary(&mut self, verdict: &Verdict, ready_message: &str) {
        let (reason, message) = verdict.because().unwrap_or((reasons::READY, ready_message));
        let is = |yes: bool| if yes { "True" } else { "False" };
        self.set("Ready", is(matches!(verdict, Verdict::Ready)), reason, message);
        self.set("Reconciling", is(matches!(verdict, Verdict::Reconciling { .. })), reason, message);
        self.set("Stalled", is(matches!(verdict, Verdict::Stalled { .. })), reason, message);
    }

    /// A condition of that type that is True where the verdict is Ready, and otherwise has this status.
    pub(crate) fn part(&mut self, type_: &str, verdict: &Verdict, otherwise: &str) {
        match verdict.because() {
            None => self.set(type_, "True", reasons::READY, ""),
            Some((reason, message)) => self.set(type_, otherwise, reason, message),
        }
    }

    /// Takes over what was said before of a type that is not judged now.
    pub(crate) fn keep(&mut self, type_: &str) {
        self.written.extend(self.before.iter().find(|condition| condition.type_ == type_).cloned());
    }

    pub(crate) fn finish(self) -> Vec<Condition> {
        self.written
    }
}
