//! Plans, as specifications: golden files of what is done when, and properties that hold whatever happens, tried on a model
//! of a cluster and a PostgreSQL server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod admission;
mod adoption;
mod auth;
mod autoscaling;
mod convergence;
mod doors;
mod egress;
mod fixtures;
mod golden;
mod monitoring;
mod network;
mod placement;
mod quota;
mod reports;
mod retention;
mod rollout;
mod rotation;
mod servers;
mod side_doors;
mod teardown;
mod typed;
mod user_credentials;
mod world;
