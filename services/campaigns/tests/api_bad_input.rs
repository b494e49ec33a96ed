//! Bad input beyond what each operation's own tests try: what no form catches, and what must never become a failure of ours, in a request or in a stage behind it.

use http::Method;
use serde_json::{Value, json};

use crate::api_client::{Client, campaign, in_seconds, purchase, purchase_with};
use crate::fixture::{Slot, eventually};

const PAST_63_BITS: [&str; 3] = ["9223372036854775808", "18446744073709551616", "99999999999999999999999999999999"];

fn campaign_with(pointer: &str, value: Value) -> Value {
    let mut campaign = campaign(Some("42"));
    *campaign.pointer_mut(pointer).unwrap() = value;
    campaign
}

macro_rules! refuses_campaigns {
    ($($name:ident: $pointer:expr => $value:expr, $problem:expr, $at:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let slot = Slot::new().await;
            let api = slot.api().await;
            Client::of(&api).post("/campaigns", &campaign_with($pointer, json!($value))).await.assert_refused(422, $problem, $at);
        }
    )*};
}

refuses_campaigns! {
    a_campaign_that_ends_before_it_starts_is_refused: "/endDateTime" => in_seconds(-7200), "invalid-campaign", "/endDateTime";
    a_campaign_that_has_ended_already_is_refused: "/endDateTime" => in_seconds(-60), "invalid-campaign", "/endDateTime";
    a_campaign_of_an_unknown_item_is_refused: "/itemId" => "777", "invalid-campaign", "/itemId";
    a_prize_of_zero_is_refused: "/prize/value" => "0.00", "invalid-campaign", "/prize/value";
    a_negative_prize_is_refused: "/prize/value" => "-5.00", "invalid-campaign", "/prize/value";
    a_prize_with_more_decimals_than_its_currency_has_is_refused: "/prize/value" => "5.001", "invalid-body", "/prize";
    a_prize_in_a_currency_that_is_not_iso_4217_is_refused: "/prize/currency" => "EUX", "invalid-body", "/prize/currency";
    a_campaign_id_past_2_to_the_63_is_refused: "/campaignId" => "9223372036854775808", "invalid-body", "/campaignId";
    a_campaign_whose_time_is_no_date_of_the_calendar_is_refused: "/startDateTime" => "2026-02-30T00:00:00Z", "invalid-body", "/startDateTime";
}

#[tokio::test]
async fn ids_past_2_to_the_63_are_refused_wherever_they_are_written() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    for id in PAST_63_BITS {
        for pointer in ["/userId", "/itemId"] {
            client.post("/purchases", &purchase_with(pointer, json!(id))).await.assert_refused(422, "invalid-body", pointer);
        }
        client.put(&format!("/items/{id}"), &json!({ "name": "Apples" })).await.assert_refused(400, "invalid-parameter", "");
        for path in [format!("/campaigns/{id}"), format!("/campaigns/{id}/winners"), format!("/items/{id}"), format!("/leaderboards/{id}")]
        {
            client.get(&path).await.assert_refused(400, "invalid-parameter", "");
        }
        let cancel = client.request(Method::POST, &format!("/campaigns/{id}/cancel")).header("if-match", "\"1.active\"");
        client.send(cancel).await.assert_refused(400, "invalid-parameter", "");
        let users = client.put("/users", &json!({ "users": [{ "userId": id, "name": "Ada" }] })).await;
        users.assert_refused(422, "invalid-body", "/users/0/userId");
    }
}

#[tokio::test]
async fn a_zero_byte_which_the_database_cannot_store_is_refused_and_costs_a_batch_one_line() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    client.post("/purchases", &purchase("a\0b")).await.assert_refused(422, "invalid-body", "/eventId");
    let batch = client.post("/purchases", &json!([purchase("good"), purchase("a\0b"), purchase("better")])).await;
    assert_eq!((batch.status.as_u16(), &batch.body["accepted"], &batch.body["refused"][0]["line"]), (207, &json!(2), &json!(2)));
    client.put("/items/10", &json!({ "name": "App\0les" })).await.assert_refused(422, "invalid-body", "/name");
    let users = client.put("/users", &json!({ "users": [{ "userId": "5", "name": "A\0da" }] })).await;
    users.assert_refused(422, "invalid-users", "/users/0/name");
    client.get("/records/top/10/%00").await.assert_refused(400, "invalid-parameter", "");
}

#[tokio::test]
async fn whatever_is_accepted_at_the_edges_is_processed_and_holds_up_no_stage() {
    let slot = Slot::new().await;
    let mut running = slot.campaign(10, -60.0, 600.0).await.get();
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut accepted = 0;
    let times = [
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "-000001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2016-12-31T23:59:60Z",
    ];
    let amounts = [
        ("1000000000000000.00", "EUR"),
        ("0.01", "EUR"),
        ("0.001", "KWD"),
        ("1", "CLF"),
        ("1000000000000000", "IDR"),
        ("1", "XAU"),
        ("1", "XXX"),
    ];
    let written = times
        .map(|time| purchase_with("/timestamp", json!(time)))
        .into_iter()
        .chain(amounts.map(|(value, currency)| purchase_with("/amount", json!({ "value": value, "currency": currency }))))
        .chain([
            purchase_with("/userId", json!("9223372036854775807")),
            purchase_with("/eventId", json!("\u{1f355}\u{202e}'\"; DROP TABLE purchases")),
        ]);
    for (number, mut body) in written.enumerate() {
        if body["eventId"] == "changed" {
            body["eventId"] = json!(format!("{number}"));
        }
        let answer = client.post("/purchases", &body).await;
        match answer.status.as_u16() {
            202 => accepted += 1,
            status => assert!((400..500).contains(&status), "{body}: {}", answer.body),
        }
    }
    assert!(accepted >= 6, "{accepted}");
    // a campaign that saw all of time
    running += 1;
    let mut eternal = campaign(Some(&running.to_string()));
    eternal["startDateTime"] = json!("0001-01-01T00:00:00Z");
    eternal["endDateTime"] = json!("9999-01-01T00:00:00Z");
    assert_eq!(client.post("/campaigns", &eternal).await.status, 201);
    let _worker = slot.worker();
    eventually("everything is processed", async || slot.lag().await == 0).await;
    assert_eq!(slot.events("purchase_events").await.len(), accepted);
    let top = client.get(&format!("/records/top/10/{running}")).await;
    assert_eq!(top.status, 200, "{}", top.body);
}
