//! Who may do what: the OpenAPI document is walked, so that an operation added later is tried too.

use http::Method;
use serde_json::Value;

use crate::api_client::Client;
use crate::fixture::Slot;

const OPEN: [(&str, &str); 6] = [
    ("get", "/campaigns/active"),
    ("get", "/records/top/{n}/{campaignId}"),
    ("get", "/leaderboards/{campaignId}"),
    ("get", "/leaderboards/{campaignId}/events"),
    ("get", "/leaderboards/assets/leaderboard.js"),
    ("get", "/leaderboards/assets/leaderboard.css"),
];

#[tokio::test]
async fn every_operation_but_the_open_ones_refuses_no_credential_and_a_wrong_one() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let anybody = Client::anonymous(&api);
    let document = anybody.get("/openapi.json").await.body;
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method_name = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let concrete = path.replace("{n}", "10").replace("{campaignId}", "1").replace("{userId}", "1").replace("{itemId}", "1");
            let is_open = OPEN.contains(&(method.as_str(), path.as_str()));
            let without = anybody.send(anybody.request(method_name.clone(), &concrete)).await;
            let wrong = anybody.send(anybody.request(method_name, &concrete).bearer_auth("wrong")).await;
            assert_eq!(without.status.as_u16() != 401, is_open, "{method} {path}");
            assert_eq!(wrong.status.as_u16() != 401, is_open, "{method} {path}");
            let documented_open = operation["security"].as_array().unwrap().iter().all(|needs| *needs == Value::Object(Default::default()));
            assert_eq!(documented_open, is_open, "{method} {path}");
            tried += 1;
        }
    }
    assert_eq!(tried, 24);
}

#[tokio::test]
async fn the_checked_descriptor_asks_for_what_the_service_uses() {
    let descriptor = serde_json::to_value(tenantry_kit::service::descriptor::<campaigns::Campaigns>()).unwrap();
    assert_eq!(descriptor["name"], "campaigns");
    assert_eq!(descriptor["roles"]["api"]["port"], 8080);
    assert_eq!(descriptor["roles"]["worker"]["metricsPort"], 8081);
    assert!(descriptor["needs"]["database"].is_object() && descriptor["needs"]["cache"].is_object());
    let currencies = descriptor["settings"]["properties"]["baseCurrency"]["enum"].as_array().unwrap();
    assert!(currencies.contains(&Value::from("EUR")));
    assert_eq!(descriptor["settings"]["additionalProperties"], false);
}
