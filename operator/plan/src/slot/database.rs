//! What is missing in PostgreSQL: database, roles, schemas and rights of the slot. An unmarked or foreign database or role
//! of a name that is needed is never touched.

use std::collections::BTreeMap;

use super::content::{Content, MIGRATION_CONNECTIONS, Service};
use super::credentials::{Credentials, is_rolled_out};
use crate::live::Live;
use crate::names::{Comment, CredentialNote, Purpose, schema};
use crate::{DatabaseFacts, DatabaseStep, MasterKey, RoleFacts, Stall, Step, reasons};
use tenantry_crds::PostgresServer;

/// Why nothing may be done on the server.
pub(crate) fn obstacle(content: &Content<'_>, server: &PostgresServer, facts: &DatabaseFacts) -> Option<Stall> {
    foreign(content, server, facts).or_else(|| full(content, server, facts))
}

/// A database without a comment that never accepted a connection is one that the operator was about to mark: nobody can
/// have put anything into it.
fn unfinished(facts: &DatabaseFacts) -> bool {
    facts.comment == Some(None) && !facts.open
}

fn foreign(content: &Content<'_>, server: &PostgresServer, facts: &DatabaseFacts) -> Option<Stall> {
    let identity = &content.identity;
    let database = facts.comment.as_ref().filter(|comment| !identity.owns(comment.as_deref()) && !unfinished(facts));
    let server = &server.name;
    if database.is_some_and(|comment| identity.has_retained(comment.as_deref())) {
        let message = format!(
            "the server {server} has the database {} that this slot left behind when it was removed (deletionPolicy: Retain), and it is left alone; \
             to have its data again, write adoptDatabase: {{ server: {server}, name: {} }} for the slot; for a fresh one, drop or rename it",
            identity.database(),
            identity.database()
        );
        return Some(Stall::new(reasons::DATABASE_RETAINED, message));
    }
    if database.is_some() {
        let message = format!(
            "the server {server} has a database {} whose comment does not say that it is this slot's, and it is left alone; \
             rename or drop it, or give it the comment '{}'",
            identity.database(),
            identity.comment()
        );
        return Some(Stall::new(reasons::DATABASE_NOT_OURS, message));
    }
    let (role, _) = facts.roles.iter().find(|(_, role)| !identity.owns(role.comment.as_deref()))?;
    let message = format!(
        "the server {server} has a role {role} whose comment does not say that it is this slot's, and it is left alone; rename or drop it"
    );
    Some(Stall::new(reasons::DATABASE_NOT_OURS, message))
}

fn full(content: &Content<'_>, server: &PostgresServer, facts: &DatabaseFacts) -> Option<Stall> {
    let wanted = content.connections();
    let held = if facts.comment.is_some() { u32::try_from(facts.connection_limit).unwrap_or(0) } else { 0 };
    let limit = server.connection_limit;
    (wanted > held && facts.promised_connections.saturating_add(wanted) > limit).then(|| {
        let message = format!(
            "this slot needs {wanted} connections, and of the {limit} of the server {} {} are promised to other slots; \
             raise connectionLimit in the class (and max_connections of the server), or take a smaller size",
            server.name, facts.promised_connections
        );
        Stall::new(reasons::POSTGRES_SERVER_FULL, message)
    })
}

/// From what the steps follow.
pub(crate) struct DatabasePlan<'a> {
    /// What the slot is to run.
    pub(crate) content: &'a Content<'a>,
    /// What the server says.
    pub(crate) facts: &'a DatabaseFacts,
    /// For passwords.
    pub(crate) key: &'a MasterKey,
    /// The logins, by service.
    pub(crate) credentials: &'a BTreeMap<String, Credentials>,
}

