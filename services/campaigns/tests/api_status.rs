//! How the service is doing, for people: what needs attention, in words; as a page and as JSON; and while the database is gone.

use std::time::Duration;

use campaigns::domain::Purchase;
use http::Method;
use serde_json::{Value, json};
use tenantry_harness::postgres::{PostgresServer, StopMode};

use crate::api_client::{Answer, Client};
use crate::fixture::{Slot, TOKEN, eventually, purchase};
use crate::processing::accept;
use crate::rates_model::{parked, purchase_of};

/// The default grace, the time for what is not seen yet, and an hour.
const OVER: Duration = Duration::from_secs(3600 + 60 + 3600);

fn attention(answer: &Answer) -> Vec<&str> {
    answer.body["attention"].as_array().unwrap().iter().map(|sentence| sentence.as_str().unwrap()).collect()
}

async fn page(client: &Client) -> (String, String) {
    let response = client.stream(client.request(Method::GET, "/status").header("accept", "text/html,*/*;q=0.8")).await;
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    (response.text().await.unwrap(), policy)
}

#[tokio::test]
async fn a_service_that_keeps_up_says_so_and_what_runs() {
    let slot = Slot::new().await;
    let running = slot.campaign(10, -60.0, 600.0).await;
    let scheduled = slot.campaign(11, 300.0, 600.0).await;
    let api = slot.api().await;
    let _worker = slot.worker();
    accept(&slot, &purchase("counts", 1, 10, 500)).await;
    let client = Client::of(&api);
    eventually("all is well", async || {
        let status = client.get("/status").await;
        let (standings, operations) = (&status.body["standings"], &status.body["operations"]);
        // Standings are told as they are, and the rest as of some moment within the last two seconds.
        let processed = operations["stages"].as_array().is_some_and(|stages| stages.iter().all(|stage| stage["events"] == 0));
        let counted = standings["users"] == 1 && processed && operations["unannounced"]["count"] == 0;
        counted && attention(&status).is_empty()
    })
    .await;
    let status = client.get("/status").await;
    let operations = &status.body["operations"];
    assert_eq!((&status.body["group"], &status.body["slot"], &status.body["release"]), (&json!("test"), &json!("dev"), &json!("test")));
    let stages: Vec<(&str, &Value, &Value)> = operations["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| (stage["stage"].as_str().unwrap(), &stage["events"], &stage["partitions"]))
        .collect();
    assert_eq!(stages, [("qualification", &json!(0), &json!(16)), ("results", &json!(0), &json!(16))]);
    assert_eq!(operations["running"]["count"], 1);
    assert_eq!(operations["running"]["next"][0]["campaignId"], running.to_string());
    assert_eq!(operations["deadLetters"], json!({ "too_late": 0, "too_large": 0, "worth_nothing": 0 }));
    let (page, policy) = page(&client).await;
    assert!(page.contains("Nothing.") && page.contains(&format!("Campaign {running}")), "{page}");
    assert!(!page.contains(&format!("Campaign {scheduled}")), "{page}");
    assert!(policy.contains("default-src 'none'"), "{policy}");
}

#[tokio::test]
async fn what_needs_somebody_is_said_in_words_with_what_to_do() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -600.0, -0.001).await;
    slot.store.announce_due().await.unwrap();
    let earlier = |purchase: Purchase| Purchase { timestamp: purchase.timestamp.saturating_add("-5m".parse().unwrap()), ..purchase };
    accept(&slot, &earlier(purchase_of("waits", 4, "700.00", "USD", None))).await;
    {
        let _worker = slot.worker();
        eventually("it waits", async || parked(&slot).await == 1).await;
    }
    let day = earlier(purchase("any", 1, 10, 1)).timestamp.date();
    slot.test.shift_time(OVER).await.unwrap();
    // no worker runs any more
    accept(&slot, &purchase("is not processed", 4, 10, 700)).await;
    slot.campaign(11, -30.0, 600.0).await;
    slot.test.shift_time(OVER + Duration::from_secs(90)).await.unwrap();
    let api = slot.api().await;
    let client = Client::of(&api);
    let status = client.get("/status").await;
    let said = attention(&status);
    let says = |words: &[&str]| said.iter().any(|sentence| words.iter().all(|word| sentence.contains(word)));
    assert!(says(&["qualification is behind: 1 events", "1 min 3", "worker"]), "{said:#?}");
    assert!(says(&["not announced: 1 are due", "worker"]), "{said:#?}");
    assert!(says(&["1 purchases wait for an exchange rate", &format!("put USD of {day}"), "PUT /rates"]), "{said:#?}");
    assert!(says(&["no winner yet: 1", &format!("campaign {campaign} for 1 h 1 min"), "exchange rates"]), "{said:#?}");
    assert_eq!(said.len(), 4, "{said:#?}");
    let operations = &status.body["operations"];
    assert_eq!(operations["awaitingCompletion"]["longest"][0]["waitsFor"], "rates");
    assert_eq!(operations["parked"]["missingRates"][0], json!({ "currency": "USD", "date": day.to_string(), "purchases": 1 }));
    let (page, _) = page(&client).await;
    assert!(page.contains("qualification is behind") && page.contains(&format!("Campaign {campaign}")), "{page}");
}

