//! The operations by which administrators make credentials. A service adds them with
//! [`Operations::issuing_credentials`](crate::http::Operations::issuing_credentials).

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::UtoipaMethodRouter;
use uuid::Uuid;

use super::issuance::{Issuance, check_end, invalid, refuse_lasting_trials, validity};
use super::{ApiKeyError, ApiKeyRecord, NewApiKey, Principal, Trial, TrialTokens};
use crate::database::DatabaseError;
use crate::http::{JsonBody, PathParameters};
use crate::problem::{INTERNAL, INVALID_PARAMETER, Problem, TOO_MANY_API_KEYS, UNAVAILABLE, UNKNOWN_API_KEY};
use crate::time::UtcDateTime;

const MAX_NAME: usize = 100;
const MAX_USER_ID: usize = 200;
const MAX_SCOPES: usize = 64;
/// A secret is for whoever asked for it, and for no cache on the way.
const NO_STORE: &str = "no-store";

/// The operations, for handlers of any state.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> [UtoipaMethodRouter<S>; 3] {
    [utoipa_axum::routes!(make_key, list_keys), utoipa_axum::routes!(revoke_key), utoipa_axum::routes!(make_token)]
}

/// An API key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewApiKeyBody {
    /// What it is for, in people's words.
    #[schema(min_length = 1, max_length = 100, example = "till of the shop in Lyon")]
    name: String,
    /// What it permits: scopes that the caller has too.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Vec<String>,
    /// When it ends; never, when this is left out.
    expires_at: Option<UtcDateTime>,
}

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
struct ApiKeyBody {
    /// Its id, which stands in the key itself.
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    /// What it is for, in people's words.
    name: String,
    /// What it permits.
    scopes: Vec<String>,
    /// Who made it.
    made_by: String,
    /// When it was made.
    made_at: UtcDateTime,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<UtcDateTime>,
}

/// An API key that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewApiKeyAnswer)]
struct MadeApiKeyBody {
    #[serde(flatten)]
    record: ApiKeyBody,
    /// The key, `tk_<id>_<secret>`. It is shown this once and cannot be had again: keep it where secrets are kept.
    key: String,
}

/// All API keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKeys)]
struct ApiKeysBody {
    /// The latest first.
    keys: Vec<ApiKeyBody>,
}

/// A token for trials to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewTokenBody {
    /// What it permits: scopes that the caller has too, `keys:manage` apart.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Vec<String>,
    /// The user of the application that its holder is.
    #[schema(min_length = 1, max_length = 200)]
    user_id: Option<String>,
    /// How long it is valid.
    #[serde(default = "longest")]
    #[schema(minimum = 1, maximum = 3600, default = 3600)]
    expires_in_seconds: u32,
}

fn longest() -> u32 {
    TrialTokens::LONGEST.as_secs() as u32
}

/// A token for trials.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokenBody {
    /// For the header `Authorization: Bearer <token>`. It cannot be revoked, and ends by itself.
    token: String,
    /// When it ends.
    expires_at: UtcDateTime,
}

impl From<ApiKeyRecord> for ApiKeyBody {
    fn from(record: ApiKeyRecord) -> Self {
        let ApiKeyRecord { id, name, scopes, made_by, made_at, expires_at } = record;
        Self { id, name, scopes: scopes.to_vec(), made_by, made_at, expires_at }
    }
}

impl From<ApiKeyError> for Problem {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::TooMany => Problem::new(TOO_MANY_API_KEYS, error.to_string()),
            ApiKeyError::Database(error) => failed(&error),
        }
    }
}

fn failed(error: &DatabaseError) -> Problem {
    if error.is_unavailable() {
        tracing::warn!(%error, "API keys are not available");
        Problem::new(UNAVAILABLE, "the database is not available at the moment: send the request again").with_retry_after(1)
    } else {
        tracing::error!(%error, "API keys failed");
        Problem::new(INTERNAL, "the service has a defect; its logs have this request's id")
    }
}

