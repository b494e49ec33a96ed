//! `POST /purchases` with many purchases: what is kept, and how the others are named.

use serde_json::{Value, json};

use crate::api_client::{Answer, Client, in_seconds, purchase, purchase_with};
use crate::fixture::{Slot, eventually};

fn lines(purchases: &[Value]) -> String {
    purchases.iter().map(|purchase| format!("{purchase}\n")).collect()
}

/// The line and the kind of problem of each refused purchase.
fn refused(answer: &Answer) -> Vec<(u64, String)> {
    let refused = answer.body["refused"].as_array().unwrap_or_else(|| panic!("{} {}", answer.status, answer.body));
    let kind = |problem: &Value| problem["type"].as_str().unwrap().strip_prefix("urn:tenantry:problem:").unwrap().to_owned();
    refused.iter().map(|refused| (refused["line"].as_u64().unwrap(), kind(&refused["problem"]))).collect()
}

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|number| purchase(&format!("event-{number}"))).collect()
}

async fn stored(slot: &Slot) -> usize {
    slot.events("purchase_events").await.len()
}

#[tokio::test]
async fn a_batch_is_accepted_as_an_array_and_as_lines_and_its_repetition_is_answered_alike() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let purchases = numbered(150);
    let first = client.post("/purchases", &json!(purchases)).await;
    assert_eq!((first.status.as_u16(), first.body), (202, json!({ "accepted": 150, "repeated": 0, "refused": [] })));
    let second = client.post_lines("/purchases", lines(&purchases)).await;
    assert_eq!((second.status.as_u16(), second.body), (202, json!({ "accepted": 0, "repeated": 150, "refused": [] })));
    let one = client.post("/purchases", &purchases[7]).await;
    assert_eq!((one.status.as_u16(), one.body), (202, json!({ "eventId": "event-7" })));
    assert_eq!(stored(&slot).await, 150);
}

#[tokio::test]
async fn of_ten_thousand_lines_with_a_bad_one_the_others_are_kept_and_the_answer_names_it() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let mut purchases = numbered(10_000);
    purchases[4710]["amount"]["value"] = json!("1.234");
    let answer = Client::of(&api).post_lines("/purchases", lines(&purchases)).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (207, &json!(9999)), "{}", answer.body);
    assert_eq!(refused(&answer), [(4711, "invalid-body".to_owned())]);
    assert_eq!(answer.body["refused"][0]["problem"]["errors"][0]["pointer"], "/amount");
    assert_eq!(stored(&slot).await, 9999);
}

#[tokio::test]
async fn each_bad_line_is_named_with_its_own_problem() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    client.post("/purchases", &purchase("known")).await;
    let bad = [
        (purchase_with("/amount/value", json!("0.00")), "invalid-purchase"),
        (purchase_with("/amount/value", json!("-1.00")), "invalid-purchase"),
        (purchase_with("/amount/value", json!("1.001")), "invalid-body"),
        (purchase_with("/amount/currency", json!("XYZ")), "invalid-body"),
        (purchase_with("/userId", json!("9223372036854775808")), "invalid-body"),
        (purchase_with("/timestamp", json!(in_seconds(400))), "invalid-purchase"),
        (json!(7), "invalid-body"),
        (
            {
                let mut other = purchase("known");
                other["userId"] = json!("8");
                other
            },
            "purchase-conflict",
        ),
    ];
    let mut purchases: Vec<Value> = bad.iter().map(|(purchase, _)| purchase.clone()).collect();
    purchases.insert(3, purchase("good"));
    let kinds: Vec<&str> = bad.iter().map(|(_, kind)| *kind).collect();
    let expected: Vec<(u64, String)> =
        [1, 2, 3, 5, 6, 7, 8, 9].into_iter().zip(kinds).map(|(line, kind)| (line, kind.to_owned())).collect();
    for answer in [client.post("/purchases", &json!(purchases)).await, client.post_lines("/purchases", lines(&purchases)).await] {
        assert_eq!((answer.status.as_u16(), refused(&answer)), (207, expected.clone()));
        assert_eq!(answer.body["refused"][0]["eventId"], "changed");
    }
    assert_eq!(stored(&slot).await, 2);
}

#[tokio::test]
async fn an_event_id_that_a_batch_has_twice_counts_once() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut other = purchase("twice");
    other["userId"] = json!("8");
    let batch = json!([purchase("twice"), purchase_with("/eventId", json!("twice")), other]);
    let mut batch = batch;
    batch[1]["timestamp"] = batch[0]["timestamp"].clone();
    let answer = client.post("/purchases", &batch).await;
    assert_eq!((&answer.body["accepted"], &answer.body["repeated"]), (&json!(1), &json!(1)), "{}", answer.body);
    assert_eq!(refused(&answer), [(3, "purchase-conflict".to_owned())]);
    assert_eq!(stored(&slot).await, 1);
}

