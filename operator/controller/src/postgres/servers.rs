//! The PostgreSQL servers of all classes: their admin logins, a bound on the connections to each, a few kept open, and a
//! memory of servers that just failed, so that one dead server does not cost each of its slots a timeout.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tenantry_contract::TlsMode;
use tenantry_crds::PostgresServer;
use tenantry_plan::reasons;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::budget::Budget;
use super::pulse::Pulse;
use super::session::{STATEMENT_TIMEOUT, Session};
use crate::error::Failure;

/// The database in which the operator works on what a server's databases share, and in which it takes its locks.
const MAINTENANCE_DATABASE: &str = "postgres";
const PERMIT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_KEPT: usize = 2;
const IDLE_FOR: Duration = Duration::from_secs(90);
/// How often who waits for a permit looks whether the server answers at all.
const PERMIT_POLL: Duration = Duration::from_millis(250);
/// How long whoever tries a failed server again is waited for.
const TRIAL: Duration = Duration::from_secs(30);
/// How long a server that failed is not asked again.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(5);
/// How long an admin login that worked is used without looking at its Secret.
const LOGIN_REMEMBERED: Duration = Duration::from_secs(60);

/// All servers that were asked for.
pub struct Servers {
    client: Client,
    namespace: String,
    connections: usize,
    servers: Mutex<HashMap<String, Arc<Server>>>,
    /// One slot at a time chooses its place.
    placing: Mutex<()>,
}

/// One server.
#[derive(Debug)]
pub struct Server {
    description: PostgresServer,
    permits: Arc<Semaphore>,
    budget: Budget,
    pulse: Arc<Pulse>,
    state: Mutex<State>,
}

/// A session that goes back to its server when it is dropped, if it still works.
#[derive(Debug)]
pub struct Lent {
    server: Arc<Server>,
    session: Option<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Deref for Lent {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("the session is taken only by `drop`")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("the session is taken only by `drop`")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        match self.session.take() {
            Some(session) if session.is_usable() => self.server.keep_idle(session),
            Some(mut session) => match session.silence() {
                Some(failure) => self.server.note_failure(&failure),
                // Others that were kept are likely as dead as this one.
                None => self.server.lock().idle.clear(),
            },
            None => {}
        }
    }
}

#[derive(Debug, Default)]
struct State {
    login: Option<(Instant, Login)>,
    idle: Vec<(Instant, Session)>,
    failure: Option<(Instant, Failure)>,
    /// Since when somebody tries whether the failure is over.
    trial: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq)]
struct Login {
    username: String,
    password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Servers {
    pub fn new(client: Client, namespace: &str, connections: u16) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            connections: usize::from(connections),
            servers: Mutex::default(),
            placing: Mutex::default(),
        }
    }

    /// The server of that description. Two classes that describe the same server share it and its bound.
    pub fn server(&self, description: &PostgresServer) -> Arc<Server> {
        let key = format!("{}:{}/{}", description.host, description.port, description.admin_secret_ref.name);
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let server = servers.entry(key).or_insert_with(|| Arc::new(Server::new(description.clone(), self.connections)));
        if server.description.tls != description.tls || server.description.name != description.name {
            *server = Arc::new(Server::new(description.clone(), self.connections));
        }
        Arc::clone(server)
    }

    /// To be held while a slot's place is chosen and reserved: choices that see one another are spread.
    pub fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_login(&self, server: &PostgresServer) -> Result<Login, Failure> {
        let name = &server.admin_secret_ref.name;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let missing = |what: &str| {
            Failure::new(
                reasons::POSTGRES_SECRET_MISSING,
                format!(
                    "{what} Secret {name} in namespace {}: create it with username and password of the admin login of PostgreSQL server {}",
                    self.namespace, server.name
                ),
            )
        };
        let secret = match timeout(PERMIT_TIMEOUT, api.get_opt(name)).await {
            Ok(Ok(Some(secret))) => secret,
            Ok(Ok(None)) => return Err(missing("there is no")),
            Ok(Err(error)) => return Err(Failure::kubernetes(&format!("reading Secret {name}"), &error)),
            Err(_) => return Err(Failure::no_answer(&format!("reading Secret {name}"), PERMIT_TIMEOUT)),
        };
        let data = secret.data.unwrap_or_default();
        let field = |key: &str| {
            data.get(key)
                .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
                .map(|text| text.trim_end_matches('\n').to_owned())
                .filter(|text| !text.is_empty())
                .ok_or_else(|| missing(&format!("{key} is missing in")))
        };
        Ok(Login { username: field("username")?, password: field("password")? })
    }
}

