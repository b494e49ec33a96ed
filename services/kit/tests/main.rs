//! Kit against real servers: one test binary, a module for each subject.

#![allow(clippy::unwrap_used, reason = "in a test, what is not expected ends it; clippy sees only functions marked as tests")]

mod cache;
mod database;
mod fixture;
mod http_requests;
mod http_server;
mod migration;
mod stream_append;
mod stream_consumer;
mod stream_retention;
