//! The credentials that tenants give their services: mounted from Secrets of the tenants' own, and from no others. A Secret that
//! is missing keeps no pod from running: the mount is optional, and one that is there already stays, so that nothing is rolled
//! because a Secret is gone for a moment.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::DynamicObject;
use tenantry_contract::{CredentialNeed, WorkloadRole};
use tenantry_crds::Slot;
use tenantry_crds::names::{MANAGED_BY, MANAGED_BY_LABEL, USER_SECRET_LABEL};

use super::content::{Content, Service};
use crate::live::{Live, label};
use crate::objects::deployment;
use crate::objects::pod::{Role, UserCredential};
use crate::{Stall, reasons};

/// What is known of a Secret that a group names: never its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSecret {
    /// Whether it is a tenant's own: labelled so, and not the operator's.
    is_users: bool,
    /// The names of its entries.
    files: BTreeSet<String>,
}

impl UserSecret {
    /// Of a Secret as the API server has it, with or without its values.
    pub fn of(secret: &DynamicObject) -> Self {
        let is_users = label(secret, USER_SECRET_LABEL).is_some() && label(secret, MANAGED_BY_LABEL) != Some(MANAGED_BY);
        let data = secret.data["data"].as_object();
        Self { is_users, files: data.into_iter().flat_map(|data| data.keys().cloned()).collect() }
    }
}

/// The names of the Secrets that the slot's revision names as credentials.
pub fn user_secret_names(slot: &Slot) -> BTreeSet<String> {
    let services = slot.spec.revision.iter().flat_map(|revision| revision.services.values());
    services.flat_map(|service| service.credentials.values()).map(|source| source.secret_name.clone()).collect()
}

/// What of a credential keeps it from being used.
enum Trouble<'a> {
    Missing,
    NotUsers,
    Without(Vec<&'a str>),
}

fn trouble<'a>(need: &'a CredentialNeed, secret: Option<&UserSecret>) -> Option<Trouble<'a>> {
    let Some(secret) = secret else { return Some(Trouble::Missing) };
    if !secret.is_users {
        return Some(Trouble::NotUsers);
    }
    let missing: Vec<&str> = need.files.iter().map(String::as_str).filter(|file| !secret.files.contains(*file)).collect();
    (!missing.is_empty()).then_some(Trouble::Without(missing))
}

/// The credentials that the pods of a service's role mount.
pub(crate) fn mounted<'a>(
    service: &Service<'a>,
    role: Role,
    secrets: &BTreeMap<String, UserSecret>,
    live: &Live<'_>,
) -> Vec<UserCredential<'a>> {
    let credentials = given(service).filter(|(credential, need)| {
        need.roles.iter().any(|wanted| role_of(*wanted) == role)
            && match trouble(need, secrets.get(credential.secret)) {
                None => true,
                Some(Trouble::NotUsers) => false,
                Some(Trouble::Missing | Trouble::Without(_)) => is_mounted(service, role, credential, live),
            }
    });
    credentials.map(|(credential, _)| credential).collect()
}

/// The first credential that cannot be used, and what to do.
pub(crate) fn stall(content: &Content<'_>, namespace: &str, secrets: &BTreeMap<String, UserSecret>) -> Option<Stall> {
    let given = content.services.iter().flat_map(|service| given(service).map(move |(credential, need)| (service.name, credential, need)));
    given.into_iter().find_map(|(service, credential, need)| {
        let secret = credential.secret;
        let (reason, what) = match trouble(need, secrets.get(secret))? {
            Trouble::Missing => (
                reasons::CREDENTIAL_MISSING,
                format!(
                    "there is no Secret {secret} in {namespace}: create it, with the label {USER_SECRET_LABEL} and the entries {}",
                    need.files.join(", ")
                ),
            ),
            Trouble::NotUsers => (
                reasons::CREDENTIAL_NOT_USABLE,
                format!("the Secret {secret} in {namespace} does not carry the label {USER_SECRET_LABEL}, and only what does is given to a service: create one that does, and name it"),
            ),
            Trouble::Without(files) => (
                reasons::CREDENTIAL_NOT_USABLE,
                format!("the Secret {secret} in {namespace} has no entry {}: add what is missing", files.join(", ")),
            ),
        };
        let message = format!("the credential {} of {service}: {what}; what runs goes on without it or with what it has", need.name);
        Some(Stall::new(reason, message))
    })
}

/// A credential that the group names and the release does not know.
pub(crate) fn unknown(service: &Service<'_>, release: &str) -> Option<Stall> {
    let needs = &service.released.needs.credentials;
    let unknown = service.credentials.keys().find(|name| !needs.iter().any(|need| need.name == **name))?;
    let known: Vec<&str> = needs.iter().map(|need| need.name.as_str()).collect();
    let message = format!(
        "{} of release {release} has no credential {unknown}; it has: {}. Take spec.services.{}.credentials.{unknown} out of the group, or \
         take another release",
        service.name,
        if known.is_empty() { "none".to_owned() } else { known.join(", ") },
        service.name,
    );
    Some(Stall::new(reasons::UNKNOWN_CREDENTIAL, message))
}

/// The credentials that both the release and the group name.
fn given<'a>(service: &Service<'a>) -> impl Iterator<Item = (UserCredential<'a>, &'a CredentialNeed)> + use<'a> {
    let (sources, needs) = (service.credentials, &service.released.needs.credentials);
    needs.iter().filter_map(|need| {
        let source = sources.get(&need.name)?;
        let files = need.files.iter().chain(&need.optional_files).map(String::as_str).collect();
        Some((UserCredential { name: &need.name, secret: &source.secret_name, files }, need))
    })
}

fn is_mounted(service: &Service<'_>, role: Role, credential: &UserCredential<'_>, live: &Live<'_>) -> bool {
    let deployment = live.get("Deployment", &deployment::name(service.name, role));
    let volumes = deployment.and_then(|deployment| deployment.data["spec"]["template"]["spec"]["volumes"].as_array());
    let volume_name = credential.volume();
    volumes
        .into_iter()
        .flatten()
        .any(|volume| volume["name"] == volume_name.as_str() && volume["secret"]["secretName"] == credential.secret)
}

/// The pods of a role that a release names.
pub(crate) fn role_of(role: WorkloadRole) -> Role {
    match role {
        WorkloadRole::Api => Role::Api,
        WorkloadRole::Worker => Role::Worker,
    }
}
