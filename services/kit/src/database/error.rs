//! What can go wrong with the database, in two kinds: it is not available (ask again), or a statement is wrong.

use crate::credentials::CredentialError;

/// A failure of the database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be reached, is starting or ending, has no connection left, refuses the login (which may just be rotated),
    /// or gave up for reasons that lie in the moment: a deadlock, a time-out. The same request can succeed soon.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// It refused what was asked: an error in the program, or data that break a rule.
    #[error("the database refused a statement: {0}")]
    Statement(#[source] sqlx::Error),
    /// The files with the login cannot be read.
    #[error("the database's login cannot be read: {0}")]
    Credential(#[from] CredentialError),
}

impl DatabaseError {
    /// Whether the same request can succeed soon: a caller over HTTP is told 503 with Retry-After.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Credential(_))
    }

    /// The error that `what` took too long.
    pub(crate) fn timed_out(what: &'static str) -> Self {
        Self::Unavailable(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what)))
    }

    /// Whether a statement ran for too long: doing less at once may help.
    #[must_use]
    pub fn is_statement_timeout(&self) -> bool {
        let Self::Unavailable(sqlx::Error::Database(refusal)) = self else { return false };
        refusal.code().is_some_and(|code| code == "57014")
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        if is_momentary(&error) { Self::Unavailable(error) } else { Self::Statement(error) }
    }
}

/// SQLSTATE classes (two characters) and codes (five) whose cause lies in the moment.
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
const MOMENTARY: [&str; 12] = [
    "08",    // connection exception
    "28",    // the login is refused: it may just be rotated
    "40",    // transaction rollback: serialization failure, deadlock
    "53",    // insufficient resources: too many connections, disk full, out of memory
    "57P",   // operator intervention: shutdown, crash, starting up
    "57014", // query cancelled: statement time-out
    "55P03", // lock not available in time
    "25006", // read-only transaction: a server that was demoted
    "25P03", // idle-in-transaction time-out
    "25P04", // transaction time-out
    "58",    // system error
    "3D000", // the database does not exist: it may just be restored
];

fn is_momentary(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| MOMENTARY.iter().any(|prefix| code.starts_with(prefix))),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        _ => false,
    }
}

/// Whether name or password were refused.
pub(super) fn is_refused_login(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|refusal| refusal.code()).is_some_and(|code| code.starts_with("28"))
}
