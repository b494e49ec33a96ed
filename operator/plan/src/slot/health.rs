//! What the pods of a role say of themselves, and how far a roll-out is.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::core::DynamicObject;
use serde_json::Value;

use crate::{Wait, reasons};

/// The longest part of somebody else's message that goes into ours.
const QUOTED: usize = 300;

/// What keeps any of these pods from coming up, the gravest first.
pub(crate) fn trouble<'p>(pods: impl Iterator<Item = &'p Pod>) -> Option<Wait> {
    pods.filter(|pod| pod.metadata.deletion_timestamp.is_none()).find_map(|pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        statuses.map(|status| container_trouble(pod, status)).find(Option::is_some).flatten().or_else(|| unschedulable(pod))
    })
}

fn container_trouble(pod: &Pod, status: &ContainerStatus) -> Option<Wait> {
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            // The kubelet alternates between the error and a back-off that quotes it: give the error alone.
            let cause = message.rsplit("ErrImagePull: ").next().unwrap_or_default();
            let text = format!(
                "the image {} of the pod {name} cannot be pulled: {}; check the release's image and the nodes' access to the registry",
                status.image,
                quoted(cause)
            );
            Some(Wait::new(reasons::IMAGE_PULL_FAILED, text))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            let text = format!("the container {} of the pod {name} cannot be made: {}", status.name, quoted(message));
            Some(Wait::new(reasons::CONTAINER_NOT_CREATED, text))
        }
        _ => crash(name, status),
    }
}

fn crash(pod: &str, status: &ContainerStatus) -> Option<Wait> {
    let ended = status.last_state.as_ref()?.terminated.as_ref()?;
    (!status.ready && status.restart_count > 0).then(|| {
        let text = format!(
            "the container {} of the pod {pod} ends again and again, with exit code {}: {}; see its log (kubectl logs {pod} --previous)",
            status.name,
            ended.exit_code,
            quoted(ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or("no message")),
        );
        Wait::new(reasons::CRASH_LOOPING, text)
    })
}

fn unschedulable(pod: &Pod) -> Option<Wait> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let condition = conditions.into_iter().find(|condition| {
        condition.type_ == "PodScheduled" && condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let message = quoted(condition.message.as_deref().unwrap_or_default());
    Some(Wait::new(reasons::UNSCHEDULABLE, format!("no node takes the pod {name}: {message}")))
}

/// The end of a message, where the cause usually stands, in one line.
pub(crate) fn quoted(message: &str) -> String {
    let line = message.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let skipped = line.chars().count().saturating_sub(QUOTED);
    line.chars().skip(skipped).collect()
}

/// What a Deployment's roll-out still lacks; none once only pods of the wanted template are there, all available. Where an
/// autoscaler owns their number, `fewest` are enough: a pod that it adds is no roll-out.
pub(crate) fn unfinished(deployment: &DynamicObject, fewest: Option<i64>) -> Option<Wait> {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let wanted = deployment.data["spec"]["replicas"].as_i64().unwrap_or(1);
    let (updated, available, all) =
        (count(deployment, "updatedReplicas"), count(deployment, "availableReplicas"), count(deployment, "replicas"));
    let is_enough = match fewest {
        None => all == wanted && available == wanted,
        Some(fewest) => available >= fewest,
    };
    if has_rolled(deployment) && is_enough {
        return None;
    }
    let failure = deployment.data["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True");
    if let Some(message) = failure.and_then(|failure| failure["message"].as_str()) {
        let text = format!("pods of {name} cannot be made: {}", quoted(message));
        return Some(Wait::new(reasons::POD_CREATION_FAILED, text));
    }
    let text = format!(
        "{name}: {updated} of {wanted} pods are of the wanted revision, {available} available, {} of a former one still there",
        (all - updated).max(0)
    );
    Some(Wait::new(reasons::ROLLING_OUT, text))
}

/// Whether a Deployment has no pod of a former template, as far as is known; those that end do not count.
pub(crate) fn has_rolled(deployment: &DynamicObject) -> bool {
    let observed = deployment.data["status"]["observedGeneration"].as_i64() >= deployment.metadata.generation;
    observed && count(deployment, "updatedReplicas") == count(deployment, "replicas")
}

/// A number in a Deployment's status, which leaves out what is zero.
fn count(deployment: &DynamicObject, field: &str) -> i64 {
    deployment.data["status"][field].as_i64().unwrap_or(0)
}

/// Whether a Job has a condition of that type, and its message.
pub(crate) fn job_condition<'a>(job: &'a DynamicObject, condition: &str) -> Option<&'a str> {
    let conditions: &Value = &job.data["status"]["conditions"];
    let found = conditions.as_array()?.iter().find(|found| found["type"] == condition && found["status"] == "True")?;
    Some(found["message"].as_str().unwrap_or_default())
}
