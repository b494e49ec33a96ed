//! What is known of users.

use std::collections::{BTreeMap, HashMap};

use super::rows::{invalid, user_id};
use super::{Store, StoreError};
use crate::domain::{UserId, UserName};

impl Store {
    /// Sets the names of users, or forgets those of users without one. All or nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_users(&self, users: &BTreeMap<UserId, Option<UserName>>) -> Result<(), StoreError> {
        let (mut named, mut names, mut nameless) = (Vec::new(), Vec::new(), Vec::new());
        for (id, name) in users {
            match name {
                Some(name) => {
                    named.push(id.get());
                    names.push(name.as_str());
                }
                None => nameless.push(id.get()),
            }
        }
        let mut transaction = self.database.begin().await?;
        // In the order of ids, as everywhere: two batches never wait for each other in a circle.
        sqlx::query(
            "INSERT INTO users AS known (id, name) SELECT * FROM unnest($1::bigint[], $2::text[]) AS given (id, name) ORDER BY given.id
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, changed_at = now() WHERE known.name <> excluded.name",
        )
        .bind(&named)
        .bind(&names)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM users WHERE id IN (SELECT id FROM users WHERE id = ANY ($1) ORDER BY id FOR UPDATE)")
            .bind(&nameless)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The names of those of these users that have one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_names(&self, users: &[UserId]) -> Result<HashMap<UserId, UserName>, StoreError> {
        let ids: Vec<i64> = users.iter().map(|id| id.get()).collect();
        let mut connection = self.database.acquire().await?;
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT id, name FROM users WHERE id = ANY ($1)").bind(&ids).fetch_all(&mut *connection).await?;
        rows.into_iter().map(|(id, name)| Ok((user_id(id)?, UserName::try_from(name).map_err(invalid("a user's name"))?))).collect()
    }
}
