//! The items of the shop's catalogue, to which campaigns refer.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use tenantry_kit::http::{EntityTag, IfMatch, JsonBody, PageLimit, PathParameters, QueryParameters};
use tenantry_kit::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::problems::unknown_item;
use crate::domain::{Item, ItemId, ItemName};
use crate::store::ItemUpdate;

type Limit = PageLimit<100, 1000>;

/// What an item is called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutItemBody {
    /// Its name for people. The pages of leaderboards show it to everybody.
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "Green apples, 1 kg")]
    name: ItemName,
}

/// An item.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Item)]
pub(super) struct ItemBody {
    item_id: ItemId,
    /// Its name for people.
    #[schema(value_type = String)]
    name: ItemName,
}

impl ItemBody {
    fn of(item: Item) -> (EntityTag, Json<Self>) {
        let Item { id, name, version } = item;
        (EntityTag::new(version), Json(Self { item_id: id, name }))
    }
}

/// A page of items.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ItemsBody {
    items: Vec<ItemBody>,
    /// What to send as `after` for the next page; not there at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<ItemId>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ItemsQuery {
    /// Only items with a greater id.
    after: Option<ItemId>,
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
}

/// Creates an item under the shop's id, or gives it another name.
///
/// The same request can be repeated. With `If-Match` it is done only to the version that was read.
#[utoipa::path(
    put, path = "/items/{itemId}", tag = "items", operation_id = "putItem", request_body = PutItemBody,
    params(("itemId" = ItemId, Path), ("If-Match" = Option<String>, Header, description = "The ETag of the version to change.")),
    responses(
        (status = 200, description = "It has the name.", body = ItemBody, headers(("ETag" = String, description = "Its version."))),
        (status = 201, description = "It is created.", body = ItemBody, headers(("ETag" = String, description = "Its version."))),
    ),
)]
pub(super) async fn put(
    State(api): State<ApiState>,
    PathParameters(id): PathParameters<ItemId>,
    condition: IfMatch,
    JsonBody(body): JsonBody<PutItemBody>,
) -> Result<Response, Problem> {
    let refuse = |current: Option<&Item>| match current {
        Some(item) => {
            let tag = EntityTag::new(item.version);
            (!condition.holds_for(&tag)).then(|| IfMatch::failed(&tag))
        }
        None => condition.is_given().then(|| unknown_item(id)),
    };
    match api.store.put_item(id, &body.name, refuse).await? {
        ItemUpdate::Created(item) => {
            Ok((StatusCode::CREATED, [(header::LOCATION, format!("/items/{id}"))], ItemBody::of(item)).into_response())
        }
        ItemUpdate::Changed(item) => Ok(ItemBody::of(item).into_response()),
        ItemUpdate::Refused(problem) => Err(problem),
    }
}

/// Reads one item.
#[utoipa::path(
    get, path = "/items/{itemId}", tag = "items", operation_id = "readItem",
    params(("itemId" = ItemId, Path)),
    responses((status = 200, description = "The item.", body = ItemBody, headers(("ETag" = String, description = "Its version.")))),
)]
pub(super) async fn read(State(api): State<ApiState>, PathParameters(id): PathParameters<ItemId>) -> Result<Response, Problem> {
    let item = api.store.item(id).await?.ok_or_else(|| unknown_item(id))?;
    Ok(ItemBody::of(item).into_response())
}

/// Lists items in the order of their ids.
#[utoipa::path(
    get, path = "/items", tag = "items", operation_id = "listItems", params(ItemsQuery),
    responses((status = 200, description = "A page.", body = ItemsBody)),
)]
pub(super) async fn list(
    State(api): State<ApiState>,
    QueryParameters(query): QueryParameters<ItemsQuery>,
) -> Result<Json<ItemsBody>, Problem> {
    let (items, next) = query.limit.page(api.store.items(query.after, query.limit.rows()).await?, |item| item.id);
    Ok(Json(ItemsBody { items: items.into_iter().map(|Item { id, name, .. }| ItemBody { item_id: id, name }).collect(), next }))
}