/// Makes an API key.
///
/// For machines. The key is shown this once: of its secret only a hash is stored.
#[utoipa::path(
    post, path = "/api-keys", tag = "credentials", operation_id = "makeApiKey", request_body = NewApiKeyBody,
    responses((status = 201, description = "The key.", body = MadeApiKeyBody)),
)]
async fn make_key(
    Extension(issuance): Extension<Arc<Issuance>>,
    principal: Principal,
    JsonBody(body): JsonBody<NewApiKeyBody>,
) -> Result<Response, Problem> {
    let NewApiKeyBody { name, scopes, expires_at } = body;
    check_length("/name", &name, MAX_NAME)?;
    check_count(&scopes)?;
    let scopes = issuance.grant(&principal, &scopes)?;
    check_end(&principal, expires_at, issuance.api_keys.now().await.map_err(|error| failed(&error))?)?;
    let new = NewApiKey { name, scopes, expires_at, made_by: principal.subject() };
    let (record, key) = issuance.api_keys.make(new).await?;
    tracing::info!(id = %record.id, made_by = record.made_by, scopes = %record.scopes, "an API key is made");
    let body = MadeApiKeyBody { record: record.into(), key: key.expose().to_owned() };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, NO_STORE)], Json(body)).into_response())
}

/// Lists the API keys, without their secrets.
#[utoipa::path(
    get, path = "/api-keys", tag = "credentials", operation_id = "listApiKeys",
    responses((status = 200, description = "All keys, the latest first; expired ones too.", body = ApiKeysBody)),
)]
async fn list_keys(Extension(issuance): Extension<Arc<Issuance>>) -> Result<Json<ApiKeysBody>, Problem> {
    let records = issuance.api_keys.list().await.map_err(|error| failed(&error))?;
    Ok(Json(ApiKeysBody { keys: records.into_iter().map(ApiKeyBody::from).collect() }))
}

/// Revokes an API key.
///
/// It is refused within two seconds, wherever it is used. Keys that it made stay; tokens that it made end within the hour.
#[utoipa::path(
    delete, path = "/api-keys/{keyId}", tag = "credentials", operation_id = "revokeApiKey",
    params(("keyId" = String, Path, format = "uuid")),
    responses((status = 204, description = "It is revoked.")),
)]
async fn revoke_key(
    Extension(issuance): Extension<Arc<Issuance>>,
    principal: Principal,
    PathParameters(id): PathParameters<String>,
) -> Result<StatusCode, Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| Problem::new(INVALID_PARAMETER, "keyId is a UUID: see GET /api-keys"))?;
    if !issuance.api_keys.revoke(id).await.map_err(|error| failed(&error))? {
        return Err(Problem::new(UNKNOWN_API_KEY, "there is no API key with this id; it may be revoked already: see GET /api-keys"));
    }
    tracing::info!(%id, revoked_by = principal.subject(), "an API key is revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a token for trials.
///
/// For people who try the API: it permits what its maker says, for an hour at most, and can be made for a user.
#[utoipa::path(
    post, path = "/tokens", tag = "credentials", operation_id = "makeToken", request_body = NewTokenBody,
    responses((status = 201, description = "The token.", body = TokenBody)),
)]
async fn make_token(
    Extension(issuance): Extension<Arc<Issuance>>,
    principal: Principal,
    JsonBody(body): JsonBody<NewTokenBody>,
) -> Result<Response, Problem> {
    let NewTokenBody { scopes, user_id, expires_in_seconds } = body;
    if !(1..=longest()).contains(&expires_in_seconds) {
        return Err(invalid("/expiresInSeconds", format!("write a number from 1 to {}", longest())));
    }
    if let Some(user_id) = &user_id {
        check_length("/userId", user_id, MAX_USER_ID)?;
    }
    check_count(&scopes)?;
    let scopes = issuance.grant(&principal, &scopes)?;
    refuse_lasting_trials(&scopes)?;
    let valid_for = validity(&principal, Duration::from_secs(expires_in_seconds.into()), UtcDateTime::now());
    let made_by = principal.subject();
    tracing::info!(made_by, %scopes, for_a_user = user_id.is_some(), "a token for trials is made");
    let (token, expires_at) = issuance.trial_tokens.make(Trial { made_by, user_id, scopes, valid_for }).map_err(|error| {
        tracing::error!(%error, "a token cannot be signed");
        Problem::new(INTERNAL, "the service has a defect; its logs have this request's id")
    })?;
    let body = TokenBody { token: token.expose().to_owned(), expires_at };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, NO_STORE)], Json(body)).into_response())
}

fn check_length(pointer: &str, text: &str, most: usize) -> Result<(), Problem> {
    let length = text.chars().count();
    // PostgreSQL's text has no zero byte
    let is_plain = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if is_plain && length <= most {
        return Ok(());
    }
    Err(invalid(pointer, format!("write 1 to {most} characters, not only spaces, and no control characters")))
}

fn check_count(scopes: &[String]) -> Result<(), Problem> {
    if scopes.len() <= MAX_SCOPES {
        return Ok(());
    }
    Err(invalid("/scopes", format!("name at most {MAX_SCOPES} scopes")))
}