#[tokio::test]
async fn a_campaign_whose_purchases_are_not_counted_waits_for_that() {
    let slot = Slot::new().await;
    slot.campaign(10, -600.0, -0.001).await;
    slot.store.announce_due().await.unwrap();
    slot.test.shift_time(OVER).await.unwrap();
    let operations = slot.store.operations(3600, 7).await.unwrap();
    let waiting: Vec<_> =
        operations.awaiting_completion.iter().map(|waiting| (waiting.waits_for.word(), waiting.waiting.as_secs())).collect();
    assert_eq!(waiting, [("counting", 3600)]);
    assert_eq!(slot.store.operations(3600 + 3601, 7).await.unwrap().awaiting_completion, [], "within a longer grace it does not wait");
}

#[tokio::test]
async fn the_status_is_told_while_the_database_is_gone_without_any_secret() {
    let server = PostgresServer::start().await.unwrap();
    let slot = Slot::on(&server).await;
    let api = slot.api().await;
    let client = Client::of(&api);
    server.stop(StopMode::Fast).await.unwrap();
    eventually("it is noticed", async || {
        let status = client.get("/status").await;
        status.status == 200 && status.body["operations"].is_null() && attention(&status)[0].contains("database does not answer")
    })
    .await;
    let status = client.get("/status").await.body.to_string();
    for secret in [crate::fixture::TOKEN, &slot.test.owner.password, &slot.test.owner.name] {
        assert!(!status.contains(secret), "{status}");
    }
    let (page, _) = page(&client).await;
    assert!(page.contains("The database does not answer"), "{page}");
    server.start_again().await.unwrap();
    eventually("it comes back", async || !client.get("/status").await.body["operations"].is_null()).await;
}

#[tokio::test]
async fn a_browser_gives_the_credential_as_a_password_and_for_pages_alone() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::anonymous(&api);
    let with = async |method: Method, path: &str, accept: &str, password: &str| {
        let request = client.request(method, path).header("accept", accept).basic_auth("anybody", Some(password));
        let response = client.stream(request).await;
        let challenges: Vec<_> =
            response.headers().get_all("www-authenticate").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        (response.status().as_u16(), challenges.iter().any(|challenge| challenge.starts_with("Basic ")))
    };
    const PAGE: &str = "text/html,application/xhtml+xml";
    assert_eq!(with(Method::GET, "/status", PAGE, TOKEN).await, (200, false));
    assert_eq!(with(Method::GET, "/status", PAGE, "another").await, (401, true));
    assert_eq!(with(Method::GET, "/status", "application/json", TOKEN).await, (401, false));
    // What other sites have a browser send.
    assert_eq!(with(Method::POST, "/campaigns/1/cancel", PAGE, TOKEN).await, (401, false));
    let unasked = client.stream(client.request(Method::GET, "/status").header("accept", PAGE)).await;
    assert!(unasked.headers().get_all("www-authenticate").iter().any(|challenge| challenge.to_str().unwrap().starts_with("Basic ")));
}
