//! Which of a service's two runtime logins is used, and when it is the other's turn. The comments of the logins are the only
//! record, so that a rotation that was interrupted anywhere goes on from what PostgreSQL says:
//!
//! 1. The idle login is made the next generation's, with all its rights, while everybody still uses the former one.
//! 2. Once it is complete, the Secrets turn to it, and the pods roll.
//! 3. Once no pod of before is left, the former login is retired: it cannot log in any more, and its sessions end.

use std::collections::BTreeMap;

use crate::live::Live;
use crate::names::{Comment, CredentialNote, Purpose, schema};
use crate::objects::pod::{CREDENTIAL_ANNOTATION, Role};
use crate::objects::{autoscaler, deployment};
use crate::slot::health;
use crate::{DatabaseFacts, MasterKey, Observation, RoleFacts, SlotFacts, Wait, reasons};

use super::content::{Content, Service};
use super::placement::Placement;

/// One of the two runtime logins with one password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    /// Which login.
    pub(crate) purpose: Purpose,
    /// Which password.
    pub(crate) note: CredentialNote,
}

/// The logins of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// What the Secrets and the pods have, or are to have.
    pub(crate) current: Credential,
    /// What PostgreSQL has to know; another than the current one while that is still used until this one is complete.
    pub(crate) newest: Credential,
    /// The other login, while it may log in.
    pub(crate) former: Option<Purpose>,
}

impl Credentials {
    /// The migration's password changes with the runtime login's.
    pub(crate) fn migration(&self, content: &Content<'_>, service: &Service<'_>, key: &MasterKey) -> CredentialNote {
        let suffix = Purpose::Migrate.suffix();
        let fingerprint = key.fingerprint(&content.identity, service.name, suffix, self.current.note.generation);
        CredentialNote { fingerprint, ..self.current.note.clone() }
    }

    /// Whether a rotation is under way.
    fn rotates(&self) -> bool {
        self.former.is_some() || self.current != self.newest
    }
}

/// The logins of all services with a schema, by service; of none while it is not known what PostgreSQL has.
pub(crate) fn of_slot(facts: &SlotFacts, content: &Content<'_>) -> BTreeMap<String, Credentials> {
    let Observation::Known(key) = &facts.master_key else { return BTreeMap::new() };
    let nothing_yet = DatabaseFacts::default();
    let database = match (&facts.database, &content.placement) {
        (Observation::Known(database), _) => database,
        (_, Placement::At { recorded: false, found: false, .. }) => &nothing_yet,
        _ => return BTreeMap::new(),
    };
    content.with_database().map(|service| (service.name.to_owned(), of(content, service, database, key))).collect()
}

fn of(content: &Content<'_>, service: &Service<'_>, facts: &DatabaseFacts, key: &MasterKey) -> Credentials {
    let view = View { content, service, facts, key };
    let logins = [Purpose::A, Purpose::B].map(|purpose| (purpose, view.found(purpose)));
    let enabled: Vec<Purpose> =
        logins.iter().filter(|(_, role)| role.is_some_and(|role| role.login)).map(|(purpose, _)| *purpose).collect();
    match enabled[..] {
        [] => {
            // The one that was used last, if there was any.
            let purpose = if view.generation(Purpose::B) > view.generation(Purpose::A) { Purpose::B } else { Purpose::A };
            let credential = view.recorded(purpose);
            Credentials { current: credential.clone(), newest: credential, former: None }
        }
        [only] => {
            let current = view.recorded(only);
            if view.is_due(&current) {
                return Credentials { newest: view.next(&current), current, former: None };
            }
            Credentials { newest: current.clone(), current, former: None }
        }
        _ => {
            let (newest, former) =
                if view.generation(Purpose::B) > view.generation(Purpose::A) { (Purpose::B, Purpose::A) } else { (Purpose::A, Purpose::B) };
            let (newest, other) = (view.recorded(newest), view.recorded(former));
            let current = if !view.is_complete(&newest) && view.is_complete(&other) { other } else { newest.clone() };
            Credentials { current, newest, former: Some(former) }
        }
    }
}

struct View<'a> {
    content: &'a Content<'a>,
    service: &'a Service<'a>,
    facts: &'a DatabaseFacts,
    key: &'a MasterKey,
}

