//! Prizes are paid by signed requests, each once, by a receiver that fails, hangs, cuts and answers twice.

use std::collections::BTreeSet;
use std::time::Duration;

use campaigns::domain::payment::Prizes;
use campaigns::domain::payment::UnpaidPrizes;
use campaigns::domain::{CampaignId, PrizeRule, Purchase, TieRules};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::api_client::Client;
use crate::fixture::{Slot, eventually, purchase};
use crate::processing::{accept, processed};
use crate::receiver::{Reaction, Receiver};
use crate::worker_completion::OVER;

pub const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A slot that pays by a webhook of that URL, with a key.
pub async fn paying_slot(url: &str, settings: Value) -> Slot {
    let mut webhook = json!({ "url": url, "timeoutSeconds": 1 });
    webhook.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let slot = Slot::new().await.with_settings(json!({ "prizeWebhook": webhook }));
    slot.write_credential("webhook/key", KEY);
    slot
}

/// A receiver that takes everything, and a slot that pays by it.
async fn receiver_and_slot() -> (Receiver, Slot) {
    let receiver = Receiver::start(KEY, |_, _| Reaction::Take).await;
    let slot = paying_slot(&receiver.url(), json!({})).await;
    (receiver, slot)
}

/// A campaign with a shared prize that is over, whose winners are these users but not fixed yet.
pub async fn over(slot: &Slot, users: impl IntoIterator<Item = i64>) -> CampaignId {
    let shared = TieRules { prize: PrizeRule::Shared, ..TieRules::default() };
    let campaign = slot.campaign_with(shared, 10, -600.0, -0.001).await;
    slot.store.announce_due().await.unwrap();
    let timestamp = slot.store.now().await.unwrap().saturating_add("-5m".parse().unwrap());
    for user in users {
        accept(slot, &Purchase { timestamp, ..purchase(format!("{campaign}-{user}"), user, 10, 700) }).await;
    }
    processed(slot).await;
    time_passes(slot, OVER).await;
    campaign
}

/// The services' clock goes on by so much.
pub async fn time_passes(slot: &Slot, by: Duration) {
    let ahead = sqlx::query_scalar("SELECT extract(epoch FROM tenantry_now() - statement_timestamp())::double precision");
    let ahead: f64 = ahead.fetch_one(&mut slot.test.connect().await.unwrap()).await.unwrap();
    slot.test.shift_time(Duration::from_secs_f64(ahead.max(0.0)) + by).await.unwrap();
}

/// A campaign whose winners are these users, and are to be paid.
pub async fn won(slot: &Slot, users: impl IntoIterator<Item = i64>) -> CampaignId {
    let campaign = over(slot, users).await;
    slot.store.complete_due(3600, Prizes::Paid).await.unwrap();
    // Or a worker is doing it.
    eventually("its winners are fixed", async || slot.store.winners(campaign).await.unwrap().is_some()).await;
    campaign
}

/// Longer than any back-off or lock.
pub const LONG: Duration = Duration::from_secs(2 * 3600);

async fn paid(slot: &Slot) -> i64 {
    let mut connection = slot.test.connect().await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM prize_payments WHERE paid_at IS NOT NULL").fetch_one(&mut connection).await.unwrap()
}

pub async fn until_paid(slot: &Slot, payments: i64) {
    eventually("they are paid", async || paid(slot).await == payments).await;
}

/// Deliveries, seconds until it is visible, and the last error of the one message.
pub async fn message(slot: &Slot) -> Option<(i32, f64, String)> {
    let mut connection = slot.test.connect().await.unwrap();
    sqlx::query_as(
        "SELECT deliveries, extract(epoch FROM visible_at - tenantry_now())::double precision, coalesce(last_error, '')
         FROM queue_messages WHERE lock_token IS NULL",
    )
    .fetch_optional(&mut connection)
    .await
    .unwrap()
}

pub async fn failed_by(slot: &Slot, error: &str) -> f64 {
    let mut wait = 0.0;
    eventually(&format!("it fails by {error:?}"), async || match message(slot).await {
        Some((_, seconds, last)) if last.contains(error) => {
            wait = seconds;
            true
        }
        _ => false,
    })
    .await;
    wait
}

async fn states(client: &Client, campaign: CampaignId) -> Vec<Value> {
    let answer = client.get(&format!("/campaigns/{campaign}/winners")).await;
    answer.body["winners"].as_array().unwrap().iter().map(|winner| winner["payment"]["state"].clone()).collect()
}

