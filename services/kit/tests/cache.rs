//! The cache: what it cannot answer is a miss, and costs next to nothing.

use std::time::{Duration, Instant};

use tenantry_contract::CacheConfiguration;
use tenantry_harness::valkey::ValkeyServer;
use tenantry_kit::cache::Cache;
use tenantry_kit::telemetry::Metrics;

use crate::fixture::eventually;

const MINUTE: Duration = Duration::from_secs(60);

fn connect(server: &ValkeyServer, credentials: &std::path::Path, key_prefix: &str) -> Cache {
    std::fs::write(credentials.join("password"), server.password()).unwrap();
    let key_prefix = key_prefix.to_owned();
    let configuration = CacheConfiguration { host: server.host().to_owned(), port: server.port(), key_prefix };
    Cache::connect_lazily(&configuration, credentials, &Metrics::new()).unwrap()
}

async fn works(cache: &Cache) -> bool {
    cache.set("key", b"value", MINUTE).await;
    cache.get("key").await.as_deref() == Some(b"value")
}

#[tokio::test]
async fn values_are_kept_by_prefix_and_until_their_time_is_over() {
    let server = ValkeyServer::start().unwrap();
    let credentials = tempfile::tempdir().unwrap();
    let cache = connect(&server, credentials.path(), "campaigns:");
    let other = connect(&server, credentials.path(), "other:");
    eventually("the cache works", async || works(&cache).await).await;
    assert_eq!(other.get("key").await, None);
    cache.remove("key").await;
    assert_eq!(cache.get("key").await, None);
    cache.set("brief", b"value", Duration::from_millis(1)).await;
    eventually("the value is gone", async || cache.get("brief").await.is_none()).await;
}

#[tokio::test]
async fn a_dead_cache_is_a_miss_that_costs_nothing_and_a_returned_one_is_used_again() {
    let server = ValkeyServer::start().unwrap();
    let credentials = tempfile::tempdir().unwrap();
    let cache = connect(&server, credentials.path(), "campaigns:");
    eventually("the cache works", async || works(&cache).await).await;
    server.stop().unwrap();
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(cache.get("key").await, None);
    }
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    server.start_again().unwrap();
    eventually("the cache works again", async || works(&cache).await).await;
}

#[tokio::test]
async fn a_changed_password_is_taken_over() {
    let server = ValkeyServer::start().unwrap();
    let credentials = tempfile::tempdir().unwrap();
    let cache = connect(&server, credentials.path(), "campaigns:");
    eventually("the cache works", async || works(&cache).await).await;
    server.change_password().unwrap();
    std::fs::write(credentials.path().join("password"), server.password()).unwrap();
    eventually("the cache works with the new password", async || works(&cache).await).await;
}