impl View<'_> {
    fn role(&self, purpose: Purpose) -> String {
        self.content.identity.role(self.service.name, purpose)
    }

    fn found(&self, purpose: Purpose) -> Option<&RoleFacts> {
        self.facts.roles.get(&self.role(purpose))
    }

    fn note(&self, purpose: Purpose) -> Option<CredentialNote> {
        Comment::parse(self.found(purpose)?.comment.as_deref()?)?.credential
    }

    fn generation(&self, purpose: Purpose) -> u32 {
        self.note(purpose).map_or(0, |note| note.generation)
    }

    fn request(&self) -> u32 {
        self.content.rotation.map_or(0, |rotation| rotation.generation)
    }

    fn credential(&self, purpose: Purpose, generation: u32, request: u32, since: i64) -> Credential {
        let fingerprint = self.key.fingerprint(&self.content.identity, self.service.name, purpose.suffix(), generation);
        Credential { purpose, note: CredentialNote { fingerprint, generation, request, since } }
    }

    /// The login as its comment says; as the first one when there is none.
    fn recorded(&self, purpose: Purpose) -> Credential {
        match self.note(purpose) {
            Some(note) => self.credential(purpose, note.generation, note.request, note.since),
            None => self.credential(purpose, 1, self.request(), self.facts.now),
        }
    }

    fn is_due(&self, current: &Credential) -> bool {
        let every = self.content.rotation.and_then(|rotation| rotation.every_seconds());
        let grown_old = every.is_some_and(|every| self.facts.now.saturating_sub(current.note.since) >= every);
        self.request() > current.note.request || grown_old
    }

    fn next(&self, current: &Credential) -> Credential {
        let purpose = if current.purpose == Purpose::A { Purpose::B } else { Purpose::A };
        let generation = current.note.generation.max(self.generation(purpose)).saturating_add(1);
        self.credential(purpose, generation, self.request().max(current.note.request), self.facts.now)
    }

    /// Whether PostgreSQL has the login with its password and all its rights.
    fn is_complete(&self, credential: &Credential) -> bool {
        let (role, schema) = (self.role(credential.purpose), schema(self.service.name));
        let path = |role: &RoleFacts| super::database::has_setting(role, "search_path", &schema);
        self.note(credential.purpose).as_ref() == Some(&credential.note)
            && self.facts.connectors.contains(&role)
            && self.found(credential.purpose).is_some_and(|role| role.login && path(role))
            && self.facts.schemas.get(&schema).is_some_and(|schema| schema.grantees.contains(&role))
    }
}

/// Whether all pods of the service were started with that password, those that are ending included.
pub(crate) fn is_rolled_out(service: &Service<'_>, credential: &Credential, live: &Live<'_>) -> bool {
    let roles = &service.released.roles;
    let deployed = [roles.api.as_ref().map(|_| Role::Api), roles.worker.as_ref().map(|_| Role::Worker)];
    let fingerprint = Some(credential.note.fingerprint.as_str());
    deployed.into_iter().flatten().all(|role| {
        let finished = live.get("Deployment", &deployment::name(service.name, role)).is_some_and(|deployment| {
            deployment.data["spec"]["template"]["metadata"]["annotations"][CREDENTIAL_ANNOTATION].as_str() == fingerprint
                && health::unfinished(deployment, autoscaler::is_autoscaled(&deployment.metadata).then_some(0)).is_none()
        });
        let mut pods = live.pods_of(service.name, role.name()).filter(|pod| !has_ended(pod));
        finished && pods.all(|pod| annotation(pod) == fingerprint)
    })
}

fn annotation(pod: &k8s_openapi::api::core::v1::Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(CREDENTIAL_ANNOTATION).map(String::as_str)
}

fn has_ended(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// What a rotation waits for.
pub(crate) fn wait(content: &Content<'_>, credentials: &BTreeMap<String, Credentials>, live: &Live<'_>) -> Option<Wait> {
    let rotating = content.with_database().find_map(|service| {
        let found = credentials.get(service.name).filter(|found| found.rotates())?;
        let doing = if found.current != found.newest {
            "is being made in PostgreSQL"
        } else if is_rolled_out(service, &found.newest, live) {
            "is in use everywhere, and the former one is being ended"
        } else {
            "is ready, and the pods move to it"
        };
        Some(format!("the database login of {}, generation {}, {doing}", service.name, found.newest.note.generation))
    });
    rotating.map(|message| Wait::new(reasons::ROTATING_CREDENTIALS, message))
}