impl DatabasePlan<'_> {
    /// The waves of steps that are missing on the server.
    pub(crate) fn waves(&self) -> Vec<Vec<Step>> {
        // The database before its roles: whether the server has room for it is certain only then.
        let waves = [self.adoption(), self.creation(), self.roles(), self.acting(), self.opening(), self.schemas(), self.grants()];
        waves.into_iter().map(|steps| steps.into_iter().map(Step::Database).collect()).collect()
    }

    /// The end of former logins that no pod uses any more.
    pub(crate) fn retirement(&self, live: &Live<'_>) -> Vec<Step> {
        let retired = self.services().filter_map(|(service, found)| {
            let former = found.former.filter(|_| found.current == found.newest && is_rolled_out(service, &found.current, live))?;
            Some(Step::Database(DatabaseStep::RetireLogin { role: self.role(service, former) }))
        });
        retired.collect()
    }

    fn services(&self) -> impl Iterator<Item = (&Service<'_>, &Credentials)> {
        self.content.with_database().filter_map(|service| Some((service, self.credentials.get(service.name)?)))
    }

    fn database(&self) -> String {
        self.content.identity.database()
    }

    fn role(&self, service: &Service<'_>, purpose: Purpose) -> String {
        self.content.identity.role(service.name, purpose)
    }

    fn found(&self, role: &str) -> Option<&RoleFacts> {
        self.facts.roles.get(role)
    }

    fn adoption(&self) -> Vec<DatabaseStep> {
        if self.facts.adopted { vec![] } else { vec![DatabaseStep::AdoptServer] }
    }

    fn roles(&self) -> Vec<DatabaseStep> {
        let services = self.services();
        services
            .flat_map(|(service, found)| {
                let runtime = self.content.runtime_connections(service);
                let migration = found.migration(self.content, service, self.key);
                [
                    self.owner(service),
                    self.login(service, Purpose::Migrate, &migration, MIGRATION_CONNECTIONS),
                    self.login(service, found.newest.purpose, &found.newest.note, runtime),
                ]
            })
            .flatten()
            .collect()
    }

    fn owner(&self, service: &Service<'_>) -> Option<DatabaseStep> {
        let role = self.role(service, Purpose::Owner);
        let comment = self.content.identity.role_comment(service.name, None).to_string();
        let right = self.found(&role).is_some_and(|found| !found.login && found.comment.as_deref() == Some(&comment));
        (!right).then_some(DatabaseStep::CreateOwner { role, comment })
    }

    fn login(&self, service: &Service<'_>, purpose: Purpose, note: &CredentialNote, connection_limit: u32) -> Option<DatabaseStep> {
        let identity = &self.content.identity;
        let role = self.role(service, purpose);
        let right = self.found(&role).is_some_and(|found| {
            let known = found.comment.as_deref().and_then(Comment::parse).and_then(|comment| comment.credential);
            // When a migration's login was made nobody asks.
            let same = known.is_some_and(|known| known.fingerprint == note.fingerprint && known.generation == note.generation);
            found.login && same && found.connection_limit == i64::from(connection_limit)
        });
        (!right).then(|| DatabaseStep::EnsureLogin {
            role,
            verifier: self.key.verifier(identity, service.name, purpose.suffix(), note.generation),
            connection_limit,
            comment: identity.role_comment(service.name, Some(note.clone())).to_string(),
        })
    }

    fn creation(&self) -> Vec<DatabaseStep> {
        let found = self.facts.comment.as_ref().and_then(|comment| Comment::parse(comment.as_deref()?));
        if found.is_some_and(|found| found.holder.as_deref() == Some(self.content.holder)) {
            return vec![];
        }
        vec![DatabaseStep::CreateDatabase {
            name: self.database(),
            comment: self.content.identity.held_comment(self.content.holder).to_string(),
            connection_limit: self.content.connections(),
            budget: self.budget(),
        }]
    }

    fn acting(&self) -> Vec<DatabaseStep> {
        let services = self.content.with_database();
        services
            .filter_map(|service| {
                let owner = self.role(service, Purpose::Owner);
                let login = self.role(service, Purpose::Migrate);
                let right = self.found(&login).is_some_and(|found| found.member_of.contains(&owner) && has_setting(found, "role", &owner));
                (!right).then(|| DatabaseStep::ActAsOwner { login, owner, database: self.database() })
            })
            .collect()
    }

    fn opening(&self) -> Vec<DatabaseStep> {
        let logins: Vec<String> = self.services().flat_map(|(service, found)| self.logins(service, found)).collect();
        let connection_limit = self.content.connections();
        let right = self.facts.open
            && !self.facts.public_may_connect
            && self.facts.connection_limit == i64::from(connection_limit)
            && logins.iter().all(|login| self.facts.connectors.contains(login));
        if right {
            return vec![];
        }
        vec![DatabaseStep::OpenDatabase { name: self.database(), connection_limit, budget: self.budget(), logins }]
    }

    /// What the server may promise in all.
    fn budget(&self) -> u32 {
        self.content.placement.server().map_or(0, |server| server.connection_limit)
    }

    fn schemas(&self) -> Vec<DatabaseStep> {
        let services = self.services();
        services
            .filter_map(|(service, found)| {
                let (schema, owner, logins) = (schema(service.name), self.role(service, Purpose::Owner), self.logins(service, found));
                let made = self.facts.schemas.get(&schema).is_some_and(|found| found.owner == owner);
                let path = |login: &String| self.found(login).is_some_and(|found| has_setting(found, "search_path", &schema));
                let right = made && logins.iter().all(path);
                (!right).then(|| DatabaseStep::CreateSchema { database: self.database(), schema, owner, logins: logins.to_vec() })
            })
            .collect()
    }

    fn grants(&self) -> Vec<DatabaseStep> {
        let services = self.services();
        services
            .filter_map(|(service, found)| {
                let (schema, login) = (schema(service.name), self.role(service, found.newest.purpose));
                let right = self.facts.schemas.get(&schema).is_some_and(|found| found.grantees.contains(&login));
                (!right).then(|| DatabaseStep::GrantRuntime {
                    database: self.database(),
                    schema,
                    owner: self.role(service, Purpose::Owner),
                    logins: vec![login],
                })
            })
            .collect()
    }

    fn logins(&self, service: &Service<'_>, found: &Credentials) -> [String; 2] {
        [self.role(service, Purpose::Migrate), self.role(service, found.newest.purpose)]
    }
}

/// Whether a role has that setting. PostgreSQL quotes identifiers in some settings where they need it.
pub(crate) fn has_setting(role: &RoleFacts, name: &str, value: &str) -> bool {
    let pairs = role.settings.iter().filter_map(|setting| setting.split_once('='));
    pairs.into_iter().any(|(found, text)| found == name && text.trim_matches('"') == value)
}
