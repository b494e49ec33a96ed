//! The schema grows under the release before: its rows are taken along, and it goes on writing.

use campaigns::store::schema;
use sqlx::PgConnection;
use sqlx::migrate::Migrator;
use tenantry_harness::postgres::PostgresServer;
use tenantry_kit::migration::{Schema, migrate_connection};

/// The schema of the release that knew no items.
fn before_items() -> Schema {
    let migrations = sqlx::migrate!("./migrations").iter().filter(|migration| migration.version <= 3).cloned().collect();
    Schema::new(Migrator::with_migrations(migrations), 5)
}

/// Creates a campaign as the release before items does.
async fn create_as_before(connection: &mut PgConnection, item: i64) {
    sqlx::query(
        "INSERT INTO campaigns (item_id, prize, prize_currency, currency, starts_at, ends_at)
         VALUES ($1, 1, 'EUR', 'EUR', now(), now() + interval '1 hour')",
    )
    .bind(item)
    .execute(connection)
    .await
    .unwrap();
}

#[tokio::test]
async fn campaigns_that_there_are_get_their_items_and_those_of_the_release_before_bring_theirs() {
    let test = PostgresServer::shared().await.unwrap().create_database().await.unwrap();
    let mut connection = test.connect().await.unwrap();
    migrate_connection(&mut connection, before_items()).await.unwrap();
    for item in [7, 7, 9] {
        create_as_before(&mut connection, item).await;
    }
    migrate_connection(&mut connection, schema()).await.unwrap();
    create_as_before(&mut connection, 11).await;
    create_as_before(&mut connection, 9).await;
    let items: Vec<(i64, String)> = sqlx::query_as("SELECT id, name FROM items ORDER BY id").fetch_all(&mut connection).await.unwrap();
    assert_eq!(items, [(7, "Item 7".to_owned()), (9, "Item 9".to_owned()), (11, "Item 11".to_owned())]);
}
