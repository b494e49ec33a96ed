//! Whether the slot's network is isolated: believed only after a probe of exactly these policies. A pod in the slot tries to
//! reach the operator, and must not; once it was refused it becomes ready, and then the operator tries to reach the pod, and
//! must not either. What came of it goes into the status, so that a settled slot is tried once.

use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use serde_json::json;
use tenantry_crds::names::ROLE_LABEL;
use tenantry_crds::{NetworkIsolation, NetworkProbe, NetworkProbeResult, Slot};

use super::health;
use crate::compare::canonical_hash;
use crate::live::{Live, kind_of, label};
use crate::objects::pod::Role;
use crate::objects::{Place, network, probe as object};
use crate::{Manifest, Now, SlotFacts, Stall, Track, TrackName, Wait, reasons};

/// What is tried; another number tries every slot once more.
const VERSION: u32 = 1;
/// The first and the longest pause, in seconds, before a network is tried again that was not found isolated.
const FIRST_PAUSE: i64 = 60;
const LONGEST_PAUSE: i64 = 3600;
/// What is said of an isolated slot.
const REFUSED: &str = "a pod of the slot was refused by the operator's address, and the operator by the pod's";
/// The label by which a Job's pods are known.
const JOB_LABEL: &str = "batch.kubernetes.io/job-name";

/// What came of the operator's own attempt to reach a probe's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingress {
    /// It was refused, while it did reach its own canary.
    Refused,
    /// It got through to that address.
    Reached(String),
    /// It did not even reach its own canary, so that nothing is proven.
    CanaryUnreachable(String),
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) result: NetworkProbeResult,
    /// For people.
    pub(crate) message: String,
}

/// The probing of a slot whose class is known.
pub(crate) struct Probing<'a> {
    slot: &'a Slot,
    facts: &'a SlotFacts,
    required: bool,
    /// The hash of the policies that count.
    policies: String,
    job: Manifest,
}

impl<'a> Probing<'a> {
    pub(crate) fn of(slot: &'a Slot, facts: &'a SlotFacts, place: &Place) -> Option<Self> {
        let class = facts.class.as_ref()?;
        // Those that select the probe's pod; others only let more through, for pods of other roles.
        let wanted: Vec<_> = network::policies(place).into_iter().map(|policy| policy.object.data).collect();
        let policies = canonical_hash(&json!([VERSION, wanted]));
        let recorded = recorded(slot).filter(|recorded| recorded.policies == policies);
        let job = object::job(place, &facts.operator.probe, &policies, recorded.map_or(0, |recorded| recorded.failures));
        Some(Self { slot, facts, required: class.spec.network.isolation == NetworkIsolation::Required, policies, job })
    }

