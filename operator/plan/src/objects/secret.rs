//! The Secrets of a slot: credentials derived from the master key, each in an object of its own so that a pod mounts only
//! what its role is given.

use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use tenantry_contract::paths::{PASSWORD, TOKEN, USERNAME};

use super::Place;
use crate::names::Purpose;
use crate::{Manifest, MasterKey, SlotIdentity};

/// The generation of the credentials that are not rotated: of APIs and of the cache.
pub(crate) const GENERATION: u32 = 1;
/// The kind, as it stands in a manifest.
pub(crate) const KIND: &str = "Secret";
/// Annotation of the Secrets with a login: the server on which it is valid. Beside the Slot's status the record of where the
/// slot's database is.
pub(crate) const SERVER_ANNOTATION: &str = "tenantry.dev/database-server";
/// The credential of an API's callers, for the derivation.
const API_TOKEN: &str = "api-token";

/// Name of the Secret with the runtime login.
pub(crate) fn database_name(service: &str) -> String {
    format!("{service}-database")
}

/// Name of the Secret with the migration's login.
pub(crate) fn migration_name(service: &str) -> String {
    format!("{service}-migration")
}

/// Name of the Secret with the API's bearer token.
pub(crate) fn api_name(service: &str) -> String {
    format!("{service}-api")
}

/// All names that a service's Secrets may have.
pub(crate) fn names_of(service: &str) -> [String; 3] {
    [database_name(service), migration_name(service), api_name(service)]
}

/// The login of a service's pods, or of its migration, on that server.
pub(crate) fn login(
    place: &Place,
    identity: &SlotIdentity,
    key: &MasterKey,
    service: &str,
    (purpose, generation): (Purpose, u32),
    server: &str,
) -> Manifest {
    let name = if purpose == Purpose::Migrate { migration_name(service) } else { database_name(service) };
    let password = key.password(identity, service, purpose.suffix(), generation);
    let role = identity.role(service, purpose);
    let mut object = object(place, &name, Some(service), &[(USERNAME, &role), (PASSWORD, password.reveal())]);
    object["metadata"]["annotations"] = json!({ SERVER_ANNOTATION: server });
    Manifest::new(object)
}

/// The bearer token of a service's API.
pub(crate) fn api_token(place: &Place, identity: &SlotIdentity, key: &MasterKey, service: &str) -> Manifest {
    let token = key.password(identity, service, API_TOKEN, GENERATION);
    secret(place, &api_name(service), Some(service), &[(TOKEN, token.reveal())])
}

/// A Secret of those entries.
pub(crate) fn secret(place: &Place, name: &str, service: Option<&str>, entries: &[(&str, &str)]) -> Manifest {
    Manifest::new(object(place, name, service, entries))
}

fn object(place: &Place, name: &str, service: Option<&str>, entries: &[(&str, &str)]) -> Value {
    let data: Map<String, Value> = entries.iter().map(|(key, value)| ((*key).to_owned(), BASE64.encode(value.as_bytes()).into())).collect();
    json!({
        "apiVersion": "v1",
        "kind": KIND,
        "metadata": place.metadata(name, place.labels_of(service, None)),
        "type": "Opaque",
        "data": data,
    })
}
