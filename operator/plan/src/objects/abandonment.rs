//! The record of a database that was given up because its server is gone: in the operator's namespace, since slot and group
//! go. One for each database that somebody named in the annotation.

use serde_json::json;
use tenantry_crds::DatabasePlacement;
use tenantry_crds::names::{GROUP_LABEL, GROUP_UID_LABEL, SLOT_LABEL};

use super::Place;
use crate::{Manifest, Now};

pub(crate) fn abandonment(namespace: &str, place: &Place, database: &DatabasePlacement, obstacle: &str, now: &Now) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": format!("tenantry-abandoned-{}", database.name),
            "namespace": namespace,
            "labels": { GROUP_LABEL: place.group, GROUP_UID_LABEL: place.group_uid, SLOT_LABEL: place.slot },
        },
        "data": {
            "group": place.group,
            "groupUid": place.group_uid,
            "slot": place.slot,
            "server": database.server,
            "database": database.name,
            "obstacle": obstacle,
            "abandonedAt": now.0.to_string(),
        },
    }))
}
