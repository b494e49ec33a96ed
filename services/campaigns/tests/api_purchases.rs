//! `POST /purchases`: what is taken, what is refused and how.

use serde_json::json;

use crate::api_client::{Client, in_seconds, purchase, purchase_with};
use crate::fixture::Slot;

#[tokio::test]
async fn a_purchase_is_accepted_and_its_repetition_is_answered_alike() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let purchase = purchase("order-1");
    let (first, second) = (client.post("/purchases", &purchase).await, client.post("/purchases", &purchase).await);
    assert_eq!((first.status.as_u16(), &first.body), (202, &json!({ "eventId": "order-1" })));
    assert_eq!((second.status, second.body), (first.status, first.body));
    assert_eq!(slot.events("purchase_events").await.len(), 1);
}

#[tokio::test]
async fn an_amount_written_otherwise_is_the_same_content() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut purchase = purchase("order-1");
    client.post("/purchases", &purchase).await;
    purchase["amount"]["value"] = json!("12.3");
    assert_eq!(client.post("/purchases", &purchase).await.status.as_u16(), 202);
}

#[tokio::test]
async fn a_repeated_id_with_other_content_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut purchase = purchase("order-1");
    assert_eq!(client.post("/purchases", &purchase).await.status.as_u16(), 202);
    for (member, value) in [("userId", json!("8")), ("itemId", json!("11")), ("timestamp", json!(in_seconds(-5)))] {
        let before = std::mem::replace(&mut purchase[member], value);
        client.post("/purchases", &purchase).await.assert_refused(409, "purchase-conflict", "");
        purchase[member] = before;
    }
    purchase["amount"]["value"] = json!("12.31");
    client.post("/purchases", &purchase).await.assert_refused(409, "purchase-conflict", "");
}

macro_rules! refuses {
    ($($name:ident: $pointer:expr => $value:expr, $problem:expr, $at:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let slot = Slot::new().await;
            let api = slot.api().await;
            let answer = Client::of(&api).post("/purchases", &purchase_with($pointer, json!($value))).await;
            answer.assert_refused(422, $problem, $at);
        }
    )*};
}

refuses! {
    a_negative_amount_is_refused: "/amount/value" => "-1.00", "invalid-purchase", "/amount/value";
    an_amount_of_zero_is_refused: "/amount/value" => "0.00", "invalid-purchase", "/amount/value";
    an_amount_of_thirty_digits_is_refused: "/amount/value" => "9".repeat(30), "invalid-body", "/amount/value";
    an_amount_beyond_a_quadrillion_is_refused: "/amount/value" => "1000000000000000.01", "invalid-purchase", "/amount/value";
    more_decimals_than_the_currency_has_are_refused: "/amount/value" => "1.234", "invalid-body", "/amount";
    an_amount_as_a_number_is_refused: "/amount/value" => 12.3, "invalid-body", "/amount/value";
    an_amount_with_an_exponent_is_refused: "/amount/value" => "1e3", "invalid-body", "/amount/value";
    a_currency_that_is_not_iso_4217_is_refused: "/amount/currency" => "XYZ", "invalid-body", "/amount/currency";
    a_time_in_the_far_future_is_refused: "/timestamp" => in_seconds(400), "invalid-purchase", "/timestamp";
    a_time_without_a_zone_is_refused: "/timestamp" => "2026-11-22T12:00:00", "invalid-body", "/timestamp";
    an_empty_event_id_is_refused: "/eventId" => "", "invalid-body", "/eventId";
    an_event_id_of_ten_kilobytes_is_refused: "/eventId" => "x".repeat(10_240), "invalid-body", "/eventId";
    an_id_as_a_number_is_refused: "/userId" => 7, "invalid-body", "/userId";
    an_id_that_is_not_decimal_is_refused: "/itemId" => "0x10", "invalid-body", "/itemId";
    an_id_beyond_63_bits_is_refused: "/userId" => "9223372036854775808", "invalid-body", "/userId";
}

#[tokio::test]
async fn a_purchase_without_an_event_id_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let mut purchase = purchase("x");
    purchase.as_object_mut().unwrap().remove("eventId");
    let answer = Client::of(&api).post("/purchases", &purchase).await;
    answer.assert_refused(422, "invalid-body", "");
    assert!(answer.body["detail"].as_str().unwrap().contains("missing field `eventId`"), "{}", answer.body);
}

#[tokio::test]
async fn a_time_a_little_ahead_of_the_clock_is_taken() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let answer = Client::of(&api).post("/purchases", &purchase_with("/timestamp", json!(in_seconds(200)))).await;
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.body);
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let body = format!("{{\"eventId\": \"{}\"}}", "x".repeat(1024 * 1024));
    Client::of(&api).post_text("/purchases", body).await.assert_refused(413, "body-too-large", "");
}

#[tokio::test]
async fn deeply_nested_json_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let body = format!("{{\"amount\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = client.post_text("/purchases", body).await;
    assert!(matches!(answer.status.as_u16(), 400 | 422), "{}", answer.body);
    assert!(matches!(answer.problem(), "malformed-json" | "invalid-body"));
    client.post_text("/purchases", "{\"a\":".repeat(50_000)).await.assert_refused(422, "invalid-body", "/a");
    assert_eq!(client.post("/purchases", &purchase("after")).await.status.as_u16(), 202, "the process is unharmed");
}

#[tokio::test]
async fn a_purchase_is_taken_in_any_currency_with_its_decimals() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    for (value, currency) in [("12.30", "USD"), ("1500", "JPY"), ("1.234", "KWD")] {
        let mut purchase = purchase(currency);
        purchase["amount"] = json!({ "value": value, "currency": currency });
        assert_eq!(client.post("/purchases", &purchase).await.status.as_u16(), 202, "{purchase}");
    }
    client.post("/purchases", &purchase_with("/amount", json!({ "value": "1.5", "currency": "JPY" }))).await.assert_refused(
        422,
        "invalid-body",
        "/amount",
    );
}
