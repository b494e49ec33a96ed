//! The facts about a slot's part of a PostgreSQL server: two round trips, one in the maintenance database and, once the slot's
//! own is there, one in that.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tenantry_contract::paths::SCHEMA_VERSION_TABLE;
use tenantry_crds::PostgresServer;
use tenantry_plan::{DatabaseFacts, RoleFacts, SchemaFacts, SlotIdentity};

use crate::error::Failure;
use crate::postgres::{Identifier, Literal, Servers, Session};

/// How long the facts of a settled slot are believed without asking again.
const BELIEVED_FOR: Duration = Duration::from_secs(300);

const SERVER_QUERY: &str = "
SELECT json_build_object(
  'adopted', NOT has_database_privilege('public', 'postgres', 'CONNECT')
         AND NOT has_database_privilege('public', 'template1', 'CONNECT'),
  'promised_connections', (
     SELECT coalesce(sum(datconnlimit), 0) FROM pg_database
     WHERE datconnlimit > 0 AND datname <> $1 AND starts_with(shobj_description(oid, 'pg_database'), 'tenantry ')),
  'database', (
     SELECT json_build_object(
       'comment', shobj_description(d.oid, 'pg_database'),
       'open', d.datallowconn,
       'connection_limit', d.datconnlimit,
       'public_may_connect', has_database_privilege('public', d.oid, 'CONNECT'),
       'connectors', (
          SELECT coalesce(json_agg(DISTINCT r.rolname), '[]')
          FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a JOIN pg_roles r ON r.oid = a.grantee
          WHERE a.privilege_type = 'CONNECT' AND a.grantee <> d.datdba))
     FROM pg_database d WHERE d.datname = $1),
  'roles', (
     SELECT coalesce(json_object_agg(r.rolname, json_build_object(
       'comment', shobj_description(r.oid, 'pg_authid'),
       'login', r.rolcanlogin,
       'connection_limit', r.rolconnlimit,
       'member_of', (
          SELECT coalesce(json_agg(DISTINCT g.rolname), '[]')
          FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid),
       'settings', coalesce((
          SELECT to_json(s.setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
          WHERE s.setrole = r.oid AND d.datname = $1), '[]'))), '{}')
     FROM pg_roles r WHERE starts_with(r.rolname::text, $2))
)::text";

/// A view or anything else that a tenant's migration could put in the place of the version's table would run its code with
/// the admin's rights: only ordinary tables are read, in a transaction that can change nothing.
const SCHEMAS_QUERY: &str = "
SELECT coalesce(json_object_agg(n.nspname, json_build_object(
  'owner', pg_get_userbyid(n.nspowner),
  'has_version', EXISTS (
     SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = $1 AND c.relkind = 'r' AND NOT c.relrowsecurity),
  'grantees', (
     SELECT coalesce(json_agg(DISTINCT r.rolname), '[]')
     FROM aclexplode(n.nspacl) a JOIN pg_roles r ON r.oid = a.grantee
     WHERE a.privilege_type = 'USAGE' AND a.grantee <> n.nspowner AND EXISTS (
       SELECT FROM pg_default_acl d, aclexplode(d.defaclacl) p
       WHERE d.defaclrole = n.nspowner AND d.defaclnamespace = n.oid AND d.defaclobjtype = 'r' AND p.grantee = r.oid)))),
  '{}')::text
FROM pg_namespace n
WHERE NOT starts_with(n.nspname::text, 'pg_') AND n.nspname NOT IN ('information_schema', 'public')";

#[derive(Debug, Deserialize)]
struct ServerAnswer {
    adopted: bool,
    promised_connections: u32,
    database: Option<DatabaseAnswer>,
    roles: BTreeMap<String, RoleAnswer>,
}

#[derive(Debug, Deserialize)]
struct DatabaseAnswer {
    comment: Option<String>,
    open: bool,
    connection_limit: i64,
    public_may_connect: bool,
    connectors: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct RoleAnswer {
    comment: Option<String>,
    login: bool,
    connection_limit: i64,
    member_of: Vec<String>,
    settings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct SchemaAnswer {
    owner: String,
    has_version: bool,
    grantees: Vec<String>,
}

/// Asks a server about a slot.
///
/// # Errors
/// `PostgresSecretMissing`, `PostgresAuthenticationFailed`, `PostgresUnreachable`, `PostgresBusy`, `PostgresRefused`.
pub async fn database(servers: &Servers, server: &PostgresServer, identity: &SlotIdentity) -> Result<DatabaseFacts, Failure> {
    let (name, prefix) = (identity.database(), identity.role_prefix());
    let server = servers.server(server);
    let mut session = server.session(servers).await?;
    let answer: ServerAnswer =
        session.query_json("looking at roles and databases", SERVER_QUERY, &[name.as_str(), prefix.as_str()]).await?;
    let mut facts = facts_of(answer);
    // The database of somebody else is not entered.
    let ours = facts.comment.as_ref().is_some_and(|comment| identity.owns(comment.as_deref()));
    if ours && facts.open {
        let mut inside = server.session_in(servers, &name).await?;
        let schemas = schemas(&mut inside).await;
        inside.close().await;
        facts.schemas = schemas?;
    }
    Ok(facts)
}

async fn schemas(session: &mut Session) -> Result<BTreeMap<String, SchemaFacts>, Failure> {
    session.execute("beginning to read", "BEGIN READ ONLY".to_owned()).await?;
    let answers: BTreeMap<String, SchemaAnswer> = session.query_json("looking at schemas", SCHEMAS_QUERY, &[SCHEMA_VERSION_TABLE]).await?;
    let versions = versions(session, &answers).await?;
    let facts = answers.into_iter().map(|(name, answer)| {
        let version = versions.get(&name).copied().flatten();
        (name, SchemaFacts { owner: answer.owner, grantees: answer.grantees, version })
    });
    Ok(facts.collect())
}

/// The recorded versions, of all schemas in one query.
async fn versions(session: &mut Session, schemas: &BTreeMap<String, SchemaAnswer>) -> Result<BTreeMap<String, Option<u32>>, Failure> {
    let recorded = schemas.iter().filter(|(_, answer)| answer.has_version);
    // A schema that the plan would not name so is nobody's service.
    let identifiers: Vec<Identifier> = recorded.filter_map(|(name, _)| Identifier::parse(name).ok()).collect();
    if identifiers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let pairs: Vec<String> = identifiers
        .iter()
        .map(|schema| format!("{}, (SELECT max(version::bigint) FROM {schema}.\"{SCHEMA_VERSION_TABLE}\")", Literal(schema.as_str())))
        .collect();
    let query = format!("SELECT json_build_object({})::text", pairs.join(", "));
    session.query_json("reading schema versions", &query, &[]).await
}

fn facts_of(answer: ServerAnswer) -> DatabaseFacts {
    let roles = answer.roles.into_iter().map(|(name, role)| {
        let RoleAnswer { comment, login, connection_limit, member_of, settings } = role;
        (name, RoleFacts { comment, login, connection_limit, member_of, settings })
    });
    let facts = DatabaseFacts {
        adopted: answer.adopted,
        promised_connections: answer.promised_connections,
        roles: roles.collect(),
        ..DatabaseFacts::default()
    };
    match answer.database {
        None => facts,
        Some(database) => DatabaseFacts {
            comment: Some(database.comment),
            open: database.open,
            connection_limit: database.connection_limit,
            connectors: database.connectors,
            public_may_connect: database.public_may_connect,
            ..facts
        },
    }
}

/// The facts of settled slots, so that an event of a pod or a Secret's minute does not cost the server a query.
#[derive(Debug, Default)]
pub struct DatabaseFactsCache {
    known: Mutex<HashMap<String, (Instant, String, DatabaseFacts)>>,
}

impl DatabaseFactsCache {
    /// What is believed of the slot of that UID, as long as it is planned from the same `inputs`.
    pub fn get(&self, uid: &str, inputs: &str) -> Option<DatabaseFacts> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, of, facts) = known.get(uid)?;
        if since.elapsed() < BELIEVED_FOR && of == inputs {
            return Some(facts.clone());
        }
        known.remove(uid);
        None
    }

    /// Believes the facts of a slot whose data track is settled.
    pub fn put(&self, uid: &str, inputs: String, facts: DatabaseFacts) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(uid) {
            // Believing again what was only believed would make it last for ever.
            Some((_, of, believed)) if *of == inputs && *believed == facts => {}
            _ => {
                known.insert(uid.to_owned(), (Instant::now(), inputs, facts));
            }
        }
    }

    /// Asks the server next time.
    pub fn forget(&self, uid: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
