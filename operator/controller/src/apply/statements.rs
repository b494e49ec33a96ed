//! The SQL of each database step. Statements of one step are one transaction (the simple protocol makes them one), except
//! those of databases, which PostgreSQL does not allow in any.

use tenantry_plan::{DatabaseStep, Verifier};

use crate::postgres::{Identifier, Literal, list};

/// PostgreSQL's major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u32);

pub const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('tenantry ' || $1, 0))::text";

/// Ends the session that holds a slot's lock, if it is of this login: two operators never share one, unless the other is a
/// former leader that was stopped in the middle of its work.
pub const END_HOLDER: &str = "
SELECT count(pg_terminate_backend(l.pid))::text FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.usename = current_user AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('tenantry ' || $1, 0)";

pub const ROLE_COMMENT: &str = "
SELECT coalesce(json_agg(shobj_description(oid, 'pg_authid')), '[]')::text FROM pg_roles WHERE rolname = $1";

pub const DATABASE_STATE: &str = "
SELECT coalesce(json_agg(json_build_object(
  'comment', shobj_description(oid, 'pg_database'),
  'open', datallowconn,
  'mine', pg_get_userbyid(datdba) = current_user,
  'connection_limit', datconnlimit)), '[]')::text
FROM pg_database WHERE datname = $1";

pub const IS_OPEN_TO_PUBLIC: &str = "
SELECT (has_database_privilege('public', 'postgres', 'CONNECT') OR has_database_privilege('public', 'template1', 'CONNECT'))::text";

/// Ends the sessions in a database and counts those that were still there. A superuser's cannot be ended, and autovacuum gives
/// way to `DROP DATABASE` by itself.
pub const END_SESSIONS_IN: &str = "
SELECT count(pg_terminate_backend(a.pid))::text FROM pg_stat_activity a
WHERE a.datname = $1 AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid AND r.rolsuper)";

/// The step's name, for logs and metrics.
pub fn name(step: &DatabaseStep) -> &'static str {
    match step {
        DatabaseStep::AdoptServer => "adopt server",
        DatabaseStep::CreateOwner { .. } => "create owner",
        DatabaseStep::EnsureLogin { .. } => "ensure login",
        DatabaseStep::ActAsOwner { .. } => "act as owner",
        DatabaseStep::CreateDatabase { .. } => "create database",
        DatabaseStep::OpenDatabase { .. } => "open database",
        DatabaseStep::CreateSchema { .. } => "create schema",
        DatabaseStep::GrantRuntime { .. } => "grant runtime",
        DatabaseStep::RetireLogin { .. } => "retire login",
        DatabaseStep::DropDatabase { .. } => "drop database",
        DatabaseStep::AdoptDatabase { .. } => "adopt database",
        DatabaseStep::RetireService { .. } => "retire service",
        DatabaseStep::DropService { .. } => "drop service",
        DatabaseStep::RetainDatabase { .. } => "retain database",
        DatabaseStep::DropRole { .. } => "drop role",
    }
}

/// Without the right to it PostgreSQL only warns: whoever calls looks at what came of it.
pub fn adopt_server() -> String {
    "GRANT CONNECT ON DATABASE postgres TO CURRENT_USER; \
     REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; \
     REVOKE CONNECT ON DATABASE template1 FROM PUBLIC"
        .to_owned()
}

/// The admin login becomes a member, so that it can make the owner's schema and set its default privileges.
pub fn create_owner(role: &Identifier, comment: &str, exists: bool, version: Version) -> String {
    let create = if exists { String::new() } else { format!("CREATE ROLE {role} NOLOGIN; ") };
    format!("{create}COMMENT ON ROLE {role} IS {}; {}", Literal(comment), join_role(role, version))
}

pub fn ensure_login(role: &Identifier, verifier: &Verifier, limit: u32, comment: &str, exists: bool) -> String {
    let verb = if exists { "ALTER" } else { "CREATE" };
    format!(
        "{verb} ROLE {role} LOGIN PASSWORD {} CONNECTION LIMIT {limit}; COMMENT ON ROLE {role} IS {}",
        Literal(verifier.reveal()),
        Literal(comment)
    )
}

