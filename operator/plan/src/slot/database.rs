//! What is missing in PostgreSQL: database, roles, schemas and rights of the slot. An unmarked or foreign database or role
//! of a name that is needed is never touched.

use super::content::{Content, MIGRATION_CONNECTIONS, Service};
use crate::names::{Purpose, schema};
use crate::objects::secret::GENERATION;
use crate::{DatabaseFacts, DatabaseStep, MasterKey, RoleFacts, Stall, Step, reasons};

/// Why nothing may be done on the server.
pub(crate) fn obstacle(content: &Content<'_>, facts: &DatabaseFacts) -> Option<Stall> {
    foreign(content, facts).or_else(|| full(content, facts))
}

/// The waves of steps that are missing on the server.
pub(crate) fn waves(content: &Content<'_>, facts: &DatabaseFacts, key: &MasterKey) -> Vec<Vec<Step>> {
    let plan = DatabasePlan { content, facts, key, database: content.identity.database() };
    let waves = [plan.adoption(), plan.roles(), plan.creation(), plan.acting(), plan.opening(), plan.schemas(), plan.grants()];
    waves.into_iter().map(|steps| steps.into_iter().map(Step::Database).collect()).collect()
}

/// A database without a comment that never accepted a connection is one that the operator was about to mark: nobody can
/// have put anything into it.
fn unfinished(facts: &DatabaseFacts) -> bool {
    facts.comment == Some(None) && !facts.open
}

fn foreign(content: &Content<'_>, facts: &DatabaseFacts) -> Option<Stall> {
    let identity = &content.identity;
    let database = facts.comment.as_ref().filter(|comment| !identity.owns(comment.as_deref()) && !unfinished(facts));
    let server = &content.server.name;
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

fn full(content: &Content<'_>, facts: &DatabaseFacts) -> Option<Stall> {
    let wanted = content.connections();
    let held = if facts.comment.is_some() { u32::try_from(facts.connection_limit).unwrap_or(0) } else { 0 };
    let limit = content.server.connection_limit;
    (wanted > held && facts.promised_connections.saturating_add(wanted) > limit).then(|| {
        let message = format!(
            "this slot needs {wanted} connections, and of the {limit} of the server {} {} are promised to other slots; \
             raise connectionLimit in the class (and max_connections of the server), or take a smaller size",
            content.server.name, facts.promised_connections
        );
        Stall::new(reasons::POSTGRES_SERVER_FULL, message)
    })
}

struct DatabasePlan<'a> {
    content: &'a Content<'a>,
    facts: &'a DatabaseFacts,
    key: &'a MasterKey,
    database: String,
}

impl DatabasePlan<'_> {
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
        let services = self.content.with_database();
        services
            .flat_map(|service| {
                let runtime = self.content.runtime_connections(service);
                [
                    self.owner(service),
                    self.login(service, Purpose::Migrate, MIGRATION_CONNECTIONS),
                    self.login(service, Purpose::A, runtime),
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

    fn login(&self, service: &Service<'_>, purpose: Purpose, connection_limit: u32) -> Option<DatabaseStep> {
        let identity = &self.content.identity;
        let role = self.role(service, purpose);
        let fingerprint = self.key.fingerprint(identity, service.name, purpose.suffix(), GENERATION);
        let comment = identity.role_comment(service.name, Some(fingerprint)).to_string();
        let right = self.found(&role).is_some_and(|found| {
            found.login && found.comment.as_deref() == Some(&comment) && found.connection_limit == i64::from(connection_limit)
        });
        (!right).then(|| DatabaseStep::EnsureLogin {
            role,
            verifier: self.key.verifier(identity, service.name, purpose.suffix(), GENERATION),
            connection_limit,
            comment,
        })
    }

    fn creation(&self) -> Vec<DatabaseStep> {
        if self.facts.comment.is_some() && !unfinished(self.facts) {
            return vec![];
        }
        vec![DatabaseStep::CreateDatabase {
            name: self.database.clone(),
            comment: self.content.identity.comment().to_string(),
            connection_limit: self.content.connections(),
        }]
    }

    fn acting(&self) -> Vec<DatabaseStep> {
        let services = self.content.with_database();
        services
            .filter_map(|service| {
                let owner = self.role(service, Purpose::Owner);
                let login = self.role(service, Purpose::Migrate);
                let right = self.found(&login).is_some_and(|found| found.member_of.contains(&owner) && has_setting(found, "role", &owner));
                (!right).then(|| DatabaseStep::ActAsOwner { login, owner, database: self.database.clone() })
            })
            .collect()
    }

    fn opening(&self) -> Vec<DatabaseStep> {
        let logins: Vec<String> = self.content.with_database().flat_map(|service| self.logins(service)).collect();
        let connection_limit = self.content.connections();
        let right = self.facts.open
            && !self.facts.public_may_connect
            && self.facts.connection_limit == i64::from(connection_limit)
            && logins.iter().all(|login| self.facts.connectors.contains(login));
        if right {
            return vec![];
        }
        vec![DatabaseStep::OpenDatabase { name: self.database.clone(), connection_limit, logins }]
    }

    fn schemas(&self) -> Vec<DatabaseStep> {
        let services = self.content.with_database();
        services
            .filter_map(|service| {
                let (schema, owner, logins) = (schema(service.name), self.role(service, Purpose::Owner), self.logins(service));
                let made = self.facts.schemas.get(&schema).is_some_and(|found| found.owner == owner);
                let path = |login: &String| self.found(login).is_some_and(|found| has_setting(found, "search_path", &schema));
                let right = made && logins.iter().all(path);
                (!right).then(|| DatabaseStep::CreateSchema { database: self.database.clone(), schema, owner, logins: logins.to_vec() })
            })
            .collect()
    }

    fn grants(&self) -> Vec<DatabaseStep> {
        let services = self.content.with_database();
        services
            .filter_map(|service| {
                let (schema, login) = (schema(service.name), self.role(service, Purpose::A));
                let right = self.facts.schemas.get(&schema).is_some_and(|found| found.grantees.contains(&login));
                (!right).then(|| DatabaseStep::GrantRuntime {
                    database: self.database.clone(),
                    schema,
                    owner: self.role(service, Purpose::Owner),
                    logins: vec![login],
                })
            })
            .collect()
    }

    fn logins(&self, service: &Service<'_>) -> [String; 2] {
        [self.role(service, Purpose::Migrate), self.role(service, Purpose::A)]
    }
}

/// Whether a role has that setting. PostgreSQL quotes identifiers in some settings where they need it.
fn has_setting(role: &RoleFacts, name: &str, value: &str) -> bool {
    let pairs = role.settings.iter().filter_map(|setting| setting.split_once('='));
    pairs.into_iter().any(|(found, text)| found == name && text.trim_matches('"') == value)
}
