//! Users as the shop tells of them.

use std::collections::BTreeMap;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use tenantry_kit::http::JsonBody;
use tenantry_kit::problem::Problem;
use utoipa::ToSchema;

use super::ApiState;
use super::problems::INVALID_USERS;
use crate::domain::{UserId, UserName};

/// The most users in one batch.
const MOST_USERS: usize = 10_000;

/// A batch of users.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UsersBody {
    /// At most 10,000. Of a user who is there twice, the last counts.
    #[schema(max_items = 10_000)]
    users: Vec<UserBody>,
}

/// A user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = User)]
struct UserBody {
    /// Who.
    user_id: UserId,
    /// The name that leaderboards show, 1 to 100 characters on one line; `null` to forget it.
    // Named here, it is required: forgetting takes more than leaving out.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    name: Option<String>,
}

/// Tells the names of users.
///
/// For leaderboards, which show them within half a minute. The batch is taken whole or not at all; it can be repeated.
#[utoipa::path(
    put, path = "/users", tag = "users", operation_id = "putUsers", request_body = UsersBody,
    responses((status = 204, description = "The names are known.")),
)]
pub(super) async fn put(State(api): State<ApiState>, JsonBody(body): JsonBody<UsersBody>) -> Result<StatusCode, Problem> {
    if body.users.len() > MOST_USERS {
        let detail = format!("a batch has at most {MOST_USERS} users: send several");
        return Err(Problem::new(INVALID_USERS, detail.clone()).with_error("/users", detail));
    }
    let mut users = BTreeMap::new();
    for (index, UserBody { user_id, name }) in body.users.into_iter().enumerate() {
        let name = name.map(UserName::try_from).transpose().map_err(|error| {
            let detail = error.to_string();
            Problem::new(INVALID_USERS, detail.clone()).with_error(format!("/users/{index}/name"), detail)
        })?;
        users.insert(user_id, name);
    }
    api.store.put_users(&users).await?;
    Ok(StatusCode::NO_CONTENT)
}
