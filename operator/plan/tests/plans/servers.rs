//! The model's PostgreSQL servers: what they say, and what steps do to them.

use std::collections::BTreeMap;

use tenantry_crds::Slot;
use tenantry_plan::names::Comment;
use tenantry_plan::{DatabaseFacts, DatabaseStep, Observation, SchemaFacts, ServerFacts, SlotFacts, SlotIdentity};

use crate::world::World;

impl World {
    pub fn ask_servers(&self, slot: &Slot, identity: &SlotIdentity, facts: &mut SlotFacts) {
        let recorded = tenantry_plan::recorded_server(slot, &facts.live);
        let offers = |server: &String| self.class.iter().flat_map(|class| &class.spec.postgres.servers).any(|offer| offer.name == *server);
        if let Some(server) = recorded.filter(offers) {
            facts.database = self.ask(&server, || {
                let mut found = self.database_facts(&server, slot, identity);
                found.now = self.postgres_clock;
                found.promised_connections += self.promised_by(&server, &identity.database());
                found
            });
        }
        if tenantry_plan::needs_servers(slot, facts) {
            for server in self.class.iter().flat_map(|class| &class.spec.postgres.servers) {
                let answer = self.ask(&server.name, || ServerFacts {
                    promised_connections: self.promised_by(&server.name, &identity.database()),
                    holds: self.databases_of(&server.name).is_some_and(|found| {
                        found.get(&identity.database()).is_some_and(|facts| facts.comment.is_some() || !facts.roles.is_empty())
                    }),
                });
                facts.servers.insert(server.name.clone(), answer);
            }
            if let Some(placed) = tenantry_plan::placed(slot, facts).filter(|_| slot.metadata.deletion_timestamp.is_some()) {
                facts.database = self.ask(&placed.server, || self.database_facts(&placed.server, slot, identity));
            }
        }
    }

    fn ask<T>(&self, server: &str, answer: impl FnOnce() -> T) -> Observation<T> {
        if self.postgres_is_down || self.down.contains(server) {
            return Observation::Failed { reason: "PostgresUnreachable", message: "connection refused".into() };
        }
        Observation::Known(answer())
    }

    pub fn databases_of(&self, server: &str) -> Option<&BTreeMap<String, DatabaseFacts>> {
        if server == "main" { Some(&self.databases) } else { self.elsewhere.get(server) }
    }

    /// Connections that a server has promised to anybody but that database.
    fn promised_by(&self, server: &str, database: &str) -> u32 {
        let others = self.databases_of(server).into_iter().flatten().filter(|(name, facts)| *name != database && facts.comment.is_some());
        let slots: u32 = others.map(|(_, facts)| u32::try_from(facts.connection_limit).unwrap_or(0)).sum();
        let made = |name: &String| self.databases_of(server).and_then(|found| found.get(name)).is_some_and(|facts| facts.comment.is_some());
        let coming = self.coming.iter().filter(|((at, name), _)| at == server && name != database && !made(name));
        slots + coming.map(|(_, connections)| connections).sum::<u32>() + self.promised.get(server).copied().unwrap_or(0)
    }

