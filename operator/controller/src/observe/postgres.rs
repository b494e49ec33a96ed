//! The facts about a slot's part of a PostgreSQL server: two round trips, one in the maintenance database and, once the slot's
//! own is there, one in that. What all slots of a server share is asked once for all of them.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde::Deserialize;
use tenantry_contract::paths::SCHEMA_VERSION_TABLE;
use tenantry_crds::PostgresServer;
use tenantry_plan::{DatabaseFacts, RoleFacts, SchemaFacts, ServerFacts, SlotIdentity, SourceFacts};

use crate::error::Failure;
use crate::postgres::{Identifier, Literal, Servers, Session};
use crate::workers::aside;

/// Servers of a class that are asked at the same time.
const SERVERS_AT_A_TIME: usize = 16;
/// How long the facts of a settled slot are believed without asking again.
const BELIEVED_FOR: Duration = Duration::from_secs(300);

const SERVER_QUERY: &str = "
SELECT json_build_object(
  'now', extract(epoch FROM now())::bigint,
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
     FROM pg_roles r WHERE starts_with(r.rolname::text, $2)),
  'source', (
     SELECT json_build_object(
       'comment', shobj_description(d.oid, 'pg_database'),
       'roles', (
          SELECT coalesce(json_object_agg(r.rolname, shobj_description(r.oid, 'pg_authid')), '{}')
          FROM pg_roles r WHERE starts_with(r.rolname::text, $3 || '_')))
     FROM pg_database d WHERE d.datname = $3)
)::text";

const RETAINED_QUERY: &str = "
SELECT coalesce(json_object_agg(datname, comment), '{}')::text
FROM (SELECT datname, shobj_description(oid, 'pg_database') AS comment FROM pg_database) databases
WHERE comment LIKE 'tenantry % retained=%'";

/// Whether the slot has anything here: its database, one that it was about to mark, or a role.
const HOLDS_QUERY: &str = "
SELECT (
  EXISTS (
    SELECT FROM pg_database d
    WHERE d.datname = $1 AND (starts_with(shobj_description(d.oid, 'pg_database') || ' ', $3 || ' ')
      OR shobj_description(d.oid, 'pg_database') IS NULL AND NOT d.datallowconn AND pg_get_userbyid(d.datdba) = current_user))
  OR EXISTS (
    SELECT FROM pg_roles r
    WHERE starts_with(r.rolname::text, $2) AND starts_with(shobj_description(r.oid, 'pg_authid'), $3 || ' ')))::text";

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
    now: i64,
    database: Option<DatabaseAnswer>,
    roles: BTreeMap<String, RoleAnswer>,
    source: Option<SourceAnswer>,
}

#[derive(Debug, Deserialize)]
struct SourceAnswer {
    comment: Option<String>,
    roles: BTreeMap<String, Option<String>>,
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

/// Asks all servers of a class for the databases that slots left behind: names and comments, by server. Of one that does not answer
/// there is none.
pub async fn retained(servers: &Servers, offered: &[PostgresServer]) -> BTreeMap<String, Option<BTreeMap<String, String>>> {
    of_each(offered, |server| async move { retained_on(servers, server).await.ok() }).await
}

/// What comes of asking each server, by name. It occupies no worker, since one of them may hang.
pub(super) async fn of_each<'a, T, F>(offered: &'a [PostgresServer], ask: impl Fn(&'a PostgresServer) -> F) -> BTreeMap<String, T>
where
    F: Future<Output = T>,
{
    let asked: Vec<_> = offered
        .iter()
        .map(|server| {
            let answer = ask(server);
            async move { (server.name.clone(), answer.await) }
        })
        .collect();
    aside(stream::iter(asked).buffer_unordered(SERVERS_AT_A_TIME).collect()).await
}

async fn retained_on(servers: &Servers, server: &PostgresServer) -> Result<BTreeMap<String, String>, Failure> {
    let mut session = servers.server(server).session(servers).await?;
    session.query_json("looking for retained databases", RETAINED_QUERY, &[]).await
}

/// Asks a server about a slot, and about the database that it should take over.
///
/// # Errors
/// `PostgresSecretMissing`, `PostgresAuthenticationFailed`, `PostgresUnreachable`, `PostgresBusy`, `PostgresRefused`.
pub async fn database(
    servers: &Servers,
    server: &PostgresServer,
    identity: &SlotIdentity,
    source: Option<&str>,
) -> Result<DatabaseFacts, Failure> {
    let (name, prefix) = (identity.database(), identity.role_prefix());
    let server = servers.server(server);
    let mut session = server.session(servers).await?;
    let share = server.budget().share(&mut session).await?;
    let answer: ServerAnswer = session
        .query_json("looking at roles and databases", SERVER_QUERY, &[name.as_str(), prefix.as_str(), source.unwrap_or_default()])
        .await?;
    let mut facts = facts_of(answer);
    // The database of somebody else is not entered.
    let ours = facts.comment.as_ref().is_some_and(|comment| identity.owns(comment.as_deref()));
    let held = if ours { u32::try_from(facts.connection_limit).unwrap_or(0) } else { 0 };
    facts.adopted = share.adopted;
    facts.promised_connections = share.promised_but_to(&name, held);
    if ours && facts.open {
        let mut inside = server.session_in(servers, &name).await?;
        let schemas = schemas(&mut inside).await;
        inside.close().await;
        facts.schemas = schemas?;
    }
    Ok(facts)
}

/// Asks a server whether it has anything of a slot, and what it has promised.
///
/// # Errors
/// As [`database`].
pub async fn server(servers: &Servers, server: &PostgresServer, identity: &SlotIdentity) -> Result<ServerFacts, Failure> {
    let (name, prefix, comment) = (identity.database(), identity.role_prefix(), identity.comment().to_string());
    let server = servers.server(server);
    let mut session = server.session(servers).await?;
    let share = server.budget().share(&mut session).await?;
    let holds = session.query_json("looking for the slot", HOLDS_QUERY, &[name.as_str(), prefix.as_str(), comment.as_str()]).await?;
    Ok(ServerFacts { promised_connections: share.promised_but_to(&name, 0), holds })
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
        now: answer.now,
        roles: roles.collect(),
        source: answer.source.map(|source| SourceFacts { comment: source.comment, roles: source.roles }),
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
