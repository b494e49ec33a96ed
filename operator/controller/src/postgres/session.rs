//! One connection with the admin login, whose every statement has a time limit on both sides: a server that hangs instead of
//! refusing must not hang a worker.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tenantry_plan::reasons;
use tokio::time::timeout;

use super::pulse::Pulse;
use crate::error::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// `CREATE DATABASE` and `DROP DATABASE` may wait for a checkpoint.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The server ends a statement first, so that its message is seen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// Questions are answered at once, or by a server that is no use.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// An open connection. After a failure that is not the server's own answer it is broken, and not used again.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    server: String,
    pulse: Arc<Pulse>,
    broken: bool,
    silence: Option<Failure>,
}

impl Session {
    /// Connects. `server` names the server in messages, `pulse` is its.
    ///
    /// # Errors
    /// `PostgresUnreachable` or `PostgresAuthenticationFailed`.
    pub async fn connect(options: &PgConnectOptions, server: &str, pulse: &Arc<Pulse>) -> Result<Self, Failure> {
        let options = options.clone().disable_statement_logging();
        let question = pulse.ask();
        let result = timeout(CONNECT_TIMEOUT, options.connect()).await;
        if result.is_ok() {
            question.answered();
        }
        match result {
            Ok(Ok(connection)) => {
                Ok(Self { connection, server: server.to_owned(), pulse: Arc::clone(pulse), broken: false, silence: None })
            }
            Ok(Err(error)) => Err(connect_failure(server, &error)),
            Err(_) => Err(Failure::new(
                reasons::POSTGRES_UNREACHABLE,
                format!(
                    "PostgreSQL server {server} did not answer within {} s: check that it runs and that the operator may reach it",
                    CONNECT_TIMEOUT.as_secs()
                ),
            )),
        }
    }

    pub fn is_usable(&self) -> bool {
        !self.broken
    }

    /// What to say to others for a while, if the server left a statement of this session unanswered.
    pub fn silence(&mut self) -> Option<Failure> {
        self.silence.take()
    }

    /// The server's major version.
    pub fn major_version(&self) -> u32 {
        self.connection.server_version_num().unwrap_or_default() / 10_000
    }

    /// Executes statements by the simple protocol: several of them are one transaction.
    ///
    /// # Errors
    /// `PostgresRefused` with the server's message, or `PostgresUnreachable`.
    pub async fn execute(&mut self, doing: &str, statements: String) -> Result<(), Failure> {
        let usable = self.begin();
        let work = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.connection);
        let result = timeout(ANSWER_TIMEOUT, work).await;
        self.judge(doing, result, usable, ANSWER_TIMEOUT).map(|_| ())
    }

    /// Asks for one text, which is JSON.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn query_json<T: DeserializeOwned>(&mut self, doing: &str, query: &str, parameters: &[&str]) -> Result<T, Failure> {
        let usable = self.begin();
        let mut statement = sqlx::query_scalar::<_, String>(AssertSqlSafe(query.to_owned())).persistent(false);
        for parameter in parameters {
            statement = statement.bind((*parameter).to_owned());
        }
        let pulse = Arc::clone(&self.pulse);
        let question = pulse.ask();
        let result = timeout(QUESTION_TIMEOUT, statement.fetch_one(&mut self.connection)).await;
        if result.is_ok() {
            question.answered();
        }
        let text = self.judge(doing, result, usable, QUESTION_TIMEOUT)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::new(reasons::POSTGRES_REFUSED, format!("{doing} on PostgreSQL server {}: unexpected answer: {error}", self.server))
        })
    }

    /// Says goodbye, without waiting long for it.
    pub async fn close(self) {
        let _ = timeout(Duration::from_secs(1), self.connection.close()).await;
    }

    /// Until an answer is there the session counts as broken, so that one whose work is given up is not used again.
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.broken, true)
    }

    fn judge<T>(
        &mut self,
        doing: &str,
        result: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
        usable: bool,
        limit: Duration,
    ) -> Result<T, Failure> {
        self.broken = !usable;
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(sqlx::Error::Database(error))) => {
                let code = error.code().unwrap_or_default();
                // Class 57: the server is being shut down or ended the session.
                self.broken |= code.starts_with("57P");
                let reason = match code.as_ref() {
                    _ if self.broken => reasons::POSTGRES_UNREACHABLE,
                    INSUFFICIENT_PRIVILEGE => reasons::POSTGRES_NOT_PERMITTED,
                    _ => reasons::POSTGRES_REFUSED,
                };
                Err(Failure::new(reason, format!("{doing} on PostgreSQL server {}: {} ({code})", self.server, error.message())))
            }
            Ok(Err(error)) => {
                self.broken = true;
                Err(Failure::new(reasons::POSTGRES_UNREACHABLE, format!("{doing} on PostgreSQL server {}: {error}", self.server)))
            }
            Err(_) => {
                self.broken = true;
                let failure = Failure::new(
                    reasons::POSTGRES_UNREACHABLE,
                    format!("{doing} on PostgreSQL server {}: no answer within {} s", self.server, limit.as_secs()),
                );
                self.silence = Some(failure.clone());
                Err(failure)
            }
        }
    }
}

fn connect_failure(server: &str, error: &sqlx::Error) -> Failure {
    if let sqlx::Error::Database(database) = error {
        let code = database.code().unwrap_or_default();
        // Class 28: invalid authorization.
        if code.starts_with("28") {
            return Failure::new(
                reasons::POSTGRES_AUTHENTICATION_FAILED,
                format!(
                    "PostgreSQL server {server} refuses the admin login: {}; correct username and password in its Secret",
                    database.message()
                ),
            );
        }
        return Failure::new(reasons::POSTGRES_UNREACHABLE, format!("PostgreSQL server {server}: {} ({code})", database.message()));
    }
    Failure::new(reasons::POSTGRES_UNREACHABLE, format!("PostgreSQL server {server} cannot be reached: {error}"))
}
