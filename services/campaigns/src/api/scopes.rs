//! The scopes of this service: what credentials permit.

use tenantry_kit::auth::{Principal, Scope, insufficient_scope};
use tenantry_kit::problem::Problem;

use crate::domain::UserId;

pub(super) const CAMPAIGNS_READ: Scope =
    Scope::new("campaigns:read", "read items, campaigns, also those that are not active, who won them, and exchange rates");
pub(super) const CAMPAIGNS_WRITE: Scope = Scope::new("campaigns:write", "put items, and create, change and cancel campaigns");
pub(super) const PURCHASES_WRITE: Scope = Scope::new("purchases:write", "report purchases");
pub(super) const RATES_WRITE: Scope =
    Scope::new("rates:write", "put exchange rates, and read those that are there and those that are missing");
pub(super) const USERS_WRITE: Scope = Scope::new("users:write", "put the names that leaderboards show");
pub(super) const RECORDS_READ: Scope = Scope::new("records:read", "read and watch one's own position");
pub(super) const RECORDS_READ_ALL: Scope = Scope::new("records:read:all", "read and watch every user's position");
pub(super) const OPERATIONS_READ: Scope = Scope::new(
    "operations:read",
    "read how the service is doing, which purchases do not count and why, and which exchange rates are missing",
);
pub(super) const PAYMENTS_READ: Scope = Scope::new("payments:read", "read which payments of prizes are tried no more, and why");
pub(super) const PAYMENTS_WRITE: Scope =
    Scope::new("payments:write", "have prizes paid that are held, and payments tried again that are tried no more");

/// The user that a credential names.
pub(super) fn own_user(principal: &Principal) -> Result<UserId, Problem> {
    let detail = match principal.user_id().map(str::parse::<UserId>) {
        Some(Ok(own)) => return Ok(own),
        Some(Err(_)) => "the credential names a user whose id is none of this shop's: it must be a decimal number",
        None => "the credential names no user, whose own position this would be",
    };
    Err(all_needed(detail))
}

/// Refuses to tell of others whoever may only ask for himself.
pub(super) fn require_own_or_all(principal: &Principal, user_id: UserId) -> Result<(), Problem> {
    if principal.has(RECORDS_READ_ALL) {
        return Ok(());
    }
    let own = own_user(principal)?;
    if own == user_id {
        return Ok(());
    }
    Err(all_needed(&format!("the credential is user {own}'s, who may read the own position alone: ask for that of user {own}")))
}

fn all_needed(detail: &str) -> Problem {
    insufficient_scope(&[RECORDS_READ_ALL], format!("{detail}; or use one with the scope {}", RECORDS_READ_ALL.name()))
}
