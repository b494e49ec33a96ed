//! The slot's Valkey, as a cache that may be lost at any moment: a failure is a miss, counted and logged, and after one the cache
//! is left alone for a second, so that a dead one costs a caller nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError};
use tenantry_contract::{CacheConfiguration, paths};

use crate::credentials::{CredentialError, CredentialFile};
use crate::telemetry::Metrics;

/// The longest that an operation may take before it counts as a miss.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(50);
/// How long the cache is left alone after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the password's file is looked at.
const CREDENTIAL_INTERVAL: Duration = Duration::from_secs(2);

/// A cache of bytes by key. Clones share it.
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
    _watch: Arc<Watch>,
}

/// Why a cache cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file with the password cannot be read.
    #[error("the cache's password cannot be read: {0}")]
    Credential(#[from] CredentialError),
    /// Host or port make no address.
    #[error("the cache's address is not valid: {0}")]
    Address(#[source] RedisError),
}

struct Inner {
    host: String,
    port: u16,
    key_prefix: String,
    password: CredentialFile,
    connection: ArcSwap<ConnectionManager>,
    epoch: Instant,
    /// Milliseconds after `epoch` until which the cache is left alone.
    paused_until: AtomicU64,
    counters: Counters,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cache").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Watch(tokio::task::JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug, Clone, Default)]
struct Counters {
    hits: Counter,
    misses: Counter,
    failures: Counter,
}

impl Cache {
    /// Prepares the cache; connects with its first use. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// When the password's file cannot be read.
    pub fn connect_lazily(configuration: &CacheConfiguration, credential_directory: &Path, metrics: &Metrics) -> Result<Self, CacheError> {
        let password = CredentialFile::open(credential_directory.join(paths::PASSWORD))?;
        let connection = connect(&configuration.host, configuration.port, password.current().expose())?;
        let inner = Arc::new(Inner {
            host: configuration.host.clone(),
            port: configuration.port,
            key_prefix: configuration.key_prefix.clone(),
            password,
            connection: ArcSwap::from_pointee(connection),
            epoch: Instant::now(),
            paused_until: AtomicU64::new(0),
            counters: Counters::register(metrics),
        });
        let watch = tokio::spawn(watch(Arc::clone(&inner)));
        Ok(Self { inner, _watch: Arc::new(Watch(watch)) })
    }

    /// What is stored under `key`; `None` also when the cache does not answer in time.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let key = self.inner.key(key);
        let value: Option<Option<Vec<u8>>> = self.inner.attempt(async |mut connection| connection.get(key).await).await;
        let counters = &self.inner.counters;
        match value.flatten() {
            Some(value) => {
                counters.hits.inc();
                Some(value)
            }
            None => {
                counters.misses.inc();
                None
            }
        }
    }

    /// Stores `value` under `key` for `time_to_live` (at least a millisecond), if the cache answers in time.
    pub async fn set(&self, key: &str, value: &[u8], time_to_live: Duration) {
        let key = self.inner.key(key);
        let milliseconds = u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX).max(1);
        let _: Option<()> = self.inner.attempt(async |mut connection| connection.pset_ex(key, value, milliseconds).await).await;
    }

    /// Forgets `key`, if the cache answers in time; otherwise it stays until its time to live has passed.
    pub async fn remove(&self, key: &str) {
        let key = self.inner.key(key);
        let _: Option<()> = self.inner.attempt(async |mut connection| connection.del(key).await).await;
    }
}

impl Inner {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.key_prefix)
    }

    /// Runs an operation, unless the cache is left alone; `None` for every failure.
    async fn attempt<T>(&self, operation: impl AsyncFnOnce(ConnectionManager) -> Result<T, RedisError>) -> Option<T> {
        let elapsed = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        if elapsed < self.paused_until.load(Ordering::Relaxed) {
            return None;
        }
        let connection = ConnectionManager::clone(&self.connection.load());
        let reason = match tokio::time::timeout(OPERATION_TIMEOUT, operation(connection)).await {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", OPERATION_TIMEOUT.as_millis()),
        };
        self.counters.failures.inc();
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
        self.paused_until.store(elapsed.saturating_add(pause), Ordering::Relaxed);
        tracing::warn!(reason, "the cache is not available; going on without it");
        None
    }

    /// Takes over a changed password.
    fn renew(&self) -> Result<(), CacheError> {
        if self.password.reload()? {
            let connection = connect(&self.host, self.port, self.password.current().expose())?;
            self.connection.store(Arc::new(connection));
            self.paused_until.store(0, Ordering::Relaxed);
            tracing::info!("the cache's password has changed");
        }
        Ok(())
    }
}

impl Counters {
    fn register(metrics: &Metrics) -> Self {
        let counters = Self::default();
        metrics.register(|registry| {
            registry.register("cache_hits", "Reads that the cache answered", counters.hits.clone());
            registry.register("cache_misses", "Reads that the cache did not answer", counters.misses.clone());
            registry.register("cache_failures", "Operations that failed or took too long", counters.failures.clone());
        });
        counters
    }
}

fn connect(host: &str, port: u16, password: &str) -> Result<ConnectionManager, CacheError> {
    let connection = ConnectionAddr::Tcp(host.to_owned(), port)
        .into_connection_info()
        .map_err(CacheError::Address)?
        .set_redis_settings(RedisConnectionInfo::default().set_password(password));
    let client = redis::Client::open(connection).map_err(CacheError::Address)?;
    let configuration = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(OPERATION_TIMEOUT))
        .set_response_timeout(Some(OPERATION_TIMEOUT))
        .set_number_of_retries(0);
    ConnectionManager::new_lazy_with_config(client, configuration).map_err(CacheError::Address)
}

async fn watch(inner: Arc<Inner>) {
    let mut interval = tokio::time::interval(CREDENTIAL_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = inner.renew() {
            tracing::warn!(%error, "the cache's password cannot be read; the one known stays in use");
        }
    }
}
