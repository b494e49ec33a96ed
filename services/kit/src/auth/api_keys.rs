//! API keys of machines, in a table of the service's schema. A request with one is looked up in a cache of seconds, so that a key
//! that is revoked ends within [`ApiKeys::REVOKED_WITHIN`] on every replica.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::api_key::ApiKey;
use super::validity::LOOK_INTERVAL;
use super::{Principal, Refusal, Scopes};
use crate::credentials::Secret;
use crate::database::{Database, DatabaseError};
use crate::time::UtcDateTime;

/// How long a key that was looked up is taken for what it was.
const CACHED_FOR: Duration = Duration::from_millis(1500);
/// Lookups at once. Whoever sends keys that he made up can take no more of the database than this.
const LOOKUPS: usize = 4;
/// The most keys that the cache holds, unknown ones included.
const CACHED: usize = 1024;

/// A key to make.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What it is for, in people's words.
    pub name: String,
    /// What it permits.
    pub scopes: Scopes,
    /// When it ends; never, when this is absent.
    pub expires_at: Option<UtcDateTime>,
    /// Who makes it: a [`Principal::subject`].
    pub made_by: String,
}

/// What is known of a key. Its secret is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id, which is part of the key.
    pub id: Uuid,
    /// What it is for, in people's words.
    pub name: String,
    /// What it permits.
    pub scopes: Scopes,
    /// Who made it.
    pub made_by: String,
    /// When it was made.
    pub made_at: UtcDateTime,
    /// When it ends.
    pub expires_at: Option<UtcDateTime>,
}

/// Why keys cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The database's.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// There are as many as there may be.
    #[error("there are {} API keys, which is the most: revoke those that are not used", ApiKeys::MOST)]
    TooMany,
}

impl From<sqlx::Error> for ApiKeyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// The API keys of a service. Clones share the cache.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    database: Database,
    cache: Arc<Mutex<HashMap<Uuid, Cached>>>,
    lookups: Arc<Semaphore>,
}

/// A key as it was found, or that there was none.
#[derive(Debug, Clone)]
struct Cached {
    found: Option<Arc<Found>>,
    at: Instant,
}

#[derive(Debug)]
struct Found {
    hash: Vec<u8>,
    scopes: Scopes,
    expires_at: Option<UtcDateTime>,
}

impl ApiKeys {
    /// How long a revoked key goes on working, at most, for answers that go on too ([`super::Validity`]): two seconds.
    pub const REVOKED_WITHIN: Duration = CACHED_FOR.saturating_add(LOOK_INTERVAL);
    /// How many keys a service may have.
    pub const MOST: i64 = 1000;

    /// The keys in this database.
    pub fn new(database: Database) -> Self {
        Self { database, cache: Arc::default(), lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// The time that decides whether a key has expired.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn now(&self) -> Result<UtcDateTime, DatabaseError> {
        self.database.now().await
    }

    /// Makes a key, and gives it this once.
    ///
    /// # Errors
    /// When there are too many, or the database does not answer.
    pub async fn make(&self, new: NewApiKey) -> Result<(ApiKeyRecord, Secret), ApiKeyError> {
        let NewApiKey { name, scopes, expires_at, made_by } = new;
        let key = ApiKey::generate();
        // Several at once may come to some more than the most, which bounds the table all the same.
        let made_at: Option<UtcDateTime> = sqlx::query_scalar(
            "INSERT INTO api_keys (id, name, secret_sha256, scopes, made_by, expires_at)
             SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM api_keys) < $7 RETURNING made_at",
        )
        .bind(key.id)
        .bind(&name)
        .bind(key.hash())
        .bind(scopes.to_vec())
        .bind(&made_by)
        .bind(expires_at)
        .bind(Self::MOST)
        .fetch_optional(&mut *self.database.acquire().await?)
        .await?;
        let made_at = made_at.ok_or(ApiKeyError::TooMany)?;
        Ok((ApiKeyRecord { id: key.id, name, scopes, made_by, made_at, expires_at }, key.text()))
    }