impl Server {
    fn new(description: PostgresServer, connections: usize) -> Self {
        Self {
            description,
            permits: Arc::new(Semaphore::new(connections)),
            budget: Budget::default(),
            pulse: Arc::default(),
            state: Mutex::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// What it has promised.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// A session in the maintenance database: a kept one, or a new one.
    ///
    /// # Errors
    /// When no connection can be had.
    pub async fn session(self: &Arc<Self>, servers: &Servers) -> Result<Lent, Failure> {
        let permit = self.permit().await?;
        let session = match self.take_idle() {
            Some(session) => session,
            None => self.connect(servers, MAINTENANCE_DATABASE).await?,
        };
        Ok(Lent { server: Arc::clone(self), session: Some(session), _permit: permit })
    }

    /// A session in one of the server's other databases, for whoever has lent one in the maintenance database: the two count
    /// as one. It is closed after the work.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub async fn session_in(&self, servers: &Servers, database: &str) -> Result<Session, Failure> {
        self.connect(servers, database).await
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let deadline = Instant::now() + PERMIT_TIMEOUT;
        let acquired = Arc::clone(&self.permits).acquire_owned();
        tokio::pin!(acquired);
        loop {
            if let Some(silent) = self.pulse.silent_for() {
                return Err(Failure::new(
                    reasons::POSTGRES_UNREACHABLE,
                    format!(
                        "PostgreSQL server {} has not answered for {} s: check that it runs; it is tried again",
                        self.name(),
                        silent.as_secs()
                    ),
                ));
            }
            match timeout(PERMIT_POLL, &mut acquired).await {
                Ok(Ok(permit)) => return Ok(permit),
                Err(_) if Instant::now() < deadline => {}
                _ => {
                    return Err(Failure::new(
                        reasons::POSTGRES_BUSY,
                        format!("all of the operator's connections to PostgreSQL server {} are in use; it is tried again", self.name()),
                    ));
                }
            }
        }
    }

    async fn connect(&self, servers: &Servers, database: &str) -> Result<Session, Failure> {
        if let Some(failure) = self.recent_failure() {
            return Err(failure);
        }
        let result = self.connect_now(servers, database).await;
        match &result {
            Ok(_) => {
                let mut state = self.lock();
                (state.failure, state.trial) = (None, None);
            }
            Err(failure) if database == MAINTENANCE_DATABASE => self.note_failure(failure),
            // One slot's database, on a server that has just answered.
            Err(_) => {}
        }
        result
    }

    async fn connect_now(&self, servers: &Servers, database: &str) -> Result<Session, Failure> {
        let remembered = self.remembered_login();
        let login = match remembered.clone() {
            Some(login) => login,
            None => servers.read_login(&self.description).await?,
        };
        match Session::connect(&self.options(&login, database), self.name(), &self.pulse).await {
            Ok(session) => {
                if remembered.is_none() {
                    self.lock().login = Some((Instant::now(), login));
                }
                Ok(session)
            }
            // The password may have been changed since it was remembered.
            Err(failure) if failure.reason == reasons::POSTGRES_AUTHENTICATION_FAILED && remembered.is_some() => {
                self.lock().login = None;
                let fresh = servers.read_login(&self.description).await?;
                if fresh == login {
                    return Err(failure);
                }
                let session = Session::connect(&self.options(&fresh, database), self.name(), &self.pulse).await?;
                self.lock().login = Some((Instant::now(), fresh));
                Ok(session)
            }
            Err(failure) => Err(failure),
        }
    }

    fn options(&self, login: &Login, database: &str) -> PgConnectOptions {
        let milliseconds = STATEMENT_TIMEOUT.as_millis().to_string();
        PgConnectOptions::new_without_pgpass()
            .host(&self.description.host)
            .port(self.description.port)
            .username(&login.username)
            .password(&login.password)
            .database(database)
            .ssl_mode(match self.description.tls {
                TlsMode::Disable => PgSslMode::Disable,
                TlsMode::Prefer => PgSslMode::Prefer,
                TlsMode::Require => PgSslMode::Require,
            })
            .application_name("tenantry-operator")
            // Nothing in a tenant's database may stand in for what the operator's statements name.
            .options([
                ("search_path", "pg_catalog"),
                ("statement_timeout", milliseconds.as_str()),
                ("lock_timeout", "10s"),
                ("idle_in_transaction_session_timeout", "60s"),
            ])
    }

    fn take_idle(&self) -> Option<Session> {
        let mut state = self.lock();
        state.idle.retain(|(since, _)| since.elapsed() < IDLE_FOR);
        state.idle.pop().map(|(_, session)| session)
    }

    fn keep_idle(&self, session: Session) {
        let mut state = self.lock();
        if state.idle.len() < IDLE_KEPT {
            state.idle.push((Instant::now(), session));
        }
    }

    fn note_failure(&self, failure: &Failure) {
        let mut state = self.lock();
        state.idle.clear();
        (state.failure, state.trial) = (Some((Instant::now(), failure.clone())), None);
    }

    /// What others met with a moment ago. After that moment one alone tries again, and the others wait for what comes of it.
    fn recent_failure(&self) -> Option<Failure> {
        let mut state = self.lock();
        let (since, failure) = state.failure.clone()?;
        if since.elapsed() < FAILURE_REMEMBERED || state.trial.is_some_and(|trial| trial.elapsed() < TRIAL) {
            return Some(failure);
        }
        state.trial = Some(Instant::now());
        None
    }

    fn remembered_login(&self) -> Option<Login> {
        let state = self.lock();
        state.login.as_ref().filter(|(since, _)| since.elapsed() < LOGIN_REMEMBERED).map(|(_, login)| login.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
