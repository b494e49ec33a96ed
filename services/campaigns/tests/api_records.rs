//! The leaderboard over HTTP, with a worker that computes it.

use serde_json::{Value, json};

use crate::api_client::{Answer, Client, buy, campaign};
use crate::fixture::{Slot, eventually};

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
        json!({ "campaignId": "42", "users": 2, "positions": [
            { "userId": "6", "position": 0, "rank": 1, "total": euros("25.50") },
            { "userId": "5", "position": 1, "rank": 2, "total": euros("20.00") },
        ] })
    );
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

#[tokio::test]
async fn ids_and_versions_past_2_to_the_63_are_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    for id in ["9223372036854775808", "18446744073709551616", "99999999999999999999999999", "0", "-1", "+1", "01", "x"] {
        client.get(&format!("/records/top/10/{id}")).await.assert_refused(400, "invalid-parameter", "");
        client.get(&format!("/records/position/{id}/5")).await.assert_refused(400, "invalid-parameter", "");
        client.get(&format!("/records/position/42/{id}")).await.assert_refused(400, "invalid-parameter", "");
    }
    for query in ["min_version=9223372036854775808", "min_version=x", "min_version=", "minVersion=1"] {
        client.get(&format!("/records/top/10/42?{query}")).await.assert_refused(400, "invalid-parameter", "");
    }
    client.get("/records/position/9223372036854775807/5").await.assert_refused(404, "unknown-campaign", "");
}

#[tokio::test]
async fn every_process_answers_at_the_version_that_is_asked_for_or_says_that_it_has_it_not_yet() {
    let slot = Slot::new().await;
    let (first, second, _worker) = (slot.api().await, slot.api().await, slot.worker());
    let (one, other) = (Client::of(&first), Client::of(&second));
    one.post("/campaigns", &campaign(Some("42"))).await;
    for number in 0..20 {
        buy(&one, &number.to_string(), &(1 + number % 3).to_string(), "1.00").await;
        let counted = |positions: &Value| positions.as_array().is_some_and(|all| !all.is_empty());
        let top = top_when(&one, "/records/top/10/42", counted).await;
        let version = top.body["headers"]["version"].as_str().unwrap();
        let elsewhere = other.get(&format!("/records/top/10/42?min_version={version}")).await;
        assert_eq!(elsewhere.status.as_u16(), 200, "{}", elsewhere.body);
        if elsewhere.body["headers"]["version"] == version {
            assert_eq!(elsewhere.body["records"], top.body["records"]);
        }
    }
    let ahead = one.get("/records/position/42/1?min_version=1000000").await;
    ahead.assert_refused(503, "version-not-reached", "");
    assert_eq!(ahead.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_campaign_says_what_it_does_with_ties_and_its_ranks_are_so() {
    let slot = Slot::new().await;
    let (api, _worker) = (slot.api().await, slot.worker());
    let client = Client::of(&api);
    let plain = client.post("/campaigns", &campaign(Some("41"))).await.body;
    assert_eq!((&plain["ranks"], &plain["prizeRule"]), (&json!("strict"), &json!("first")));
    let mut shared = campaign(Some("42"));
    shared["ranks"] = json!("shared");
    shared["prizeRule"] = json!("shared");
    let created = client.post("/campaigns", &shared).await;
    assert_eq!((created.status.as_u16(), &created.body["ranks"], &created.body["prizeRule"]), (201, &json!("shared"), &json!("shared")));
    assert_eq!(client.get("/campaigns/42").await.body["ranks"], "shared");
    shared["ranks"] = json!("none");
    client.post("/campaigns", &shared).await.assert_refused(422, "invalid-body", "/ranks");
    for user in ["5", "6", "7"] {
        buy(&client, user, user, if user == "7" { "1.00" } else { "2.00" }).await;
    }
    let all = |positions: &Value| positions.as_array().is_some_and(|all| all.len() == 3);
    let ranks = async |campaign: &str| {
        let top = top_when(&client, &format!("/records/top/10/{campaign}"), all).await;
        let positions = top.body["records"]["positions"].as_array().unwrap().clone();
        positions.iter().map(|position| position["rank"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ranks("41").await, [1, 2, 3]);
    assert_eq!(ranks("42").await, [1, 1, 3]);
    assert_eq!(client.get("/records/position/42/6").await.body["record"]["rank"], 1);
    assert_eq!(client.get("/records/position/42/6").await.body["record"]["position"], 1);
}