#[tokio::test]
async fn a_batch_arrives_in_its_order_whatever_its_event_ids() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let purchases: Vec<Value> = (0..50).rev().map(|number| purchase(&format!("{number:02}"))).collect();
    assert_eq!(Client::of(&api).post("/purchases", &json!(purchases)).await.status.as_u16(), 202);
    let arrived: Vec<String> = sqlx::query_scalar("SELECT event_id FROM purchases ORDER BY arrival")
        .fetch_all(&mut slot.test.connect().await.unwrap())
        .await
        .unwrap();
    assert_eq!(arrived, (0..50).rev().map(|number| format!("{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn more_than_ten_thousand_purchases_at_once_are_refused_and_none_is_kept() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let purchases = numbered(10_001);
    client.post_lines("/purchases", lines(&purchases)).await.assert_refused(413, "batch-too-large", "");
    client.post("/purchases", &json!(purchases)).await.assert_refused(413, "batch-too-large", "");
    assert_eq!(stored(&slot).await, 0);
}

#[tokio::test]
async fn a_batch_of_more_than_four_mebibytes_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let body = format!("{}{}", lines(&numbered(1)), " ".repeat(4 * 1024 * 1024));
    Client::of(&api).post_lines("/purchases", body).await.assert_refused(413, "body-too-large", "");
    assert_eq!(stored(&slot).await, 0);
}

#[tokio::test]
async fn an_empty_batch_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    client.post("/purchases", &json!([])).await.assert_refused(422, "invalid-body", "");
    client.post_lines("/purchases", "\n  \n").await.assert_refused(422, "invalid-body", "");
    client.post_lines("/purchases", "").await.assert_refused(422, "invalid-body", "");
}

#[tokio::test]
async fn invalid_utf_8_is_refused_in_a_line_alone_and_in_an_array_as_a_whole() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut bytes = lines(&numbered(2)).into_bytes();
    bytes.extend_from_slice(b"{\"eventId\": \"\xff\xfe\"}\n");
    let answer = client.post_lines("/purchases", bytes).await;
    assert_eq!((answer.status.as_u16(), refused(&answer)), (207, vec![(3, "malformed-json".to_owned())]));
    let array = client.request(http::Method::POST, "/purchases").header("content-type", "application/json").body(b"[\"\xff\"]".to_vec());
    client.send(array).await.assert_refused(400, "malformed-json", "");
    let one = client.request(http::Method::POST, "/purchases").header("content-type", "application/json").body(b"{\"\xff\":1}".to_vec());
    client.send(one).await.assert_refused(400, "malformed-json", "");
    assert_eq!(stored(&slot).await, 2);
}

#[tokio::test]
async fn another_media_type_is_refused_and_both_are_named() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let request = client.request(http::Method::POST, "/purchases").header("content-type", "text/csv").body("a,b");
    let answer = client.send(request).await;
    answer.assert_refused(415, "unsupported-media-type", "");
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("application/json") && detail.contains("application/x-ndjson"), "{detail}");
}

#[tokio::test]
async fn more_large_batches_at_once_than_are_read_are_told_to_come_again() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let mut blocker = slot.test.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE purchases IN EXCLUSIVE MODE").execute(&mut blocker).await.unwrap();
    let mut batches = tokio::task::JoinSet::new();
    for batch in 0..6 {
        let client = Client::of(&api);
        let purchases: Vec<Value> = (0..1000).map(|number| purchase(&format!("{batch}-{number}"))).collect();
        batches.spawn(async move { client.post_lines("/purchases", lines(&purchases)).await });
    }
    for _ in 0..2 {
        let refused = batches.join_next().await.unwrap().unwrap();
        refused.assert_refused(503, "overloaded", "");
        assert_eq!(refused.headers["retry-after"], "1");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut blocker).await.unwrap();
    while let Some(answer) = batches.join_next().await {
        assert_eq!(answer.unwrap().body["accepted"], 1000);
    }
    assert_eq!(stored(&slot).await, 4000);
}

#[tokio::test]
async fn batches_that_have_purchases_in_common_are_accepted_at_the_same_time() {
    let slot = Slot::new().await;
    let (first, second) = (slot.api().await, slot.api().await);
    let mut purchases = numbered(300);
    let mut batches = tokio::task::JoinSet::new();
    for round in 0..8 {
        purchases.rotate_left(37);
        purchases.reverse();
        let (client, body) = (Client::of(if round % 2 == 0 { &first } else { &second }), json!(purchases));
        batches.spawn(async move { client.post("/purchases", &body).await });
    }
    let (mut accepted, mut repeated) = (0, 0);
    while let Some(answer) = batches.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status.as_u16(), 202, "{}", answer.body);
        accepted += answer.body["accepted"].as_u64().unwrap();
        repeated += answer.body["repeated"].as_u64().unwrap();
    }
    assert_eq!((accepted, repeated), (300, 7 * 300));
    eventually("each is there once", async || stored(&slot).await == 300).await;
}
