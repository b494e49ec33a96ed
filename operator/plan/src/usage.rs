//! The plans of a class and of a release: what is in use cannot be deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tenantry_crds::names::IN_USE_FINALIZER;
use tenantry_crds::{Release, ResourceGroupClass};

use crate::{Plan, Step, Track, TrackName, Wait, reasons};

/// Holds a class while those groups use it.
pub fn class(class: &ResourceGroupClass, users: &[String]) -> Plan {
    usage(&class.metadata, users, "groups")
}

/// Holds a release while those slots use it, each named `<group>-<slot>`.
pub fn release(release: &Release, users: &[String]) -> Plan {
    usage(&release.metadata, users, "slots")
}

fn usage(metadata: &ObjectMeta, users: &[String], kind: &str) -> Plan {
    let held = metadata.finalizers.iter().flatten().any(|finalizer| finalizer == IN_USE_FINALIZER);
    let deleted = metadata.deletion_timestamp.is_some();
    let mut track = Track::new(TrackName::Usage);
    match (users.is_empty(), held) {
        (false, false) if !deleted => track.then(vec![Step::AddFinalizer(IN_USE_FINALIZER)]),
        (true, true) => track.then(vec![Step::RemoveFinalizer(IN_USE_FINALIZER)]),
        _ => {}
    }
    if deleted && !users.is_empty() {
        let shown = users.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
        let message = format!("it is deleted once no {kind} use it; {} still do: {shown}", users.len());
        track.wait = Some(Wait::new(reasons::IN_USE, message));
    }
    Plan { tracks: vec![track] }
}
