//! One connection with the admin login, whose every statement has a time limit on both sides: a server that hangs instead of
//! refusing must not hang a worker.

use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::time::timeout;

use crate::error::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// `CREATE DATABASE` and `DROP DATABASE` may wait for a checkpoint.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The server ends a statement first, so that its message is seen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// An open connection. After a failure that is not the server's own answer it is broken, and not used again.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    server: String,
    broken: bool,
}

impl Session {
    /// Connects. `server` names the server in messages.
    ///
    /// # Errors
    /// `PostgresUnreachable` or `PostgresAuthenticationFailed`.
    pub async fn connect(options: &PgConnectOptions, server: &str) -> Result<Self, Failure> {
        let options = options.clone().disable_statement_logging();
        match timeout(CONNECT_TIMEOUT, options.connect()).await {
            Ok(Ok(connection)) => Ok(Self { connection, server: server.to_owned(), broken: false }),
            Ok(Err(error)) => Err(connect_failure(server, &error)),
            Err(_) => Err(Failure::new(
                "PostgresUnreachable",
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
        self.judge(doing, result, usable).map(|_| ())
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
        let result = timeout(ANSWER_TIMEOUT, statement.fetch_one(&mut self.connection)).await;
        let text = self.judge(doing, result, usable)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::new("PostgresRefused", format!("{doing} on PostgreSQL server {}: unexpected answer: {error}", self.server))
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
    ) -> Result<T, Failure> {
        self.broken = !usable;
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(sqlx::Error::Database(error))) => {
                let code = error.code().unwrap_or_default();
                // Class 57: the server is being shut down or ended the session.
                self.broken |= code.starts_with("57P");
                let reason = if self.broken { "PostgresUnreachable" } else { "PostgresRefused" };
                Err(Failure::new(reason, format!("{doing} on PostgreSQL server {}: {} ({code})", self.server, error.message())))
            }
            Ok(Err(error)) => {
                self.broken = true;
                Err(Failure::new("PostgresUnreachable", format!("{doing} on PostgreSQL server {}: {error}", self.server)))
            }
            Err(_) => {
                self.broken = true;
                Err(Failure::new(
                    "PostgresUnreachable",
                    format!("{doing} on PostgreSQL server {}: no answer within {} s", self.server, ANSWER_TIMEOUT.as_secs()),
                ))
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
                "PostgresAuthenticationFailed",
                format!(
                    "PostgreSQL server {server} refuses the admin login: {}; correct username and password in its Secret",
                    database.message()
                ),
            );
        }
        return Failure::new("PostgresUnreachable", format!("PostgreSQL server {server}: {} ({code})", database.message()));
    }
    Failure::new("PostgresUnreachable", format!("PostgreSQL server {server} cannot be reached: {error}"))
}
