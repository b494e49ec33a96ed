//! Campaigns against real servers, and as real processes: one test binary, a module for each subject.

#![allow(clippy::unwrap_used, reason = "in a test, what is not expected ends it; clippy sees only functions marked as tests")]

mod api_access;
mod api_bad_input;
mod api_batches;
mod api_campaigns;
mod api_catalogue;
mod api_client;
mod api_event_streams;
mod api_gathering;
mod api_items;
mod api_leaderboards;
mod api_purchases;
mod api_rates;
mod api_records;
mod api_shutdown;
mod api_status;
mod browser;
mod catalogue_model;
mod fixture;
mod import_file;
mod live_standings;
mod migration;
mod observed;
mod page_leaderboards;
mod page_status;
mod payments;
mod payments_killed;
mod payments_tls;
mod processing;
mod rates_model;
mod receiver;
mod worker_clock;
mod worker_completion;
mod worker_killed;
mod worker_killed_at_each_write;
mod worker_late;
mod worker_lifecycle;
mod worker_outage;
mod worker_rates;
mod worker_results;
mod worker_retention;
mod worker_shared;
