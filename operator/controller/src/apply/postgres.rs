//! Steps on a PostgreSQL server (15 and later), with an admin login that is no superuser. Steps that follow one another go over one
//! connection that holds an advisory lock of the slot, so that a former leader cannot work beside the present one. What is
//! altered or dropped has its comment read again first: nothing that is not marked as the slot's is ever touched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_plan::names::Comment;
use tenantry_plan::{DatabaseStep, SlotIdentity, TrackName, reasons};

use super::Planned;
use super::gate::Point;
use super::statements::{self, Version};
use crate::context::Context;
use crate::error::Failure;
use crate::postgres::{Identifier, Lent, Literal, Server, Session};

const LOCK_DEADLINE: Duration = Duration::from_secs(20);
/// After that, whoever holds a slot's lock is taken for a former leader that hangs: its session is ended.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(200);
/// How long sessions of a database that is dropped are given to end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// Where steps are executed, and for what.
pub struct Site<'a> {
    pub identity: &'a SlotIdentity,
    pub server: &'a Arc<Server>,
    pub track: TrackName,
    pub planned: &'a Planned<'a>,
}

/// Executes database steps, in order, until one fails.
///
/// # Errors
/// When the server cannot be reached, refuses, or something of that name is not the slot's.
pub async fn execute(steps: &[&DatabaseStep], site: &Site<'_>, context: &Context) -> Result<(), Failure> {
    let Site { identity, server, .. } = *site;
    let session = server.session(&context.servers).await?;
    let mut run = Run { session, identity, server, context, inside: None };
    run.lock(&identity.database()).await?;
    let mut result = Ok(());
    for step in steps {
        let began = Instant::now();
        result = context.gate.around(|| Point::of_database(step, site.track, site.planned), run.step(step, site)).await;
        if result.is_err() {
            break;
        }
        context.metrics.database_step_done(statements::name(step), began.elapsed());
        tracing::info!(server = server.name(), database = identity.database(), step = statements::name(step), "database step done");
    }
    run.finish().await;
    result
}

struct Run<'a> {
    session: Lent,
    identity: &'a SlotIdentity,
    server: &'a Arc<Server>,
    context: &'a Context,
    /// A session in the slot's database, once a step needed one.
    inside: Option<Session>,
}

