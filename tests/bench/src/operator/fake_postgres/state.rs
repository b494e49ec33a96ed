//! What the operator's statements make, and what its questions are answered from. It knows the statements that the operator
//! has, by how they begin, and says so about any other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// A server's content.
#[derive(Debug, Default)]
pub struct State {
    pub full: bool,
    databases: BTreeMap<String, Database>,
    roles: BTreeMap<String, Role>,
}

#[derive(Debug, Default)]
struct Database {
    comment: Option<String>,
    open: bool,
    limit: i64,
    public: bool,
    connectors: BTreeSet<String>,
    schemas: BTreeMap<String, Schema>,
}

#[derive(Debug, Default)]
struct Schema {
    owner: String,
    grantees: BTreeSet<String>,
    version: Option<u32>,
}

#[derive(Debug, Default)]
struct Role {
    comment: Option<String>,
    login: bool,
    limit: i64,
    member_of: BTreeSet<String>,
    settings: BTreeMap<(String, String), String>,
}

impl State {
    /// Records a version in every schema of a slot's database.
    pub fn migrate(&mut self, group_uid: &str, slot: &str, version: u32) {
        let is_slots =
            |comment: &str| comment.contains(group_uid) && comment.split_whitespace().any(|word| word.strip_prefix("slot=") == Some(slot));
        let databases = self.databases.values_mut().filter(|database| database.comment.as_deref().is_some_and(is_slots));
        databases.flat_map(|database| database.schemas.values_mut()).for_each(|schema| schema.version = Some(version));
    }

    /// Answers a question with its one text.
    pub fn query(&mut self, database: &str, query: &str, parameters: &[String]) -> Result<String, String> {
        let first = parameters.first().map(String::as_str).unwrap_or_default();
        let answer = if query.contains("'promised', (") {
            self.share(first)
        } else if query.contains("'public_may_connect'") {
            self.server(first, parameters.get(1).map(String::as_str).unwrap_or_default())
        } else if query.contains("WHERE d.datname = $1 AND (starts_with(") {
            json!(self.databases.get(first).is_some_and(|database| database.comment.is_some()))
        } else if query.contains("FROM pg_namespace n") {
            self.schemas(database)
        } else if query.contains("SELECT max(version") {
            self.versions(database, query)
        } else if query.contains("retained=%") {
            json!({})
        } else if query.contains("pg_try_advisory_lock") {
            json!(true)
        } else if query.contains("FROM pg_roles WHERE rolname = $1") {
            json!(self.roles.get(first).map(|role| &role.comment).into_iter().collect::<Vec<_>>())
        } else if query.contains("'mine'") {
            json!(self.databases.get(first).map(described).into_iter().collect::<Vec<_>>())
        } else if query.contains("pg_terminate_backend") {
            json!(0)
        } else if query.contains("has_database_privilege('public', 'postgres', 'CONNECT') OR") {
            json!(false)
        } else {
            return Err(format!("the fake PostgreSQL of the bench does not know this question: {query}"));
        };
        Ok(answer.to_string())
    }

    /// What is promised to all databases but that one.
    fn share(&self, name: &str) -> Value {
        let others = self.databases.iter().filter(|(other, database)| *other != name && database.limit > 0);
        let promised: i64 = if self.full { 1_000_000 } else { others.map(|(_, database)| database.limit).sum() };
        let own = self.databases.get(name).map_or(0, |database| database.limit);
        json!({ "adopted": true, "promised": promised, "own": own })
    }

    fn server(&self, name: &str, prefix: &str) -> Value {
        let roles = self.roles.range(prefix.to_owned()..).take_while(|(role, _)| role.starts_with(prefix)).map(|(role, found)| {
            let settings = found.settings.iter().filter(|((database, _), _)| database == name);
            let settings: Vec<String> = settings.map(|((_, key), value)| format!("{key}={value}")).collect();
            let described = json!({
                "comment": found.comment,
                "login": found.login,
                "connection_limit": found.limit,
                "member_of": found.member_of,
                "settings": settings,
            });
            (role.clone(), described)
        });
        json!({
            "now": 0,
            "database": self.databases.get(name).map(described),
            "roles": roles.collect::<serde_json::Map<_, _>>(),
            "source": null,
        })
    }

    fn schemas(&self, database: &str) -> Value {
        let schemas = self.databases.get(database).into_iter().flat_map(|database| &database.schemas);
        let described = schemas.map(|(name, schema)| {
            let value = json!({ "owner": schema.owner, "grantees": schema.grantees, "has_version": schema.version.is_some() });
            (name.clone(), value)
        });
        Value::Object(described.collect())
    }

