//! Observe: what is there, as the plain facts that a plan is made from. Reads the watch caches, Secrets by name, and the
//! PostgreSQL servers; changes nothing.

mod definitions;
mod group;
mod master_key;
mod postgres;
mod rollout;
mod secrets;
mod slot;
mod usage;

pub use group::group;
pub use master_key::MasterKeys;
pub use postgres::{DatabaseFactsCache, retained};
pub use rollout::TurnTimes;
pub use secrets::Secrets;
pub use slot::{database_inputs, isolation_of_slot, offers, server_of, servers, slot};
pub use usage::{users_of_class, users_of_release};
