//! The shop's items over HTTP.

use serde_json::json;

use crate::api_client::Client;
use crate::fixture::Slot;

#[tokio::test]
async fn an_item_is_put_read_and_renamed_and_its_etag_follows() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let created = client.put("/items/77", &json!({ "name": "Green apples" })).await;
    assert_eq!((created.status.as_u16(), &created.body), (201, &json!({ "itemId": "77", "name": "Green apples" })));
    assert_eq!(created.headers["location"], "/items/77");
    let repeated = client.put("/items/77", &json!({ "name": "Green apples" })).await;
    assert_eq!((repeated.status.as_u16(), repeated.etag()), (200, created.etag()));
    let renamed = client.put("/items/77", &json!({ "name": "Red apples" })).await;
    assert_eq!((renamed.status.as_u16(), renamed.etag() != created.etag()), (200, true));
    let read = client.get("/items/77").await;
    assert_eq!((read.etag(), &read.body), (renamed.etag(), &json!({ "itemId": "77", "name": "Red apples" })));
}

#[tokio::test]
async fn with_if_match_only_the_version_that_was_read_is_changed() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let first = client.put("/items/77", &json!({ "name": "a" })).await;
    let second = client.put_if("/items/77", first.etag(), &json!({ "name": "b" })).await;
    assert_eq!(second.status.as_u16(), 200);
    client.put_if("/items/77", first.etag(), &json!({ "name": "c" })).await.assert_refused(412, "precondition-failed", "");
    client.put_if("/items/78", "*", &json!({ "name": "c" })).await.assert_refused(404, "unknown-item", "");
    client.get("/items/78").await.assert_refused(404, "unknown-item", "");
    assert_eq!(client.get("/items/77").await.body["name"], "b");
}

#[tokio::test]
async fn items_are_listed_in_pages() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    for item in 1..=5 {
        client.put(&format!("/items/{item}"), &json!({ "name": "x" })).await;
    }
    let mut listed = Vec::new();
    let mut path = "/items?limit=3".to_owned();
    loop {
        let page = client.get(&path).await;
        assert_eq!(page.status.as_u16(), 200, "{}", page.body);
        listed.extend(page.body["items"].as_array().unwrap().iter().map(|item| item["itemId"].as_str().unwrap().to_owned()));
        let Some(next) = page.body["next"].as_str() else { break };
        path = format!("/items?limit=3&after={next}");
    }
    assert_eq!(listed, ["1", "2", "3", "4", "5", "10", "11"]);
}

#[tokio::test]
async fn what_is_no_name_and_what_is_no_parameter_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    client.put("/items/77", &json!({ "name": " " })).await.assert_refused(422, "invalid-body", "/name");
    client.put("/items/77", &json!({ "name": "a", "color": "red" })).await.assert_refused(422, "invalid-body", "/color");
    client.put("/items/0", &json!({ "name": "a" })).await.assert_refused(400, "invalid-parameter", "");
    client.put_if("/items/77", "1", &json!({ "name": "a" })).await.assert_refused(400, "invalid-parameter", "");
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "color=red"] {
        client.get(&format!("/items?{query}")).await.assert_refused(400, "invalid-parameter", "");
    }
}