#[tokio::test]
async fn winners_are_paid_by_signed_requests_once_they_are_fixed() {
    let (receiver, slot) = receiver_and_slot().await;
    let campaign = over(&slot, [3, 5, 7]).await;
    let _worker = slot.worker();
    until_paid(&slot, 3).await;
    let (taken, received) = (receiver.taken(), receiver.received());
    assert_eq!((taken.len(), received.len()), (3, 3));
    let mut winners = Vec::new();
    for (id, body) in &taken {
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((&body["type"], &body["data"]["paymentId"]), (&json!("prize.won"), &json!(id)));
        assert_eq!((&body["data"]["group"], &body["data"]["slot"]), (&json!("test"), &json!("dev")));
        assert_eq!(body["data"]["campaignId"], json!(campaign.to_string()));
        winners.push((body["data"]["userId"].as_str().unwrap().to_owned(), body["data"]["prize"]["value"].as_str().unwrap().to_owned()));
    }
    winners.sort();
    assert_eq!(winners, [("3", "33.34"), ("5", "33.33"), ("7", "33.33")].map(|(user, prize)| (user.to_owned(), prize.to_owned())));

    let api = slot.api().await;
    let answer = Client::of(&api).get(&format!("/campaigns/{campaign}/winners")).await;
    for winner in answer.body["winners"].as_array().unwrap() {
        assert_eq!(winner["payment"]["state"], "paid");
        assert!(taken.contains_key(winner["payment"]["id"].as_str().unwrap()) && winner["payment"]["paidAt"].is_string(), "{winner}");
    }
    let mut connection = slot.test.connect().await.unwrap();
    let refusal = sqlx::raw_sql("DELETE FROM prize_payments").execute(&mut connection).await.unwrap_err().to_string();
    assert!(refusal.contains("kept for ever"), "a payment that were forgotten would be made again: {refusal}");
}

/// Also of a campaign that was completed by a release from before prizes were paid.
#[tokio::test]
async fn prizes_that_are_held_are_paid_when_somebody_asks_and_only_once() {
    let (receiver, slot) = receiver_and_slot().await;
    let held = over(&slot, [3, 5]).await;
    assert_eq!(slot.store.complete_due(3600, Prizes::Held).await.unwrap(), 1);
    let (_worker, api) = (slot.worker(), slot.api().await);
    let client = Client::of(&api);
    let path = format!("/campaigns/{held}/payments");
    let later = won(&slot, [9]).await;
    eventually("the other one is paid", async || states(&client, later).await == ["paid"]).await;
    assert_eq!(slot.store.unpaid_prizes().await.unwrap(), UnpaidPrizes { held: 2, waiting: 0, dead: 0 });
    assert_eq!(states(&client, held).await, ["held", "held"]);

    let nothing = json!({});
    let both = tokio::join!(client.post(&path, &nothing), client.post(&path, &nothing));
    let started: Vec<i64> = [both.0, both.1].iter().map(|answer| answer.body["payments"].as_i64().unwrap()).collect();
    assert_eq!(started.iter().sum::<i64>(), 2, "{started:?}");
    until_paid(&slot, 3).await;
    assert_eq!(slot.store.unpaid_prizes().await.unwrap(), UnpaidPrizes::default());
    assert_eq!(client.post(&path, &json!({})).await.body, json!({ "payments": 0 }));
    assert_eq!((states(&client, held).await, receiver.taken().len()), (vec![json!("paid"), json!("paid")], 3));
    client.post("/campaigns/4711/payments", &json!({})).await.assert_refused(404, "unknown-campaign", "");
}

#[tokio::test]
async fn without_a_webhook_prizes_are_held_and_nothing_is_started() {
    let slot = Slot::new().await;
    let campaign = over(&slot, [3]).await;
    let (_worker, api) = (slot.worker(), slot.api().await);
    let client = Client::of(&api);
    eventually("its winner is fixed", async || slot.store.winners(campaign).await.unwrap().is_some()).await;
    assert_eq!(states(&client, campaign).await, ["held"]);
    for path in [format!("/campaigns/{campaign}/payments"), "/payments/dead-letters/redrive".to_owned()] {
        client.post(&path, &json!({})).await.assert_refused(409, "no-prize-webhook", "");
    }
}

