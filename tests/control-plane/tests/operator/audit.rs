//! What the API server's audit log says of the operator's writes.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tenantry_harness::operator::USER;

use super::platform::eventually;

/// The operator's mutating requests from that line of the audit log on: those about its Lease, and the others.
pub fn writes(audit_log: &Path, from: usize) -> (usize, Vec<String>) {
    let log = std::fs::read_to_string(audit_log).unwrap();
    let mut leases = 0;
    let mut others = Vec::new();
    for event in log.lines().skip(from).filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if !is_write(&event) {
            continue;
        }
        if event["objectRef"]["resource"] == "leases" {
            leases += 1;
        } else {
            others.push(format!("{} {}", event["verb"], event["requestURI"]));
        }
    }
    (leases, others)
}

/// What the operator has written, as `namespace/name` or `name`, but for its Lease, its master key and events.
pub fn written_objects(audit_log: &Path) -> BTreeSet<String> {
    let log = std::fs::read_to_string(audit_log).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(is_write);
    let objects = events.map(|event| event["objectRef"].clone()).filter(|object| {
        !["leases", "events"].contains(&object["resource"].as_str().unwrap_or_default()) && object["name"] != "tenantry-master-key"
    });
    objects
        .map(|object| {
            let name = object["name"].as_str().unwrap_or_default();
            match object["namespace"].as_str() {
                // A namespace's own requests name it as their namespace, too.
                Some(namespace) if object["resource"] != "namespaces" => format!("{namespace}/{name}"),
                _ => name.to_owned(),
            }
        })
        .collect()
}

fn is_write(event: &Value) -> bool {
    let mutating = ["create", "update", "patch", "delete", "deletecollection"].contains(&event["verb"].as_str().unwrap_or_default());
    event["user"]["username"] == USER && event["stage"] == "ResponseComplete" && mutating
}

pub fn lines(audit_log: &Path) -> usize {
    std::fs::read_to_string(audit_log).unwrap().lines().count()
}

/// While the operator renews its Lease three times, nothing else is written.
pub async fn assert_still(audit_log: &Path, from: usize) {
    eventually("the Lease is renewed three times", async || {
        let (leases, _) = writes(audit_log, from);
        (leases >= 3).then_some(()).ok_or(leases)
    })
    .await;
    assert_eq!(writes(audit_log, from).1, Vec::<String>::new());
}

/// A last event, or a Job that has just finished, may still be under way when a group is Ready: waits until nothing is written
/// while a Lease is renewed.
pub async fn settle(audit_log: &Path) {
    eventually("nothing is written any more", async || {
        let from = lines(audit_log);
        let renewed = eventually("a Lease is renewed", async || match writes(audit_log, from) {
            (0, _) => Err("none yet"),
            (_, others) => Ok(others),
        });
        let others = renewed.await;
        if others.is_empty() { Ok(()) } else { Err(others) }
    })
    .await;
}
