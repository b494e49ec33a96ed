//! What must run to be believed: a whole Tenantry on a real node. Started by `cargo xtask test node`.
//!
//! The tests share one PostgreSQL and one operator, and two of them stop these: they take [`PLATFORM`], shared or alone.

mod api;
mod e2e_autoscaling;
mod e2e_bad_image;
mod e2e_credential_rotation;
mod e2e_isolation;
mod e2e_issuers;
mod e2e_monitoring;
mod e2e_network_isolated;
mod e2e_prizes;
mod e2e_release_change;
mod e2e_second_service;
mod e2e_tenants_are_separate;
mod fault_operator_killed;
mod fault_postgres_restarted;
mod group;
mod load;
mod outside;
mod surroundings;

use tokio::sync::RwLock;

/// Held for reading by tests that need the platform whole, for writing by those that break it.
static PLATFORM: RwLock<()> = RwLock::const_new(());