    /// What is recorded of the policies that count now.
    fn recorded(&self) -> Option<&'a NetworkProbe> {
        recorded(self.slot).filter(|recorded| recorded.policies == self.policies)
    }

    /// What the pod of this attempt shows, and the operator's own attempt.
    fn finding(&self, live: &Live<'_>) -> Option<Finding> {
        let inconclusive = |message: String| Some(Finding { result: NetworkProbeResult::Inconclusive, message });
        if self.recorded().is_some_and(|recorded| recorded.result == NetworkProbeResult::Isolated) {
            return None;
        }
        for pod in pods(live).filter(|pod| pod_label(pod, JOB_LABEL) == Some(self.job.name())) {
            let tried = pod.metadata.uid.as_ref().and_then(|uid| self.facts.ingress.get(uid));
            let ended = end(pod);
            match (&ended, tried) {
                (Some((object::PROBE_REACHED, words)), _) => return Some(reached(words)),
                // What was tried while it listened counts after it has ended, too.
                (Some((0, _)) | None, Some(Ingress::Refused)) => {
                    return Some(Finding { result: NetworkProbeResult::Isolated, message: REFUSED.to_owned() });
                }
                (Some((0, _)) | None, Some(Ingress::Reached(address))) => {
                    return Some(reached(&format!("the operator reached a pod of the slot at {address}")));
                }
                (Some((0, _)) | None, Some(Ingress::CanaryUnreachable(why))) => return inconclusive(why.clone()),
                (Some((0, _)), None) => return None,
                (Some((_, words)), _) => return inconclusive(words.clone()),
                (None, None) => {}
            }
        }
        let failed = live.get("Job", self.job.name()).and_then(|job| health::job_condition(job, "Failed"));
        failed.and_then(|message| inconclusive(format!("the probe did not end by itself: {}", health::quoted(message))))
    }

    pub(crate) fn track(&self, live: &Live<'_>) -> Track {
        let mut track = Track::new(TrackName::Network);
        let finding = self.finding(live);
        let known = finding.as_ref().map(|finding| finding.result).or_else(|| self.recorded().map(|recorded| recorded.result));
        if known == Some(NetworkProbeResult::Isolated) {
            return track;
        }
        if finding.is_none() && self.is_due() {
            let missing = live.towards(std::slice::from_ref(&self.job));
            track.then(missing.applied);
        }
        if !self.required {
            return track;
        }
        let message = finding.map_or_else(|| self.reported(), |finding| finding.message);
        match known {
            Some(NetworkProbeResult::Reached) => track.stalled(Stall::new(reasons::NETWORK_NOT_ISOLATED, message)),
            Some(_) => track.waiting(Wait::new(reasons::NETWORK_PROBE_FAILED, message)),
            None => {
                let trouble = health::trouble(pods(live)).map(|trouble| format!("the probe of the slot's network: {}", trouble.message));
                let message = trouble.unwrap_or_else(|| "the slot's network is being tried from inside".to_owned());
                track.waiting(Wait::new(reasons::NETWORK_PROBING, message))
            }
        }
    }

    /// Whether nothing is known of the policies that count now, or what is known is bad and of some time ago.
    fn is_due(&self) -> bool {
        self.recorded().is_none_or(|recorded| {
            let pause = FIRST_PAUSE.saturating_mul(1 << recorded.failures.saturating_sub(1).min(6)).min(LONGEST_PAUSE);
            recorded.result != NetworkProbeResult::Isolated
                && self.facts.now.0.as_second() >= recorded.tried_at.0.as_second().saturating_add(pause)
        })
    }

    /// What the condition says already; what is recorded, where somebody wiped the condition.
    fn reported(&self) -> String {
        let mut conditions = self.slot.status.iter().flat_map(|status| &status.conditions);
        let reported = conditions.find(|condition| condition.type_ == CONDITION).map(|condition| condition.message.as_str());
        match (self.recorded().map(|recorded| recorded.result), reported.filter(|message| !message.is_empty())) {
            (Some(NetworkProbeResult::Isolated), _) => REFUSED.to_owned(),
            (_, Some(message)) => message.to_owned(),
            (Some(NetworkProbeResult::Reached), None) => reached("a probe got through").message,
            (Some(NetworkProbeResult::Inconclusive), None) => "the last probe proved nothing; the next one comes".to_owned(),
            (None, None) => String::new(),
        }
    }

    /// What is to be recorded, and status, reason and message of the condition.
    pub(crate) fn report(&self, live: &Live<'_>, now: &Now) -> (Option<NetworkProbe>, &'static str, &'static str, String) {
        let Some(finding) = self.finding(live) else {
            let (status, reason) = self.recorded().map_or(("Unknown", reasons::NETWORK_PROBING), |recorded| words(recorded.result));
            let message = if self.recorded().is_some() { self.reported() } else { "not tried yet".to_owned() };
            return (recorded(self.slot).cloned(), status, reason, message);
        };
        let (status, reason) = words(finding.result);
        let before = self.recorded().map_or(0, |recorded| recorded.failures);
        let failures = if finding.result == NetworkProbeResult::Isolated { 0 } else { before.saturating_add(1) };
        let record = NetworkProbe { policies: self.policies.clone(), result: finding.result, tried_at: now.clone(), failures };
        (Some(record), status, reason, finding.message)
    }
}

/// The condition's type.
pub(crate) const CONDITION: &str = "NetworkIsolated";

fn words(result: NetworkProbeResult) -> (&'static str, &'static str) {
    match result {
        NetworkProbeResult::Isolated => ("True", reasons::NETWORK_REFUSES),
        NetworkProbeResult::Reached => ("False", reasons::NETWORK_NOT_ISOLATED),
        NetworkProbeResult::Inconclusive => ("Unknown", reasons::NETWORK_PROBE_FAILED),
    }
}

fn recorded(slot: &Slot) -> Option<&NetworkProbe> {
    slot.status.as_ref()?.network.as_ref()
}

fn reached(what: &str) -> Finding {
    let message = format!(
        "{what}, which the slot's network policies forbid: the cluster's network does not enforce them. Install a network plugin that \
         does; or, where tenants need not be kept apart, set spec.network.isolation to Reported in the class"
    );
    Finding { result: NetworkProbeResult::Reached, message }
}

fn pods<'l>(live: &'l Live<'_>) -> impl Iterator<Item = &'l Pod> {
    live.pods().iter().filter(|pod| pod_label(pod, ROLE_LABEL) == Some(Role::Probe.name()))
}

fn pod_label<'p>(pod: &'p Pod, key: &str) -> Option<&'p str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Exit code and last words of a pod that ended.
fn end(pod: &Pod) -> Option<(i32, String)> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let ended = status.state.as_ref()?.terminated.as_ref()?;
    Some((ended.exit_code, health::quoted(ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or("the probe said nothing"))))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// UID of the probe's pods; and the address of those that have become ready, which the operator should now try to reach.
pub fn probe_pods(live: &[DynamicObject]) -> Vec<(String, Option<String>)> {
    let probes = live.iter().filter(|object| kind_of(object) == "Pod" && is_probe(object)).filter_map(|object| {
        let pod: Pod = object.clone().try_parse().ok()?;
        let listens = is_ready(&pod) && end(&pod).is_none();
        let address = pod.status.and_then(|status| status.pod_ip).filter(|_| listens);
        Some((pod.metadata.uid?, address))
    });
    probes.collect()
}

/// Whether an object is a probe's: a Job, which no other track wants or prunes, since the cluster removes it after its end, or its pod.
pub fn is_probe(object: &DynamicObject) -> bool {
    label(object, ROLE_LABEL) == Some(Role::Probe.name())
}
