//! Kit against real servers: one test binary, a module for each subject.

#![allow(clippy::unwrap_used, reason = "in a test, what is not expected ends it; clippy sees only functions marked as tests")]

mod auth_credentials;
mod auth_tokens;
mod auth_validity;
mod cache;
mod database;
mod fixture;
mod http_requests;
mod http_server;
mod migration;
mod queue_answer;
mod queue_consumer;
mod queue_dead_letters;
mod queue_enqueue;
mod queue_interleaved;
mod queue_killed;
mod queue_lock;
mod queue_model;
mod queue_observed;
mod queue_scale;
mod stream_append;
mod stream_consumer;
mod stream_retention;
mod stream_tail;
