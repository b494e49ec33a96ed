//! A service's configuration file, in a ConfigMap whose name carries its content's hash: a changed configuration is another
//! object, so that pods of the former one keep theirs until the roll-out is over.

use serde_json::json;
use tenantry_contract::{
    AuthConfiguration, CacheConfiguration, DatabaseConfiguration, Identity, ListenConfiguration, ServiceConfiguration, paths,
};

use super::{Place, cache};
use crate::Manifest;
use crate::compare::canonical_hash;
use crate::slot::Service;

/// The configuration of the service's processes, each of which may hold so many connections and accepts these issuers' tokens.
pub(crate) fn configuration(
    place: &Place,
    service: &Service<'_>,
    release: &str,
    database: Option<DatabaseConfiguration>,
    auth: Option<AuthConfiguration>,
) -> Manifest {
    let configuration = ServiceConfiguration {
        identity: Identity {
            group: place.group.clone(),
            slot: place.slot.clone(),
            service: service.name.to_owned(),
            release: release.to_owned(),
        },
        listen: ListenConfiguration {
            api_port: service.released.roles.api.as_ref().map(|api| api.port),
            worker_metrics_port: service.released.roles.worker.as_ref().map(|worker| worker.metrics_port),
        },
        database,
        cache: service.released.needs.cache.as_ref().map(|_| CacheConfiguration {
            host: cache::NAME.to_owned(),
            port: cache::PORT,
            key_prefix: format!("{}:", service.name),
        }),
        auth,
        settings: service.settings,
    };
    let mut content = json!(configuration);
    // Whatever order this build's maps have: a text that changed would roll every pod.
    content.sort_all_objects();
    let name = format!("{}-{}", service.name, &canonical_hash(&content)[..10]);
    let text = serde_json::to_string_pretty(&content).unwrap_or_default();
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": place.metadata(&name, place.labels_of(Some(service.name), None)),
        "immutable": true,
        "data": { paths::CONFIGURATION_KEY: text },
    }))
}
