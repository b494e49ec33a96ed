//! The catalogue over HTTP.

use serde_json::{Value, json};

use crate::api_client::{Client, campaign, in_seconds};
use crate::fixture::Slot;

#[tokio::test]
async fn a_campaign_is_created_read_and_listed_in_the_documents_shape() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let (client, anybody) = (Client::of(&api), Client::anonymous(&api));
    let created = client.post("/campaigns", &campaign(Some("42"))).await;
    assert_eq!((created.status.as_u16(), created.headers["location"].to_str().unwrap()), (201, "/campaigns/42"));
    assert_eq!(client.get("/campaigns/42").await.body, created.body);

    let active = anybody.get("/campaigns/active").await;
    assert_eq!(active.status.as_u16(), 200);
    assert_eq!(active.body["campaigns"], json!([created.body]));
    for member in ["campaignId", "itemId", "prize", "startDateTime", "endDateTime"] {
        assert!(!created.body[member].is_null(), "{member}");
    }
    assert!(active.body["headers"]["version"].is_string() && active.body["headers"]["time"].is_string());
}

#[tokio::test]
async fn a_campaign_that_is_not_running_is_not_listed() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut later = campaign(None);
    later["startDateTime"] = json!(in_seconds(1800));
    let later = client.post("/campaigns", &later).await;
    assert_eq!(later.status.as_u16(), 201, "{}", later.body);
    assert_eq!(client.get("/campaigns/active").await.body["campaigns"], json!([]));
}

#[tokio::test]
async fn ids_are_made_when_none_is_given() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let id = async || client.post("/campaigns", &campaign(None)).await.body["campaignId"].clone();
    let (first, second): (Value, Value) = (id().await, id().await);
    assert!(first.is_string() && second.is_string() && first != second, "{first} {second}");
}

#[tokio::test]
async fn creating_a_campaign_again_is_answered_alike_and_other_content_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut campaign = campaign(Some("42"));
    let created = client.post("/campaigns", &campaign).await;
    let repeated = client.post("/campaigns", &campaign).await;
    assert_eq!((repeated.status.as_u16(), repeated.body), (200, created.body));
    campaign["itemId"] = json!("11");
    client.post("/campaigns", &campaign).await.assert_refused(409, "campaign-conflict", "");
}

#[tokio::test]
async fn a_campaign_that_is_not_valid_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let refused = async |pointer: &str, value: Value, problem: &str, at: &str| {
        let mut campaign = campaign(None);
        *campaign.pointer_mut(pointer).unwrap() = value;
        client.post("/campaigns", &campaign).await.assert_refused(422, problem, at);
    };
    refused("/endDateTime", json!(in_seconds(-7200)), "invalid-campaign", "/endDateTime").await;
    refused("/endDateTime", json!(in_seconds(-60)), "invalid-campaign", "/endDateTime").await;
    refused("/prize/value", json!("0"), "invalid-campaign", "/prize/value").await;
    refused("/prize/value", json!("1.001"), "invalid-body", "/prize").await;
    refused("/itemId", json!("-1"), "invalid-body", "/itemId").await;
}

#[tokio::test]
async fn an_unknown_campaign_and_a_wrong_id_are_told_apart() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    client.get("/campaigns/4711").await.assert_refused(404, "unknown-campaign", "");
    client.get("/campaigns/x").await.assert_refused(400, "invalid-parameter", "");
    client.get("/campaigns/9223372036854775808").await.assert_refused(400, "invalid-parameter", "");
}