    /// `SELECT json_build_object('schema', (SELECT max(version ...), ...)`.
    fn versions(&self, database: &str, query: &str) -> Value {
        let schemas = self.databases.get(database).into_iter().flat_map(|database| &database.schemas);
        let asked = schemas.filter(|(name, _)| query.contains(&format!("'{name}'")));
        Value::Object(asked.map(|(name, schema)| (name.clone(), json!(schema.version))).collect())
    }

    /// Executes statements.
    pub fn execute(&mut self, database: &str, statements: &str) -> Result<(), String> {
        statements.split("; ").map(str::trim).filter(|statement| !statement.is_empty()).try_for_each(|one| self.statement(database, one))
    }

    fn statement(&mut self, current: &str, statement: &str) -> Result<(), String> {
        let words: Vec<String> =
            statement.split_whitespace().map(|word| word.trim_matches(|c| matches!(c, '"' | ',' | ';')).to_owned()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let number = || words.last().and_then(|word| word.parse::<i64>().ok()).unwrap_or(-1);
        match words.as_slice() {
            ["BEGIN" | "COMMIT" | "ROLLBACK" | "SELECT" | "SET", ..] => {}
            ["CREATE" | "ALTER", "ROLE", role, "IN", "DATABASE", database, "SET", key, "=", value] => {
                let value = value.trim_matches('\'').to_owned();
                self.role(role).settings.insert(((*database).to_owned(), (*key).to_owned()), value);
            }
            ["CREATE" | "ALTER", "ROLE", role, rest @ ..] => {
                let limit = rest.iter().position(|word| *word == "LIMIT").and_then(|at| rest.get(at + 1)?.parse().ok());
                let found = self.role(role);
                found.login = !rest.contains(&"NOLOGIN");
                found.limit = limit.unwrap_or(-1);
            }
            ["COMMENT", "ON", "ROLE", role, "IS", ..] => self.role(role).comment = literal(statement),
            ["COMMENT", "ON", "DATABASE", database, "IS", ..] => self.database(database).comment = literal(statement),
            ["CREATE", "DATABASE", database, ..] => {
                *self.database(database) = Database { public: true, limit: number(), ..Database::default() };
            }
            ["ALTER", "DATABASE", database, "CONNECTION", "LIMIT", _] => self.database(database).limit = number(),
            ["ALTER", "DATABASE", database, "ALLOW_CONNECTIONS", open] => self.database(database).open = *open == "true",
            ["REVOKE", "ALL", "ON", "DATABASE", database, "FROM", "PUBLIC"] => self.database(database).public = false,
            ["GRANT", "CONNECT", "ON", "DATABASE", database, "TO", logins @ ..] => {
                self.database(database).connectors.extend(logins.iter().map(|login| (*login).to_owned()));
            }
            ["GRANT", "USAGE", "ON", "SCHEMA", schema, "TO", logins @ ..] => {
                self.schema(current, schema).grantees.extend(logins.iter().map(|login| (*login).to_owned()));
            }
            ["CREATE", "SCHEMA", "IF", "NOT", "EXISTS", schema, "AUTHORIZATION", owner] => {
                self.schema(current, schema).owner = (*owner).to_owned();
            }
            ["GRANT", owner, "TO", member, ..] => {
                self.role(member).member_of.insert((*owner).to_owned());
            }
            ["DROP", "DATABASE", database, ..] => {
                self.databases.remove(*database);
            }
            ["DROP", "ROLE", role] => {
                self.roles.remove(*role);
            }
            ["GRANT" | "REVOKE", ..] | ["ALTER", "DEFAULT", "PRIVILEGES", ..] => {}
            _ => return Err(format!("the fake PostgreSQL of the bench does not know this statement: {statement}")),
        }
        Ok(())
    }

    fn role(&mut self, name: &str) -> &mut Role {
        self.roles.entry(name.to_owned()).or_default()
    }

    fn database(&mut self, name: &str) -> &mut Database {
        self.databases.entry(name.to_owned()).or_default()
    }

    fn schema(&mut self, database: &str, name: &str) -> &mut Schema {
        self.database(database).schemas.entry(name.to_owned()).or_default()
    }
}

fn described(database: &Database) -> Value {
    json!({
        "comment": database.comment,
        "open": database.open,
        "mine": true,
        "connection_limit": database.limit,
        "public_may_connect": database.public,
        "connectors": database.connectors,
    })
}

/// The text after `IS`.
fn literal(statement: &str) -> Option<String> {
    let (_, literal) = statement.split_once(" IS ")?;
    let inner = literal.trim().trim_start_matches('E').strip_prefix('\'')?.strip_suffix('\'')?;
    Some(inner.replace("''", "'").replace("\\\\", "\\"))
}
