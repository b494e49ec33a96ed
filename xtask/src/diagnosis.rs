//! What is wrong, when something does not become ready: conditions, pods, and the last lines of their logs.

use std::fmt::Write as _;

use serde_json::Value;

use crate::kubernetes::Kubernetes;
use crate::process;

/// How many containers' logs are shown.
const SHOWN_LOGS: usize = 4;
const LOG_LINES: &str = "--tail=15";

/// The pods of a namespace that are not ready, with the ends of their logs, and the namespace's latest warnings.
pub fn of_namespace(kubernetes: &Kubernetes<'_>, namespace: &str) -> String {
    let mut text = String::new();
    let pods = kubernetes.list(&["pods", "--namespace", namespace]).unwrap_or_default();
    let mut logs = 0;
    for pod in pods.iter().filter(|pod| !is_fine(pod)) {
        let name = text_at(pod, "/metadata/name");
        let _ = write!(text, "\n  pod {namespace}/{name}: {}", pod_state(pod));
        if logs < SHOWN_LOGS {
            logs += 1;
            text.push_str(&logs_of(kubernetes, namespace, name));
        }
    }
    for event in warnings(kubernetes, namespace) {
        let _ = write!(text, "\n  event {namespace}/{event}");
    }
    text
}

/// The conditions of an object that are not as they should be, each on a line.
pub fn conditions(object: &Value) -> String {
    let mut text = String::new();
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    for condition in conditions.into_iter().flatten() {
        let kind = text_at(condition, "/type");
        let status = text_at(condition, "/status");
        let wanted = if matches!(kind, "Stalled" | "Reconciling" | "DeletionBlocked") { "False" } else { "True" };
        if status != wanted {
            let _ = write!(text, "\n    {kind}={status} {}: {}", text_at(condition, "/reason"), text_at(condition, "/message"));
        }
    }
    if text.is_empty() && conditions.is_none_or(Vec::is_empty) {
        text.push_str("\n    no conditions: has the operator seen it?");
    }
    text
}

/// A string inside of an object, empty when there is none.
pub fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_fine(pod: &Value) -> bool {
    let ready = pod.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|conditions| {
        conditions.iter().any(|condition| text_at(condition, "/type") == "Ready" && text_at(condition, "/status") == "True")
    });
    ready || text_at(pod, "/status/phase") == "Succeeded"
}

fn pod_state(pod: &Value) -> String {
    let mut state = text_at(pod, "/status/phase").to_owned();
    for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        let statuses = pod.pointer(list).and_then(Value::as_array);
        for status in statuses.into_iter().flatten() {
            for (phase, label) in [("waiting", "waits"), ("terminated", "ended")] {
                if let Some(detail) = status.pointer(&format!("/state/{phase}")) {
                    let _ = write!(
                        state,
                        ", {} {label}: {} {}",
                        text_at(status, "/name"),
                        text_at(detail, "/reason"),
                        text_at(detail, "/message")
                    );
                }
            }
        }
    }
    state
}

fn logs_of(kubernetes: &Kubernetes<'_>, namespace: &str, pod: &str) -> String {
    let mut text = String::new();
    for previous in [false, true] {
        let mut command = kubernetes.kubectl();
        command.args(["logs", pod, "--namespace", namespace, "--all-containers", "--prefix", LOG_LINES]);
        if previous {
            command.arg("--previous");
        }
        if let Ok(lines) = process::text(&mut command)
            && !lines.is_empty()
        {
            text = process::last_lines(&lines, 30);
        }
    }
    text
}

fn warnings(kubernetes: &Kubernetes<'_>, namespace: &str) -> Vec<String> {
    let events = kubernetes
        .list(&["events", "--namespace", namespace, "--field-selector=type=Warning", "--sort-by=.lastTimestamp"])
        .unwrap_or_default();
    let lines: Vec<String> = events
        .iter()
        .map(|event| {
            format!(
                "{} {}: {} {}",
                text_at(event, "/involvedObject/kind"),
                text_at(event, "/involvedObject/name"),
                text_at(event, "/reason"),
                text_at(event, "/message")
            )
        })
        .collect();
    lines[lines.len().saturating_sub(6)..].to_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_wrong_is_told() {
        let object = json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "Progressing", "message": "the worker starts"},
            {"type": "Stalled", "status": "False", "reason": "Fine"},
            {"type": "SchemaCurrent", "status": "True", "reason": "Current"},
        ]}});
        assert_eq!(conditions(&object), "\n    Ready=False Progressing: the worker starts");
        assert!(conditions(&json!({})).contains("has the operator seen it?"));
    }

    #[test]
    fn a_pod_that_waits_says_why() {
        let pod = json!({"status": {"phase": "Pending", "containerStatuses": [
            {"name": "api", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}},
        ]}});
        assert!(!is_fine(&pod));
        assert_eq!(pod_state(&pod), "Pending, api waits: ErrImagePull no such image");
    }
}
