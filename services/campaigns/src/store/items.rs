//! The items' SQL. An item is never deleted: once it was seen, a campaign can refer to it.

use sqlx::PgConnection;

use super::rows::{invalid, item_id};
use super::{Store, StoreError};
use crate::domain::{Item, ItemId, ItemName};

/// What came of putting an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemUpdate<R> {
    /// It was not there before.
    Created(Item),
    /// It is so now.
    Changed(Item),
    /// The caller has refused the version that is there.
    Refused(R),
}

impl Store {
    /// An item.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        select(&mut *self.database.acquire().await?, id).await
    }

    /// Items in the order of their ids, after this one: at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn items(&self, after: Option<ItemId>, limit: u32) -> Result<Vec<Item>, StoreError> {
        let mut connection = self.database.acquire().await?;
        let rows: Vec<(i64, String, i64)> = sqlx::query_as("SELECT id, name, version FROM items WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after.map_or(0, ItemId::get))
            .bind(i64::from(limit))
            .fetch_all(&mut *connection)
            .await?;
        rows.into_iter().map(item).collect()
    }

    /// The name of an item that a campaign refers to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn item_name(&self, id: ItemId) -> Result<ItemName, StoreError> {
        Ok(self.item(id).await?.ok_or(sqlx::Error::RowNotFound)?.name)
    }

    /// The names of items that campaigns refer to, in this order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn item_names(&self, ids: impl IntoIterator<Item = ItemId>) -> Result<Vec<ItemName>, StoreError> {
        let ids: Vec<i64> = ids.into_iter().map(ItemId::get).collect();
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, place) JOIN items USING (id) ORDER BY place",
        )
        .bind(&ids)
        .fetch_all(&mut *self.database.acquire().await?)
        .await?;
        names.iter().map(|name| item_name(name)).collect()
    }

    /// Creates an item, or gives it another name, unless `refuse` refuses what is there. With the name that it has, it stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_item<R>(
        &self,
        id: ItemId,
        name: &ItemName,
        refuse: impl FnOnce(Option<&Item>) -> Option<R>,
    ) -> Result<ItemUpdate<R>, StoreError> {
        let mut transaction = self.database.begin().await?;
        let created: Option<i64> =
            sqlx::query_scalar("INSERT INTO items (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING version")
                .bind(id.get())
                .bind(name.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        if let Some(version) = created {
            if let Some(refusal) = refuse(None) {
                return Ok(ItemUpdate::Refused(refusal));
            }
            transaction.commit().await?;
            return Ok(ItemUpdate::Created(Item { id, name: name.clone(), version }));
        }
        let row: (i64, String, i64) = sqlx::query_as("SELECT id, name, version FROM items WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id.get())
            .fetch_one(&mut *transaction)
            .await?;
        let current = item(row)?;
        if let Some(refusal) = refuse(Some(&current)) {
            return Ok(ItemUpdate::Refused(refusal));
        }
        if current.name == *name {
            return Ok(ItemUpdate::Changed(current));
        }
        let version = sqlx::query_scalar("UPDATE items SET name = $2, version = version + 1 WHERE id = $1 RETURNING version")
            .bind(id.get())
            .bind(name.as_str())
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(ItemUpdate::Changed(Item { id, name: name.clone(), version }))
    }
}

/// Whether the catalogue has the item.
pub(super) async fn has_item(connection: &mut PgConnection, id: ItemId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM items WHERE id = $1)").bind(id.get()).fetch_one(connection).await?)
}

async fn select(connection: &mut PgConnection, id: ItemId) -> Result<Option<Item>, StoreError> {
    let row: Option<(i64, String, i64)> =
        sqlx::query_as("SELECT id, name, version FROM items WHERE id = $1").bind(id.get()).fetch_optional(connection).await?;
    row.map(item).transpose()
}

fn item((id, name, version): (i64, String, i64)) -> Result<Item, StoreError> {
    Ok(Item { id: item_id(id)?, name: item_name(&name)?, version })
}

fn item_name(name: &str) -> Result<ItemName, StoreError> {
    name.parse().map_err(invalid("an item's name"))
}