    pub fn database_step(&mut self, step: &DatabaseStep) {
        let database = match step {
            DatabaseStep::AdoptServer => {
                self.databases.values_mut().for_each(|database| database.adopted = true);
                return;
            }
            DatabaseStep::CreateOwner { role, .. }
            | DatabaseStep::EnsureLogin { role, .. }
            | DatabaseStep::RetireLogin { role }
            | DatabaseStep::DropRole { role } => role.split('_').next().unwrap().to_owned(),
            DatabaseStep::CreateDatabase { name, .. }
            | DatabaseStep::OpenDatabase { name, .. }
            | DatabaseStep::DropDatabase { name, .. }
            | DatabaseStep::RetainDatabase { name, .. } => name.clone(),
            DatabaseStep::AdoptDatabase { source, .. } => source.clone(),
            DatabaseStep::RetireService { owner, .. } => owner.split('_').next().unwrap().to_owned(),
            DatabaseStep::DropService { database, .. } => database.clone(),
            DatabaseStep::ActAsOwner { database, .. }
            | DatabaseStep::CreateSchema { database, .. }
            | DatabaseStep::GrantRuntime { database, .. } => database.clone(),
        };
        let databases = if self.server == "main" { &mut self.databases } else { self.elsewhere.entry(self.server.clone()).or_default() };
        let facts = databases.entry(database).or_default();
        facts.adopted = true;
        match step.clone() {
            DatabaseStep::AdoptDatabase { retained, name, comment, connection_limit, roles, .. } => {
                assert_eq!(facts.comment, Some(Some(retained)));
                let mut moved = std::mem::take(facts);
                (moved.adopted, moved.comment, moved.connection_limit) = (true, Some(Some(comment)), connection_limit.into());
                for role in roles {
                    let mut renamed = moved.roles.remove(&role.source).unwrap();
                    renamed.comment = Some(role.comment);
                    // What names a role by its text does not follow it.
                    renamed.member_of.iter_mut().for_each(|owner| *owner = owner.replace(&role.source[..17], &role.name[..17]));
                    moved.roles.insert(role.name, renamed);
                }
                moved.schemas.values_mut().for_each(|schema| {
                    for login in schema.grantees.iter_mut().chain([&mut schema.owner]) {
                        login.replace_range(..17, &name);
                    }
                });
                moved.connectors.iter_mut().for_each(|login| login.replace_range(..17, &name));
                self.databases.insert(name, moved);
            }
            DatabaseStep::CreateOwner { role, comment } => {
                let role = facts.roles.entry(role).or_default();
                (role.comment, role.login, role.connection_limit) = (Some(comment), false, -1);
            }
            DatabaseStep::EnsureLogin { role, connection_limit, comment, .. } => {
                let role = facts.roles.entry(role).or_default();
                (role.comment, role.login, role.connection_limit) = (Some(comment), true, connection_limit.into());
            }
            DatabaseStep::CreateDatabase { comment, connection_limit, .. } => {
                facts.comment = Some(Some(comment));
                facts.connection_limit = connection_limit.into();
                facts.public_may_connect = true;
            }
            DatabaseStep::ActAsOwner { login, owner, .. } => {
                assert!(facts.comment.is_some(), "settings in a database that does not exist");
                let role = facts.roles.get_mut(&login).unwrap();
                role.settings.push(format!("role={owner}"));
                role.member_of.push(owner);
            }
            DatabaseStep::OpenDatabase { connection_limit, logins, .. } => {
                (facts.open, facts.public_may_connect) = (true, false);
                facts.connection_limit = connection_limit.into();
                facts.connectors.extend(logins);
                facts.connectors.sort();
                facts.connectors.dedup();
            }
            DatabaseStep::CreateSchema { schema, owner, logins, .. } => {
                assert!(facts.open);
                facts.schemas.entry(schema.clone()).or_insert(SchemaFacts { owner, ..SchemaFacts::default() });
                logins.iter().for_each(|login| facts.roles.get_mut(login).unwrap().settings.push(format!("search_path={schema}")));
            }
            DatabaseStep::GrantRuntime { schema, logins, .. } => {
                let grantees = &mut facts.schemas.get_mut(&schema).unwrap().grantees;
                grantees.extend(logins);
                grantees.sort();
                grantees.dedup();
            }
            DatabaseStep::RetireLogin { role } => facts.roles.get_mut(&role).unwrap().login = false,
            DatabaseStep::RetireService { owner, comment, logins } => {
                logins.iter().for_each(|login| facts.roles.get_mut(login).unwrap().login = false);
                if let Some(owner) = facts.roles.get_mut(&owner) {
                    owner.comment = Some(comment);
                }
            }
            DatabaseStep::DropService { schema, owner, removed, roles, .. } => {
                let comment = facts.roles[&owner].comment.as_deref().and_then(Comment::parse).unwrap();
                assert_eq!(comment.removed, Some(removed));
                facts.schemas.remove(&schema);
                roles.iter().for_each(|role| {
                    facts.roles.remove(role);
                });
            }
            DatabaseStep::RetainDatabase { holder, comment, logins, .. } => {
                assert_eq!(holder_of(facts), holder);
                (facts.comment, facts.connection_limit) = (Some(Some(comment)), 0);
                logins.iter().for_each(|login| facts.roles.get_mut(login).unwrap().login = false);
            }
            DatabaseStep::DropDatabase { holder, .. } => {
                assert_eq!(holder_of(facts), holder);
                *facts = DatabaseFacts { adopted: true, roles: facts.roles.clone(), ..DatabaseFacts::default() };
            }
            DatabaseStep::DropRole { role } => {
                assert!(facts.comment.is_none(), "a role cannot go before what it owns");
                facts.roles.remove(&role);
            }
            DatabaseStep::AdoptServer => {}
        }
    }
}

fn holder_of(facts: &DatabaseFacts) -> Option<String> {
    Comment::parse(facts.comment.as_ref()?.as_deref()?)?.holder
}
