//! The scopes of this service: what credentials permit.

use tenantry_kit::auth::Scope;

pub(super) const CAMPAIGNS_READ: Scope = Scope::new("campaigns:read", "read campaigns, also those that are not active");
pub(super) const CAMPAIGNS_WRITE: Scope = Scope::new("campaigns:write", "create and change campaigns");
pub(super) const PURCHASES_WRITE: Scope = Scope::new("purchases:write", "report purchases");
pub(super) const RECORDS_READ: Scope = Scope::new("records:read", "read one's own position");
pub(super) const RECORDS_READ_ALL: Scope = Scope::new("records:read:all", "read every user's position");