    /// All keys, the latest first; expired ones too, until they are revoked.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list(&self) -> Result<Vec<ApiKeyRecord>, DatabaseError> {
        type Row = (Uuid, String, Vec<String>, String, UtcDateTime, Option<UtcDateTime>);
        let rows: Vec<Row> =
            sqlx::query_as("SELECT id, name, scopes, made_by, made_at, expires_at FROM api_keys ORDER BY made_at DESC, id DESC")
                .fetch_all(&mut *self.database.acquire().await?)
                .await?;
        let record = |(id, name, scopes, made_by, made_at, expires_at): Row| ApiKeyRecord {
            id,
            name,
            scopes: scopes.into_iter().collect(),
            made_by,
            made_at,
            expires_at,
        };
        Ok(rows.into_iter().map(record).collect())
    }

    /// Revokes a key: at once here, elsewhere within [`Self::REVOKED_WITHIN`]. Whether there was one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn revoke(&self, id: Uuid) -> Result<bool, DatabaseError> {
        let deleted = sqlx::query("DELETE FROM api_keys WHERE id = $1").bind(id).execute(&mut *self.database.acquire().await?).await?;
        self.cache().insert(id, Cached { found: None, at: Instant::now() });
        Ok(deleted.rows_affected() > 0)
    }

    /// Who has a key.
    ///
    /// # Errors
    /// When it is none that is valid, or the database does not answer.
    pub(super) async fn authenticate(&self, text: &str) -> Result<Principal, Refusal> {
        let key = ApiKey::parse(text).ok_or(Refusal::ApiKey)?;
        let found = self.find(key.id).await.map_err(|error| {
            tracing::warn!(%error, "an API key cannot be looked up");
            Refusal::Unavailable
        })?;
        let found = found.filter(|found| key.has_hash(&found.hash)).ok_or(Refusal::ApiKey)?;
        Ok(Principal::ApiKey { id: key.id, scopes: found.scopes.clone(), expires_at: found.expires_at })
    }

    async fn find(&self, id: Uuid) -> Result<Option<Arc<Found>>, DatabaseError> {
        if let Some(cached) = self.cached(id) {
            return Ok(cached.found);
        }
        let Ok(_place) = self.lookups.acquire().await else { return Ok(None) };
        // whoever waited may find what another has looked up meanwhile
        if let Some(cached) = self.cached(id) {
            return Ok(cached.found);
        }
        let at = Instant::now();
        let found = look_up(&mut *self.database.acquire().await?, id).await?.map(Arc::new);
        self.remember(id, Cached { found: found.clone(), at });
        Ok(found)
    }

    fn cached(&self, id: Uuid) -> Option<Cached> {
        self.cache().get(&id).filter(|cached| cached.is_fresh()).cloned()
    }

    fn remember(&self, id: Uuid, cached: Cached) {
        let mut cache = self.cache();
        if cache.len() >= CACHED {
            cache.retain(|_, cached| cached.is_fresh());
        }
        if cache.len() >= CACHED {
            cache.clear();
        }
        // a revocation that came while this was looked up is the later truth
        if cache.get(&id).is_none_or(|known| known.at <= cached.at) {
            cache.insert(id, cached);
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Cached>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < CACHED_FOR
    }
}

async fn look_up(connection: &mut PgConnection, id: Uuid) -> Result<Option<Found>, sqlx::Error> {
    let row: Option<(Vec<u8>, Vec<String>, Option<UtcDateTime>)> = sqlx::query_as(
        "SELECT secret_sha256, scopes, expires_at FROM api_keys
         WHERE id = $1 AND (expires_at IS NULL OR expires_at > tenantry_now())",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(hash, scopes, expires_at)| Found { hash, scopes: scopes.into_iter().collect(), expires_at }))
}
