//! What a server has promised of its connections. The promises are the connection limits of the slots' databases; beside them
//! count those that are on the way there, so that slots that are placed at the same time do not overrun a server together.
//!
//! The sum goes over all databases of a server: it is asked once for all slots, and again after a moment.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tenantry_plan::reasons;

use super::{Identifier, Session};
use crate::error::Failure;

/// How long an answer is good enough to plan with. Whether there really is room is asked again before it is promised.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// How long a place is kept for a slot that never asks for it: whoever comes late asks again whether there is room.
const RESERVED_FOR: Duration = Duration::from_secs(60);
/// How long a promise counts of which PostgreSQL may not have been told: longer than any statement may take.
const PROMISED_FOR: Duration = Duration::from_secs(120);

/// A database without a comment that accepts no connections is one that the operator was about to mark.
const SHARE_QUERY: &str = "
SELECT json_build_object(
  'adopted', NOT has_database_privilege('public', 'postgres', 'CONNECT')
         AND NOT has_database_privilege('public', 'template1', 'CONNECT'),
  'promised', (
     SELECT coalesce(sum(d.datconnlimit), 0) FROM pg_database d
     WHERE d.datconnlimit > 0 AND d.datname <> $1 AND (
       starts_with(shobj_description(d.oid, 'pg_database'), 'tenantry ')
       OR shobj_description(d.oid, 'pg_database') IS NULL AND NOT d.datallowconn AND pg_get_userbyid(d.datdba) = current_user)),
  'own', coalesce((SELECT d.datconnlimit FROM pg_database d WHERE d.datname = $1), 0))::text";

/// The promises of one server.
#[derive(Debug, Default)]
pub struct Budget {
    state: Mutex<State>,
    /// One at a time asks and promises.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<(Instant, Answer)>,
    /// By database: what is not in the answer yet.
    coming: HashMap<String, Coming>,
}

#[derive(Debug, Clone, Copy)]
struct Coming {
    connections: u32,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// A slot was given its place here, and will ask for it.
    Reserved(Instant),
    /// There is room for it, and PostgreSQL is being told.
    Promised(Instant),
    /// PostgreSQL counts it itself, since then.
    Kept(Instant),
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Answer {
    adopted: bool,
    promised: u32,
    own: i64,
}

/// What is known of a server at a moment.
#[derive(Debug, Clone)]
pub struct Share {
    /// Whether PUBLIC may no longer connect to `postgres` and `template1`.
    pub adopted: bool,
    promised: u32,
    coming: Vec<(String, u32)>,
}

impl Share {
    /// The connections promised to others than that database, which itself has `held`.
    pub fn promised_but_to(&self, database: &str, held: u32) -> u32 {
        let coming = self.coming.iter().filter(|(name, _)| name != database).map(|(_, connections)| *connections);
        coming.fold(self.promised.saturating_sub(held), u32::saturating_add)
    }
}

impl Budget {
    /// What is known, asked for over `session` when it is not fresh.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn share(&self, session: &mut Session) -> Result<Share, Failure> {
        if let Some(share) = self.fresh() {
            return Ok(share);
        }
        let _turn = self.turn.lock().await;
        if let Some(share) = self.fresh() {
            return Ok(share);
        }
        let asked = Instant::now();
        let answer: Answer = session.query_json("looking at the server's promises", SHARE_QUERY, &[""]).await?;
        let mut state = self.lock();
        state.coming.retain(|_, coming| match coming.stage {
            Stage::Reserved(since) => since.elapsed() < RESERVED_FOR,
            Stage::Promised(since) => since.elapsed() < PROMISED_FOR,
            Stage::Kept(since) => since >= asked,
        });
        state.known = Some((asked, answer));
        Ok(share_of(&state, answer))
    }

    /// The connections promised to and reserved for others than that database, as far as is known without asking.
    pub fn promised_but_to(&self, database: &str) -> Option<u32> {
        let state = self.lock();
        state.known.map(|(_, answer)| share_of(&state, answer).promised_but_to(database, 0))
    }

    /// Keeps a place for a database that is to be made here. With a `limit`, only when with it all that is promised and
    /// reserved stays within it, as far as is known: whoever comes first has the place, and who gets none may look for another
    /// one at once.
    #[must_use]
    pub fn reserve(&self, database: &str, connections: u32, limit: Option<u32>) -> bool {
        let mut state = self.lock();
        if let Some(limit) = limit {
            let Some((_, answer)) = state.known else { return false };
            let taken = share_of(&state, answer).promised_but_to(database, 0);
            if taken.saturating_add(connections) > limit {
                return false;
            }
        }
        state.coming.insert(database.to_owned(), Coming { connections, stage: Stage::Reserved(Instant::now()) });
        true
    }

    /// The database is to be made elsewhere. What was promised already stays until PostgreSQL was told.
    pub fn release(&self, database: &str) {
        let mut state = self.lock();
        if matches!(state.coming.get(database), Some(Coming { stage: Stage::Reserved(_), .. })) {
            state.coming.remove(database);
        }
    }

    /// Promises a database its connections, if the server then has promised at most `limit`, or no more than before. To be
    /// followed by [`Self::told`].
    ///
    /// # Errors
    /// `PostgresServerFull`, or when the server does not answer.
    pub async fn promise(&self, session: &mut Session, database: &Identifier, connections: u32, limit: u32) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        let asked = Instant::now();
        let answer: Answer = session.query_json("looking at the server's promises", SHARE_QUERY, &[database.as_str()]).await?;
        let mut state = self.lock();
        let others = state.coming.iter().filter(|(name, coming)| {
            *name != database.as_str()
                && match coming.stage {
                    // Who has reserved a place asks for itself.
                    Stage::Reserved(_) => false,
                    Stage::Promised(_) => true,
                    Stage::Kept(since) => since >= asked,
                }
        });
        let promised = others.fold(answer.promised, |sum, (_, coming)| sum.saturating_add(coming.connections));
        let grows = i64::from(connections) > answer.own;
        if grows && promised.saturating_add(connections) > limit {
            state.coming.remove(database.as_str());
            state.known = None;
            return Err(Failure::new(
                reasons::POSTGRES_SERVER_FULL,
                format!("{connections} connections are needed, and of the server's {limit} {promised} are promised to others meanwhile"),
            ));
        }
        state.coming.insert(database.as_str().to_owned(), Coming { connections, stage: Stage::Promised(asked) });
        Ok(())
    }

    /// PostgreSQL was told of a promise; with an error it may count it or not.
    pub fn told<T>(&self, database: &Identifier, result: &Result<T, Failure>) {
        if let Some(coming) = self.lock().coming.get_mut(database.as_str()) {
            let now = Instant::now();
            coming.stage = if result.is_ok() { Stage::Kept(now) } else { Stage::Reserved(now) };
        }
    }

    /// Asks the server next time.
    pub fn forget(&self) {
        self.lock().known = None;
    }

    fn fresh(&self) -> Option<Share> {
        let state = self.lock();
        let (_, answer) = state.known.filter(|(since, _)| since.elapsed() < FRESH_FOR)?;
        Some(share_of(&state, answer))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn share_of(state: &State, answer: Answer) -> Share {
    let coming = state.coming.iter().map(|(name, coming)| (name.clone(), coming.connections)).collect();
    Share { adopted: answer.adopted, promised: answer.promised, coming }
}
