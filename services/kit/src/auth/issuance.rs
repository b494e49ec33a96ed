//! The rules by which credentials are made: nobody gives away what he does not have, or for longer than he has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::principal::insufficient;
use super::{ApiKeys, KEYS_MANAGE, Principal, Scopes, TrialTokens, insufficient_scope};
use crate::problem::{INVALID_BODY, Problem};
use crate::time::UtcDateTime;

/// What the operations need that make credentials.
#[derive(Debug)]
pub struct Issuance {
    pub(super) api_keys: ApiKeys,
    pub(super) trial_tokens: Arc<TrialTokens>,
    /// The scopes that the service's operations know.
    known: BTreeSet<&'static str>,
}

impl Issuance {
    /// For a service whose operations know these scopes ([`crate::http::Operations::scopes`]).
    pub fn new(api_keys: ApiKeys, trial_tokens: Arc<TrialTokens>, known: BTreeSet<&'static str>) -> Self {
        Self { api_keys, trial_tokens, known }
    }

    /// The scopes that a maker may give away, of those that he asks for.
    pub(super) fn grant(&self, maker: &Principal, asked: &[String]) -> Result<Scopes, Problem> {
        if asked.is_empty() {
            return Err(invalid("/scopes", format!("name at least one scope, of: {}", self.names())));
        }
        for (index, scope) in asked.iter().enumerate() {
            if !self.known.contains(scope.as_str()) {
                return Err(invalid(&format!("/scopes/{index}"), format!("there is no such scope; there are: {}", self.names())));
            }
        }
        match asked.iter().find(|scope| !maker.has_named(scope)) {
            Some(lacking) => {
                let detail = format!(
                    "the credential lacks the scope {lacking} itself, so it cannot give it away: leave it out, or use one that has it"
                );
                Err(insufficient(&[lacking], detail))
            }
            None => Ok(asked.iter().map(String::as_str).collect()),
        }
    }

    fn names(&self) -> String {
        self.known.iter().copied().collect::<Vec<_>>().join(", ")
    }
}

/// Refuses an end that has passed, or is later than the maker's own.
pub(super) fn check_end(maker: &Principal, end: Option<UtcDateTime>, now: UtcDateTime) -> Result<(), Problem> {
    if end.is_some_and(|end| end <= now) {
        return Err(invalid("/expiresAt", "this time has passed: write a later one, or leave it out for a key without an end".to_owned()));
    }
    match maker_end(maker) {
        Some(latest) if end.is_none_or(|end| end > latest) => {
            Err(invalid("/expiresAt", format!("the key that makes this one ends at {latest}: write that time or an earlier one")))
        }
        _ => Ok(()),
    }
}

/// For how long a token may be valid that is to be so for `asked`.
pub(super) fn validity(maker: &Principal, asked: Duration, now: UtcDateTime) -> Duration {
    let left = |end: UtcDateTime| Duration::from_micros((end.unix_micros() - now.unix_micros()).try_into().unwrap_or(0));
    maker_end(maker).map_or(asked, |end| asked.min(left(end)))
}

/// A token for trials makes no credentials: it would outlive itself.
pub(super) fn refuse_lasting_trials(scopes: &Scopes) -> Result<(), Problem> {
    if scopes.contains(KEYS_MANAGE.name()) {
        let detail = "a token for trials cannot have the scope keys:manage, since the keys that it makes would outlive it: make an API key";
        return Err(insufficient_scope(&[KEYS_MANAGE], detail));
    }
    Ok(())
}

fn maker_end(maker: &Principal) -> Option<UtcDateTime> {
    match maker {
        Principal::ApiKey { expires_at, .. } => *expires_at,
        // an issuer's token is short-lived because it is carried about, not because its holder is trusted for minutes
        Principal::SlotToken | Principal::Issued { .. } | Principal::Trial { .. } => None,
    }
}

pub(super) fn invalid(pointer: &str, detail: String) -> Problem {
    Problem::new(INVALID_BODY, format!("{pointer}: {detail}")).with_error(pointer, detail)
}
