//! Plans, as specifications: golden files of what is done when, and properties that hold whatever happens, tried on a model
//! of a cluster and a PostgreSQL server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod admission;
mod convergence;
mod fixtures;
mod golden;
mod reports;
mod rollout;
mod teardown;
mod typed;
mod world;