impl Run<'_> {
    async fn step(&mut self, step: &DatabaseStep, site: &Site<'_>) -> Result<(), Failure> {
        let version = Version(self.session.major_version());
        let doing = statements::name(step);
        let within = || Point::of_database(step, site.track, site.planned);
        match step {
            DatabaseStep::AdoptServer => self.adopt().await,
            DatabaseStep::CreateOwner { role, comment } => {
                let role = Identifier::parse(role)?;
                let exists = self.role_exists(&role).await?;
                self.session.execute(doing, statements::create_owner(&role, comment, exists, version)).await
            }
            DatabaseStep::EnsureLogin { role, verifier, connection_limit, comment } => {
                let role = Identifier::parse(role)?;
                let exists = self.role_exists(&role).await?;
                let statements = statements::ensure_login(&role, verifier, *connection_limit, comment, exists);
                self.session.execute(doing, statements).await
            }
            DatabaseStep::ActAsOwner { login, owner, database } => {
                let (login, owner) = (Identifier::parse(login)?, Identifier::parse(owner)?);
                self.expect_role(&login).await?;
                self.expect_role(&owner).await?;
                let database = self.expect_database(database).await?;
                self.session.execute(doing, statements::act_as_owner(&login, &owner, &database)).await
            }
            DatabaseStep::CreateDatabase { name, comment, connection_limit, budget } => {
                let name = Identifier::parse(name)?;
                self.server.budget().promise(&mut self.session, &name, *connection_limit, *budget).await?;
                let created = self.create_database(&name, comment, *connection_limit, within).await;
                self.server.budget().told(&name, &created);
                created
            }
            DatabaseStep::OpenDatabase { name, connection_limit, budget, logins } => {
                let database = self.expect_database(name).await?;
                let logins = self.expect_roles(logins).await?;
                self.server.budget().promise(&mut self.session, &database, *connection_limit, *budget).await?;
                let opened = self.session.execute(doing, statements::open_database(&database, *connection_limit, &logins)).await;
                self.server.budget().told(&database, &opened);
                opened
            }
            DatabaseStep::CreateSchema { database, schema, owner, logins } => {
                let database = self.expect_database(database).await?;
                let (schema, owner) = (Identifier::parse(schema)?, Identifier::parse(owner)?);
                self.expect_role(&owner).await?;
                let logins = self.expect_roles(logins).await?;
                let statements = statements::create_schema(&database, &schema, &owner, &logins);
                self.inside(&database).await?.execute(doing, statements).await
            }
            DatabaseStep::GrantRuntime { database, schema, owner, logins } => {
                let database = self.expect_database(database).await?;
                let (schema, owner) = (Identifier::parse(schema)?, Identifier::parse(owner)?);
                let logins = self.expect_roles(logins).await?;
                let statements = statements::grant_runtime(&schema, &owner, &logins);
                self.inside(&database).await?.execute(doing, statements).await
            }
            DatabaseStep::RetireLogin { role } => {
                let role = Identifier::parse(role)?;
                self.expect_role(&role).await?;
                self.session.execute(doing, format!("ALTER ROLE {role} NOLOGIN PASSWORD NULL")).await?;
                self.drain(statements::END_SESSIONS_OF, &role).await
            }
            DatabaseStep::AdoptDatabase { source, retained, name, comment, connection_limit, roles } => {
                let (source, name) = (Identifier::parse(source)?, Identifier::parse(name)?);
                let mut renamed = Vec::new();
                for role in roles {
                    renamed.push((Identifier::parse(&role.source)?, Identifier::parse(&role.name)?, role.comment.as_str()));
                }
                self.expect_retained(&source, &name, retained).await?;
                let statements = statements::adopt_database(&source, &name, comment, *connection_limit, &renamed);
                self.session.execute(doing, statements).await
            }
            DatabaseStep::RetireService { owner, comment, logins } => self.retire_service(owner, comment, logins).await,
            DatabaseStep::DropService { database, schema, owner, removed, roles } => {
                let database = self.expect_database(database).await?;
                self.expect_removed(&Identifier::parse(owner)?, removed).await?;
                let schema = Identifier::parse(schema)?;
                let statements = statements::drop_service(&schema, &self.expect_roles(roles).await?, version);
                self.inside(&database).await?.execute(doing, statements).await
            }
            DatabaseStep::DropDatabase { name, holder } => self.drop_database(&Identifier::parse(name)?, holder, within).await,
            DatabaseStep::RetainDatabase { name, holder, comment, logins } => {
                self.retain_database(&Identifier::parse(name)?, holder, comment, logins).await
            }
            DatabaseStep::DropRole { role } => {
                let role = Identifier::parse(role)?;
                if !self.role_exists(&role).await? {
                    return Ok(());
                }
                self.session.execute(doing, format!("DROP ROLE {role}")).await
            }
        }
    }

    async fn adopt(&mut self) -> Result<(), Failure> {
        self.session.execute("adopting the server", statements::adopt_server()).await?;
        self.server.budget().forget();
        let still_open: bool = self.session.query_json("adopting the server", statements::IS_OPEN_TO_PUBLIC, &[]).await?;
        if still_open {
            return Err(Failure::new(
                reasons::POSTGRES_NOT_ADOPTED,
                format!(
                    "on PostgreSQL server {} every login may connect to the databases postgres and template1, and the admin login may not change that: as a superuser, make it the owner of both (ALTER DATABASE ... OWNER TO ...) or revoke CONNECT on them from PUBLIC",
                    self.server.name()
                ),
            ));
        }
        Ok(())
    }

    /// A kill between the creation and its comment leaves a database without a comment that accepts no connections: nobody
    /// but the admin login makes one, and nothing can be in it.
    async fn create_database(
        &mut self,
        name: &Identifier,
        comment: &str,
        limit: u32,
        within: impl FnOnce() -> Point,
    ) -> Result<(), Failure> {
        let state = self.database_state(name).await?;
        if state == Ownership::Retained {
            return Err(not_ours("database", name, self.server));
        }
        if state == Ownership::Absent {
            let statement = format!("CREATE DATABASE {name} TEMPLATE template0 ALLOW_CONNECTIONS false CONNECTION LIMIT {limit}");
            self.session.execute("creating the database", statement).await?;
            self.context.gate.within(within).await;
        }
        let comment = Literal(comment);
        let statements = format!("COMMENT ON DATABASE {name} IS {comment}; ALTER DATABASE {name} CONNECTION LIMIT {limit}");
        self.session.execute("creating the database", statements).await
    }

    /// The comment comes last: what carries it is closed.
    async fn retain_database(
        &mut self,
        name: &Identifier,
        holder: &Option<String>,
        comment: &str,
        logins: &[String],
    ) -> Result<(), Failure> {
        match self.database_state(name).await? {
            Ownership::Absent | Ownership::Retained => return Ok(()),
            Ownership::Ours => self.expect_holder(name, holder).await?,
            Ownership::Unfinished | Ownership::Invalid => return Err(not_ours("database", name, self.server)),
        }
        let logins = self.expect_roles(logins).await?;
        self.session.execute("closing the database", statements::close_for_good(name, &logins)).await?;
        self.drain(statements::END_SESSIONS_IN, name).await?;
        self.session.execute("retaining the database", format!("COMMENT ON DATABASE {name} IS {}", Literal(comment))).await
    }

    /// Nothing else may be at work on the database that is taken over, and it has to be what was seen of it.
    async fn expect_retained(&mut self, source: &Identifier, name: &Identifier, retained: &str) -> Result<(), Failure> {
        if source != name {
            self.lock(source.as_str()).await?;
        }
        let found: Vec<DatabaseState> =
            self.session.query_json("looking at the database", statements::DATABASE_STATE, &[source.as_str()]).await?;
        if found.first().and_then(|state| state.comment.as_deref()) != Some(retained) {
            return Err(Failure::new(
                reasons::DATABASE_NOT_RETAINED,
                format!("database {source} on PostgreSQL server {} is not retained any more: it is left alone", self.server.name()),
            ));
        }
        self.drain(statements::END_SESSIONS_IN, source).await
    }

    /// The comment comes last: who has it has no login and no session.
    async fn retire_service(&mut self, owner: &str, comment: &str, logins: &[String]) -> Result<(), Failure> {
        let owner = Identifier::parse(owner)?;
        let logins = self.expect_roles(logins).await?;
        self.session.execute("retiring the service", statements::disable(&logins)).await?;
        for login in &logins {
            self.drain(statements::END_SESSIONS_OF, login).await?;
        }
        self.expect_role(&owner).await?;
        self.session.execute("retiring the service", format!("COMMENT ON ROLE {owner} IS {}", Literal(comment))).await
    }

    /// Refuses to drop the data of a service that was added again meanwhile.
    async fn expect_removed(&mut self, owner: &Identifier, removed: &str) -> Result<(), Failure> {
        let found: Vec<Option<String>> = self.session.query_json("looking at a role", statements::ROLE_COMMENT, &[owner.as_str()]).await?;
        let comment = found.first().and_then(|comment| Comment::parse(comment.as_deref()?));
        if comment.and_then(|comment| comment.removed).as_deref() == Some(removed) {
            return Ok(());
        }
        Err(Failure::new(
            reasons::SERVICE_NOT_REMOVED,
            format!(
                "the comment of role {owner} on PostgreSQL server {} does not say any more that its service was removed at {removed}: its data are left alone",
                self.server.name()
            ),
        ))
    }

    /// Refuses what was planned before another Slot took the database over.
    async fn expect_holder(&mut self, name: &Identifier, holder: &Option<String>) -> Result<(), Failure> {
        let found: Vec<DatabaseState> =
            self.session.query_json("looking at the database", statements::DATABASE_STATE, &[name.as_str()]).await?;
        let comment = found.first().and_then(|state| Comment::parse(state.comment.as_deref()?));
        match comment.and_then(|comment| comment.holder) {
            Some(other) if Some(&other) != holder.as_ref() => Err(Failure::new(
                reasons::DATABASE_TAKEN_OVER,
                format!("database {name} on PostgreSQL server {} was taken over by the Slot {other}: it is left alone", self.server.name()),
            )),
            _ => Ok(()),
        }
    }

    async fn drop_database(&mut self, name: &Identifier, holder: &Option<String>, within: impl FnOnce() -> Point) -> Result<(), Failure> {
        self.expect_holder(name, holder).await?;
        match self.database_state(name).await? {
            Ownership::Absent => return Ok(()),
            Ownership::Retained => return Err(not_ours("database", name, self.server)),
            // An interrupted DROP left it invalid: it can be dropped, and not altered.
            Ownership::Invalid => {}
            Ownership::Ours | Ownership::Unfinished => {
                self.session.execute("closing the database", format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await?;
                self.drain(statements::END_SESSIONS_IN, name).await?;
                self.context.gate.within(within).await;
            }
        }
        let dropped = self.session.execute("dropping the database", format!("DROP DATABASE {name}")).await;
        match dropped {
            Err(failure) if failure.message.ends_with("(55006)") => {
                self.session.execute("dropping the database", format!("DROP DATABASE {name} WITH (FORCE)")).await
            }
            other => other,
        }
    }

    async fn drain(&mut self, sessions: &str, name: &Identifier) -> Result<(), Failure> {
        let deadline = Instant::now() + DRAIN_DEADLINE;
        loop {
            let left: u32 = self.session.query_json("ending sessions", sessions, &[name.as_str()]).await?;
            if left == 0 || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(DRAIN_PAUSE).await;
        }
    }

    /// Whether a role exists; one that is not the slot's is an error.
    async fn role_exists(&mut self, role: &Identifier) -> Result<bool, Failure> {
        let comment: Option<Option<String>> =
            self.session.query_json("looking at a role", statements::ROLE_COMMENT, &[role.as_str()]).await.map(unwrap_found)?;
        match comment {
            None => Ok(false),
            Some(comment) if self.identity.owns(comment.as_deref()) => Ok(true),
            Some(_) => Err(not_ours("role", role, self.server)),
        }
    }

    async fn expect_role(&mut self, role: &Identifier) -> Result<(), Failure> {
        if self.role_exists(role).await? {
            Ok(())
        } else {
            Err(Failure::new(
                reasons::POSTGRES_REFUSED,
                format!("role {role} does not exist on PostgreSQL server {} yet", self.server.name()),
            ))
        }
    }

    async fn expect_roles(&mut self, names: &[String]) -> Result<Vec<Identifier>, Failure> {
        let roles = Identifier::parse_all(names)?;
        for role in &roles {
            self.expect_role(role).await?;
        }
        Ok(roles)
    }

    async fn expect_database(&mut self, name: &str) -> Result<Identifier, Failure> {
        let name = Identifier::parse(name)?;
        match self.database_state(&name).await? {
            Ownership::Ours => Ok(name),
            _ => Err(Failure::new(
                reasons::POSTGRES_REFUSED,
                format!("database {name} does not exist on PostgreSQL server {} yet, or is being dropped", self.server.name()),
            )),
        }
    }

    async fn database_state(&mut self, name: &Identifier) -> Result<Ownership, Failure> {
        let found: Vec<DatabaseState> =
            self.session.query_json("looking at the database", statements::DATABASE_STATE, &[name.as_str()]).await?;
        match found.first() {
            None => Ok(Ownership::Absent),
            Some(state) if self.identity.owns(state.comment.as_deref()) => {
                Ok(if state.connection_limit == -2 { Ownership::Invalid } else { Ownership::Ours })
            }
            Some(state) if self.identity.has_retained(state.comment.as_deref()) => Ok(Ownership::Retained),
            Some(state) if state.comment.is_none() && state.mine && !state.open => Ok(Ownership::Unfinished),
            Some(_) => Err(not_ours("database", name, self.server)),
        }
    }

    async fn inside(&mut self, database: &Identifier) -> Result<&mut Session, Failure> {
        if self.inside.is_none() {
            self.inside = Some(self.server.session_in(&self.context.servers, database.as_str()).await?);
        }
        self.inside.as_mut().ok_or_else(|| Failure::new(reasons::POSTGRES_UNREACHABLE, "no session"))
    }

    async fn lock(&mut self, database: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            if self.session.query_json("locking the slot", statements::TRY_LOCK, &[database]).await? {
                return Ok(());
            }
            if begun.elapsed() > LOCK_PATIENCE {
                let ended: u32 = self.session.query_json("ending a former leader's session", statements::END_HOLDER, &[database]).await?;
                if ended > 0 {
                    tracing::warn!(database, server = self.server.name(), "ended the session of a former leader that held the slot's lock");
                }
            }
            if begun.elapsed() > LOCK_DEADLINE {
                return Err(Failure::new(
                    reasons::POSTGRES_BUSY,
                    format!("another operator works on database {database} of PostgreSQL server {}; it is tried again", self.server.name()),
                ));
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    /// Gives the lock back. A session that cannot is not used again, and the lock ends with it.
    async fn finish(mut self) {
        if let Some(inside) = self.inside.take() {
            inside.close().await;
        }
        if self.session.is_usable() {
            let _ = self.session.execute("unlocking the slot", "SELECT pg_advisory_unlock_all()".to_owned()).await;
        }
    }
}

#[derive(Debug, serde::Deserialize)]
struct DatabaseState {
    comment: Option<String>,
    open: bool,
    mine: bool,
    connection_limit: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    Absent,
    Ours,
    /// Left behind by this slot.
    Retained,
    /// Made by this login, not marked and never opened.
    Unfinished,
    /// Half dropped.
    Invalid,
}

/// An array of at most one comment, as JSON has it.
fn unwrap_found(found: Vec<Option<String>>) -> Option<Option<String>> {
    found.into_iter().next()
}

fn not_ours(what: &str, name: &Identifier, server: &Server) -> Failure {
    Failure::new(
        reasons::DATABASE_NOT_OURS,
        format!(
            "{what} {name} on PostgreSQL server {} exists without this slot's comment: it is left alone. Drop or rename it, or put the slot's comment on it if it is known to be the slot's",
            server.name()
        ),
    )
}
