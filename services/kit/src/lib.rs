//! What every service shares, so that a service is its domain and little else: the command line and configuration
//! ([`service`], [`configuration`]), credentials as files ([`credentials`]), the HTTP server with health, metrics, limits and
//! problem details ([`http`], [`problem`], [`auth`]), the database with migrations, streams, queues and group commit ([`database`],
//! [`migration`], [`stream`], [`queue`], [`group_commit`]), the cache ([`cache`]), webhooks ([`webhook`]), telemetry, shutdown, and the value types that all APIs write alike ([`money`],
//! [`time`], [`date`], [`id`]).

pub mod auth;
pub mod cache;
pub mod configuration;
pub mod credentials;
pub mod currency;
pub mod database;
pub mod date;
pub mod group_commit;
pub mod http;
pub mod id;
mod json_pointer;
pub mod migration;
pub mod money;
pub mod problem;
pub mod queue;
pub mod service;
pub mod shutdown;
pub mod stream;
pub mod telemetry;
pub mod time;
pub mod webhook;