#[tokio::test]
async fn what_the_receiver_refuses_is_a_dead_letter_at_once_and_is_redriven_under_its_key() {
    let (receiver, slot) = receiver_and_slot().await;
    let elsewhere = Receiver::start(KEY, |_, _| Reaction::Take).await;
    receiver.now(|_, _| Reaction::Answer(422, vec![], "no such user\u{7}\n<b>at all</b>"));
    let campaign = won(&slot, [3]).await;
    let (_worker, api) = (slot.worker(), slot.api().await);
    let client = Client::of(&api);
    let letters = async || client.get("/payments/dead-letters?reason=refused").await.body["deadLetters"].as_array().unwrap().clone();
    eventually("it is a dead letter", async || letters().await.len() == 1).await;
    let letter = letters().await.remove(0);
    assert_eq!((&letter["tries"], &letter["userId"], &letter["prize"]["value"]), (&json!(1), &json!("3"), &json!("100.00")));
    let detail = letter["detail"].as_str().unwrap();
    assert!(detail.ends_with("answered 422 Unprocessable Entity: no such user <b>at all</b>"), "{detail}");
    assert_eq!(states(&client, campaign).await, ["dead"]);
    client.get("/payments/dead-letters?reason=none").await.assert_refused(400, "invalid-parameter", "");

    // A redirect is an answer too, and nobody goes there.
    let there = elsewhere.url();
    receiver.now(move |_, _| Reaction::Answer(307, vec![("location", there.clone())], ""));
    let id = letter["id"].as_str().unwrap().to_owned();
    let path = format!("/payments/dead-letters/{id}/redrive");
    assert_eq!(client.post(&path, &json!({})).await.status, 202);
    eventually("it was redirected", async || {
        letters().await.first().is_some_and(|letter| letter["detail"].as_str().unwrap().contains("redirects are not followed"))
    })
    .await;
    receiver.now(|_, _| Reaction::Take);
    assert_eq!(client.post("/payments/dead-letters/redrive?reason=expired", &json!({})).await.body, json!({ "payments": 0 }));
    assert_eq!(client.post("/payments/dead-letters/redrive", &json!({})).await.body, json!({ "payments": 1 }));
    until_paid(&slot, 1).await;
    client.post(&path, &json!({})).await.assert_refused(404, "unknown-payment", "");
    assert_eq!(receiver.taken().keys().collect::<Vec<_>>(), [&id]);
    assert_eq!(receiver.received().iter().map(|received| received.id.as_str()).collect::<BTreeSet<_>>().len(), 1);
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn dead_letters_of_payments_are_listed_in_pages_also_while_some_are_redriven() {
    let (receiver, slot) = receiver_and_slot().await;
    receiver.now(|_, _| Reaction::status(422));
    won(&slot, 1..=5).await;
    let (worker, api) = (slot.worker(), slot.api().await);
    let client = Client::of(&api);
    eventually("all are dead letters", async || slot.store.unpaid_prizes().await.unwrap().dead == 5).await;
    drop(worker);
    let all = client.get("/payments/dead-letters").await.body;
    assert!(all["next"].is_null(), "{all}");
    let ids = |page: &Value| -> Vec<String> {
        page["deadLetters"].as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
    };
    let (mut listed, mut next) = (Vec::new(), Some(String::new()));
    while let Some(after) = next {
        let page = client.get(&format!("/payments/dead-letters?reason=refused&limit=2{after}")).await.body;
        listed.push(ids(&page));
        next = page["next"].as_str().map(|next| format!("&after={next}"));
        let last = listed.last().unwrap().last().unwrap();
        assert_eq!(client.post(&format!("/payments/dead-letters/{last}/redrive"), &json!({})).await.status, 202);
    }
    assert_eq!((listed.iter().map(Vec::len).collect::<Vec<_>>(), listed.concat()), (vec![2, 2, 1], ids(&all)));
    for wrong in ["limit=0", "limit=1001", "after=x", "after=1.x", "afetr=1"] {
        client.get(&format!("/payments/dead-letters?{wrong}")).await.assert_refused(400, "invalid-parameter", "");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_retry_after_is_honoured_within_an_hour() {
    let (receiver, slot) = receiver_and_slot().await;
    receiver.now(|_, _| Reaction::Answer(429, vec![("retry-after", "1800".to_owned())], "slowly"));
    won(&slot, [3]).await;
    let _worker = slot.worker();
    let wait = failed_by(&slot, "answered 429 Too Many Requests: slowly").await;
    assert!((1700.0..=1800.0).contains(&wait), "{wait}");
    let trials: [(Reaction, &str); 5] = [
        (Reaction::Answer(503, vec![("retry-after", "86400".to_owned())], ""), "answered 503"),
        (Reaction::Hang, "did not answer within 1 s"),
        (Reaction::TakeAnd(Box::new(Reaction::Hang)), "did not answer within 1 s"),
        (Reaction::Cut, "the connection broke"),
        (Reaction::TakeAnd(Box::new(Reaction::status(500))), "answered 500"),
    ];
    for (index, (reaction, error)) in trials.into_iter().enumerate() {
        let (tries, received) = (index as i32 + 2, receiver.received().len());
        receiver.now(move |_, _| reaction.clone());
        time_passes(&slot, LONG).await;
        eventually("it is tried again", async || receiver.received().len() > received).await;
        eventually("it failed again", async || message(&slot).await.is_some_and(|(deliveries, ..)| deliveries == tries)).await;
        let wait = failed_by(&slot, error).await;
        assert!(wait <= 3600.0, "{wait}");
    }
    receiver.now(|_, _| Reaction::Take);
    time_passes(&slot, LONG).await;
    until_paid(&slot, 1).await;
    assert_eq!((receiver.taken().len(), receiver.received().len()), (1, 7));
}

#[tokio::test]
async fn a_payment_that_fails_too_often_is_a_dead_letter() {
    let receiver = Receiver::start(KEY, |_, _| Reaction::status(500)).await;
    let slot = paying_slot(&receiver.url(), json!({ "deliveryLimit": 2 })).await;
    won(&slot, [3]).await;
    let _worker = slot.worker();
    failed_by(&slot, "answered 500").await;
    time_passes(&slot, LONG).await;
    eventually("it is a dead letter", async || slot.store.payment_dead_letters(None, None, 10).await.unwrap().len() == 1).await;
    let letter = slot.store.payment_dead_letters(None, None, 10).await.unwrap().remove(0);
    assert_eq!((letter.reason.as_str(), letter.deliveries, receiver.received().len()), ("delivery_limit", 2, 2));
    // Prizes are owed for longer than dead letters are usually kept.
    time_passes(&slot, Duration::from_secs(400 * 86_400)).await;
    slot.store.tend_payments(&tenantry_kit::queue::QueueMetrics::register(&tenantry_kit::telemetry::Metrics::new())).await.unwrap();
    assert_eq!(slot.store.unpaid_prizes().await.unwrap().dead, 1);
}

#[tokio::test]
async fn without_a_good_key_nothing_is_sent_and_no_try_is_used_up() {
    let (receiver, slot) = receiver_and_slot().await;
    let port = tenantry_harness::janitor::free_port().unwrap();
    slot.remove_credential("webhook/key");
    won(&slot, [3]).await;
    let _worker = slot.worker_on(port);
    let says = async |line: &str| {
        let Ok(answer) = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await else { return false };
        answer.text().await.unwrap().lines().any(|found| found == line)
    };
    eventually("the worker counts the prize", async || says("prizes_unpaid{state=\"waiting\"} 1").await).await;
    assert!(says("prize_webhook_credential_usable 0").await);
    slot.write_credential("webhook/key", "this is no key");
    eventually("it has looked again", async || says("queue_visible_messages{queue=\"prize_payments\"} 1").await).await;
    assert_eq!(message(&slot).await.map(|(deliveries, ..)| deliveries), Some(0));
    assert!(receiver.received().is_empty());
    slot.write_credential("webhook/key", KEY);
    until_paid(&slot, 1).await;
    assert_eq!(receiver.taken().len(), 1);
    eventually("the worker says so", async || says("prize_payment_tries_total{outcome=\"paid\"} 1").await).await;
}

#[tokio::test]
async fn while_keys_change_a_request_is_signed_with_both() {
    let (receiver, slot) = receiver_and_slot().await;
    let _worker = slot.worker();
    won(&slot, [3]).await;
    until_paid(&slot, 1).await;
    // The receiver knows the former key alone.
    slot.write_credential("webhook/previous-key", KEY);
    slot.write_credential("webhook/key", OTHER_KEY);
    won(&slot, [5]).await;
    until_paid(&slot, 2).await;
    assert_eq!(receiver.received().iter().map(|received| received.signatures).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(receiver.taken().len(), 2);
}

/// A second answer on the connection must not be taken for that to the next request.
#[tokio::test]
async fn a_server_that_answers_twice_is_paid_once() {
    const TWICE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slot = paying_slot(&format!("http://{}/", listener.local_addr().unwrap()), json!({})).await;
    let server = tokio::spawn(async move {
        let mut open = Vec::new();
        for answer in [TWICE, BUSY, BUSY] {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            assert!(connection.read(&mut request).await.unwrap() > 0);
            connection.write_all(answer).await.unwrap();
            open.push(connection);
        }
    });
    won(&slot, [3, 5, 7]).await;
    let _worker = slot.worker();
    eventually("all three were sent", async || server.is_finished()).await;
    server.await.unwrap();
    let waiting = async || {
        let mut connection = slot.test.connect().await.unwrap();
        let count = sqlx::query_scalar("SELECT count(*) FROM queue_messages WHERE lock_token IS NULL AND last_error LIKE '%503%'");
        let count: i64 = count.fetch_one(&mut connection).await.unwrap();
        count
    };
    eventually("two wait", async || waiting().await == 2).await;
    until_paid(&slot, 1).await;
}
