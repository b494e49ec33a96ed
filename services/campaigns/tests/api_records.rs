//! The leaderboard over HTTP, with a worker that computes it.

use serde_json::{Value, json};

use crate::api_client::{Answer, Client, campaign, purchase};
use crate::fixture::{Slot, eventually};

async fn buy(client: &Client, event: &str, user: &str, value: &str) {
    let mut purchase = purchase(event);
    purchase["userId"] = json!(user);
    purchase["amount"]["value"] = json!(value);
    let answer = client.post("/purchases", &purchase).await;
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.body);
}

async fn top_when(client: &Client, path: &str, expected: impl Fn(&Value) -> bool) -> Answer {
    let mut last = None;
    eventually("the leaderboard shows it", async || {
        let answer = client.get(path).await;
        let is_it = answer.status.is_success() && expected(&answer.body["records"]["positions"]);
        last = Some(answer);
        is_it
    })
    .await;
    last.unwrap()
}

#[tokio::test]
async fn purchases_lead_to_positions() {
    let slot = Slot::new().await;
    let (api, _worker) = (slot.api().await, slot.worker());
    let (client, anybody) = (Client::of(&api), Client::anonymous(&api));
    client.post("/campaigns", &campaign(Some("42"))).await;
    buy(&client, "1", "5", "10.00").await;
    buy(&client, "2", "6", "25.50").await;
    buy(&client, "3", "5", "10.00").await;

    let total = |position: &Value| position["total"]["value"].as_str().unwrap_or_default().to_owned();
    let all = |positions: &Value| positions.as_array().is_some_and(|all| all.len() == 2 && total(&all[1]) == "20.00");
    let top = top_when(&anybody, "/records/top/10/42", all).await;
    let euros = |value: &str| json!({ "value": value, "currency": "EUR" });
    assert_eq!(
        top.body["records"],
        json!({ "campaignId": "42", "positions": [
            { "userId": "6", "position": 0, "rank": 1, "total": euros("25.50") },
            { "userId": "5", "position": 1, "rank": 2, "total": euros("20.00") },
        ] })
    );
    // the second answer of a version comes from the cache
    assert_eq!(anybody.get("/records/top/10/42").await.body["records"], top.body["records"]);
    assert_eq!(anybody.get("/records/top/1/42").await.body["records"]["positions"].as_array().unwrap().len(), 1);

    let position = client.get("/records/position/42/5").await;
    assert_eq!(position.body["record"], json!({ "campaignId": "42", "userId": "5", "position": 1, "rank": 2, "total": euros("20.00") }));
    client.get("/records/position/42/99").await.assert_refused(404, "no-purchases", "");
    client.get("/records/position/43/5").await.assert_refused(404, "unknown-campaign", "");

    let version = |answer: &Answer| answer.body["headers"]["version"].as_str().unwrap().parse::<i64>().unwrap();
    buy(&client, "4", "5", "100.00").await;
    let leads = |positions: &Value| positions[0]["userId"] == "5";
    assert!(version(&top_when(&anybody, "/records/top/10/42", leads).await) > version(&top));
}

#[tokio::test]
async fn counts_outside_of_1_to_1000_are_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    client.post("/campaigns", &campaign(Some("42"))).await;
    for n in ["0", "-1", "1001", "10000000", "ten", "1.5"] {
        client.get(&format!("/records/top/{n}/42")).await.assert_refused(400, "invalid-parameter", "");
    }
    assert_eq!(client.get("/records/top/1000/42").await.body["records"]["positions"], json!([]));
    client.get("/records/top/10/43").await.assert_refused(404, "unknown-campaign", "");
    client.get("/records/top/10/x").await.assert_refused(400, "invalid-parameter", "");
}
