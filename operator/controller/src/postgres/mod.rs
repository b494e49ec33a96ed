//! Talking to PostgreSQL servers: bounded connections, time limits on everything, and names that cannot break out of a
//! statement. Used by `observe::postgres` and `apply::postgres`.

mod budget;
mod pulse;
mod servers;
mod session;
mod sql;

pub use servers::{Lent, Server, Servers};
pub use session::Session;
pub use sql::{Identifier, Literal, list};