pub fn act_as_owner(login: &Identifier, owner: &Identifier, database: &Identifier) -> String {
    format!("GRANT {owner} TO {login}; ALTER ROLE {login} IN DATABASE {database} SET role = {}", Literal(owner.as_str()))
}

pub fn open_database(database: &Identifier, limit: u32, logins: &[Identifier]) -> String {
    let grant = if logins.is_empty() { String::new() } else { format!("GRANT CONNECT ON DATABASE {database} TO {}; ", list(logins)) };
    format!(
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC; {grant}\
         ALTER DATABASE {database} CONNECTION LIMIT {limit}; ALTER DATABASE {database} ALLOW_CONNECTIONS true"
    )
}

pub fn create_schema(database: &Identifier, schema: &Identifier, owner: &Identifier, logins: &[Identifier]) -> String {
    let paths: String =
        logins.iter().map(|login| format!("; ALTER ROLE {login} IN DATABASE {database} SET search_path = {schema}")).collect();
    format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}; REVOKE ALL ON SCHEMA public FROM PUBLIC{paths}")
}

/// Rights on data, not on structure; on what is there and on what the owner will make.
pub fn grant_runtime(schema: &Identifier, owner: &Identifier, logins: &[Identifier]) -> String {
    let logins = list(logins);
    format!(
        "GRANT USAGE ON SCHEMA {schema} TO {logins}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {logins}; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {logins}; \
         ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {logins}; \
         ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {logins}"
    )
}

/// All or nothing: PostgreSQL renames databases within a transaction.
pub fn adopt_database(
    source: &Identifier,
    name: &Identifier,
    comment: &str,
    limit: u32,
    roles: &[(Identifier, Identifier, &str)],
) -> String {
    let rename = |kind: &str, source: &Identifier, name: &Identifier| {
        if source == name { String::new() } else { format!("ALTER {kind} {source} RENAME TO {name}; ") }
    };
    let roles: String = roles
        .iter()
        .map(|(source, name, comment)| format!("{}COMMENT ON ROLE {name} IS {}; ", rename("ROLE", source, name), Literal(comment)))
        .collect();
    format!(
        "{}{roles}ALTER DATABASE {name} CONNECTION LIMIT {limit}; COMMENT ON DATABASE {name} IS {}",
        rename("DATABASE", source, name),
        Literal(comment)
    )
}

/// Ends the sessions of a role and counts those that were still there.
pub const END_SESSIONS_OF: &str = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE usename = $1";

pub fn disable(logins: &[Identifier]) -> String {
    logins.iter().map(|login| format!("ALTER ROLE {login} NOLOGIN PASSWORD NULL; ")).collect::<String>() + "SELECT 1"
}

pub fn drop_service(schema: &Identifier, roles: &[Identifier], version: Version) -> String {
    let drops: String =
        roles.iter().map(|role| format!("; {}; DROP OWNED BY {role}; DROP ROLE {role}", join_role(role, version))).collect();
    format!("DROP SCHEMA IF EXISTS {schema} CASCADE{drops}")
}

/// What a retained database and its roles lose: every connection but a superuser's, who saves it.
pub fn close_for_good(database: &Identifier, logins: &[Identifier]) -> String {
    let logins: String = logins.iter().map(|login| format!("; ALTER ROLE {login} NOLOGIN PASSWORD NULL")).collect();
    format!("ALTER DATABASE {database} CONNECTION LIMIT 0{logins}")
}

/// From 16 on a role's creator has ADMIN on it, and not its rights, until it grants itself these.
fn join_role(role: &Identifier, version: Version) -> String {
    let options = if version.0 >= 16 { " WITH INHERIT TRUE, SET TRUE" } else { "" };
    format!("GRANT {role} TO CURRENT_USER{options}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_is_granted_as_the_version_wants_it() {
        let role = Identifier::parse("tabc_x_owner").unwrap();
        assert_eq!(join_role(&role, Version(15)), "GRANT \"tabc_x_owner\" TO CURRENT_USER");
        assert!(join_role(&role, Version(17)).ends_with("WITH INHERIT TRUE, SET TRUE"));
    }
}
