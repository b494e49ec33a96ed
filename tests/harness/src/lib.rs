//! Starts the real parts that tests need, one module each. Whatever is started here ends with the test process, however
//! that ends: see [`janitor`].

pub mod authority;
pub mod chromedriver;
pub mod control_plane;
pub mod issuer;
pub mod janitor;
pub mod manifests;
pub mod metrics;
pub mod network;
pub mod node;
pub mod operator;
pub mod postgres;
pub mod process;
pub mod stalling_proxy;
pub mod step_gate;
pub mod valkey;
