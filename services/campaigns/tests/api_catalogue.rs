//! Changing, cancelling and listing campaigns over HTTP.

use serde_json::{Value, json};

use crate::api_client::{Answer, Client, campaign, in_seconds, purchase};
use crate::fixture::{Slot, eventually};

/// What is written of a campaign that starts and ends so many seconds from now.
fn content(start: i64, end: i64) -> Value {
    let mut content = campaign(None);
    content["startDateTime"] = json!(in_seconds(start));
    content["endDateTime"] = json!(in_seconds(end));
    content
}

async fn create(client: &Client, content: &Value) -> Answer {
    let created = client.post("/campaigns", content).await;
    assert_eq!(created.status.as_u16(), 201, "{}", created.body);
    created
}

fn path(campaign: &Answer) -> String {
    format!("/campaigns/{}", campaign.body["campaignId"].as_str().unwrap())
}

async fn cancel(client: &Client, campaign: &Answer) -> Answer {
    cancel_if(client, campaign, campaign.etag()).await
}

async fn cancel_if(client: &Client, campaign: &Answer, etag: &str) -> Answer {
    let request = client.request(http::Method::POST, &format!("{}/cancel", path(campaign)));
    client.send(request.header("if-match", etag)).await
}

/// The ids that a path lists over all its pages.
async fn listed(client: &Client, path: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut next = path.to_owned();
    loop {
        let page = client.get(&next).await;
        assert_eq!(page.status.as_u16(), 200, "{}", page.body);
        ids.extend(page.body["campaigns"].as_array().unwrap().iter().map(|campaign| campaign["campaignId"].as_str().unwrap().to_owned()));
        let Some(after) = page.body["next"].as_str() else { return ids };
        next = format!("{path}&after={after}");
    }
}

#[tokio::test]
async fn a_campaign_of_an_unknown_item_is_refused_until_the_item_is_put() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut campaign = content(10, 20);
    campaign["itemId"] = json!("77");
    let refused = client.post("/campaigns", &campaign).await;
    refused.assert_refused(422, "invalid-campaign", "/itemId");
    assert!(refused.body["detail"].as_str().unwrap().contains("PUT /items/77"), "{}", refused.body);
    client.put("/items/77", &json!({ "name": "Apples" })).await;
    let created = create(&client, &campaign).await;
    campaign["itemId"] = json!("78");
    client.put_if(&path(&created), created.etag(), &campaign).await.assert_refused(422, "invalid-campaign", "/itemId");
}

#[tokio::test]
async fn a_scheduled_campaign_is_changed_as_a_whole() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let created = create(&client, &content(1000, 2000)).await;
    assert_eq!(created.body["state"], "scheduled");
    let mut changed = content(500, 3000);
    changed["itemId"] = json!("11");
    changed["prize"]["value"] = json!("7.00");
    changed["ranks"] = json!("shared");
    changed["prizeRule"] = json!("shared");
    let answer = client.put_if(&path(&created), created.etag(), &changed).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    for member in ["itemId", "prize", "startDateTime", "endDateTime", "ranks", "prizeRule"] {
        assert_eq!(answer.body[member], changed[member]);
    }
    let read = client.get(&path(&created)).await;
    assert_eq!((&read.body, read.etag()), (&answer.body, answer.etag()));
    assert_ne!(answer.etag(), created.etag());
}

#[tokio::test]
async fn a_change_without_if_match_or_of_an_older_version_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let created = create(&client, &content(1000, 2000)).await;
    let (first, second) = (content(1000, 3000), content(1000, 4000));
    client.put(&path(&created), &first).await.assert_refused(428, "precondition-required", "");
    let changed = client.put_if(&path(&created), created.etag(), &first).await;
    assert_eq!(changed.status.as_u16(), 200);
    let stale = client.put_if(&path(&created), created.etag(), &second).await;
    stale.assert_refused(412, "precondition-failed", "");
    assert!(stale.body["detail"].as_str().unwrap().contains(changed.etag()), "{}", stale.body);
    client.put_if(&path(&created), &format!("W/{}", changed.etag()), &second).await.assert_refused(412, "precondition-failed", "");
    let repeated = client.put_if(&path(&created), created.etag(), &first).await;
    assert_eq!((repeated.status.as_u16(), repeated.etag()), (200, changed.etag()), "a change that is made already is answered alike");
    client.put_if("/campaigns/4711", "*", &first).await.assert_refused(404, "unknown-campaign", "");
    assert_eq!(client.put_if(&path(&created), "*", &second).await.status.as_u16(), 200);
}

#[tokio::test]
async fn who_read_a_campaign_before_its_start_cannot_change_it_unseen_after() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let created = create(&client, &content(1000, 2000)).await;
    slot.test.shift_time(std::time::Duration::from_secs(1500)).await.unwrap();
    client.put_if(&path(&created), created.etag(), &content(1000, 3000)).await.assert_refused(412, "precondition-failed", "");
    cancel(&client, &created).await.assert_refused(412, "precondition-failed", "");
    assert_eq!(client.get(&path(&created)).await.body["state"], "active");
}

#[tokio::test]
async fn of_a_running_campaign_only_the_end_can_be_moved() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let running = content(-100, 1000);
    let created = create(&client, &running).await;
    assert_eq!(created.body["state"], "active");
    let fixed = [
        ("itemId", json!("11")),
        ("prize", json!({ "value": "1.00", "currency": "EUR" })),
        ("startDateTime", json!(in_seconds(500))),
        ("ranks", json!("shared")),
        ("prizeRule", json!("shared")),
    ];
    for (member, value) in fixed {
        let mut changed = running.clone();
        changed[member] = value;
        let refused = client.put_if(&path(&created), created.etag(), &changed).await;
        refused.assert_refused(409, "campaign-started", "");
        assert!(refused.body["detail"].as_str().unwrap().contains(&format!("its {member} is fixed")), "{}", refused.body);
    }
    let mut past = running.clone();
    past["endDateTime"] = json!(in_seconds(-10));
    client.put_if(&path(&created), created.etag(), &past).await.assert_refused(422, "invalid-campaign", "/endDateTime");
    let mut etag = created.etag().to_owned();
    for end in [5000, 500] {
        let mut moved = running.clone();
        moved["endDateTime"] = json!(in_seconds(end));
        let answer = client.put_if(&path(&created), &etag, &moved).await;
        assert_eq!((answer.status.as_u16(), &answer.body["endDateTime"]), (200, &moved["endDateTime"]));
        etag = answer.etag().to_owned();
    }
}

#[tokio::test]
async fn an_end_before_the_start_is_refused_in_a_change_too() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let created = create(&client, &content(1000, 2000)).await;
    let answer = client.put_if(&path(&created), created.etag(), &content(2000, 1000)).await;
    answer.assert_refused(422, "invalid-campaign", "/endDateTime");
    let mut with_id = content(1000, 3000);
    with_id["campaignId"] = json!("1");
    client.put_if(&path(&created), created.etag(), &with_id).await.assert_refused(422, "invalid-body", "/campaignId");
}

#[tokio::test]
async fn a_campaign_that_has_ended_can_be_neither_changed_nor_cancelled() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let created = create(&client, &content(-100, 1000)).await;
    slot.test.shift_time(std::time::Duration::from_secs(2000)).await.unwrap();
    let ended = client.get(&path(&created)).await;
    assert_eq!(ended.body["state"], "ended");
    client.put_if(&path(&created), ended.etag(), &content(-100, 5000)).await.assert_refused(409, "campaign-ended", "");
    cancel(&client, &ended).await.assert_refused(409, "campaign-ended", "");
}

#[tokio::test]
async fn a_campaign_is_cancelled_once_and_then_stays_as_it_is() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    for start in [-100, 1000] {
        let created = create(&client, &content(start, 2000)).await;
        let request = client.request(http::Method::POST, &format!("{}/cancel", path(&created)));
        client.send(request).await.assert_refused(428, "precondition-required", "");
        cancel_if(&client, &created, "\"stale\"").await.assert_refused(412, "precondition-failed", "");
        let cancelled = cancel(&client, &created).await;
        assert_eq!((cancelled.status.as_u16(), &cancelled.body["state"]), (200, &json!("cancelled")), "{}", cancelled.body);
        let end = if start < 0 { &cancelled.body["cancelledAt"] } else { &created.body["endDateTime"] };
        assert_eq!(&cancelled.body["endDateTime"], end, "one that runs ends as it is cancelled");
        let repeated = cancel(&client, &created).await;
        assert_eq!((repeated.status.as_u16(), &repeated.body, repeated.etag()), (200, &cancelled.body, cancelled.etag()));
        client.put_if(&path(&created), cancelled.etag(), &content(start, 5000)).await.assert_refused(409, "campaign-ended", "");
    }
    assert_eq!(client.get("/campaigns/active").await.body["campaigns"], json!([]));
}

#[tokio::test]
async fn campaigns_are_listed_by_state_and_item_in_pages() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut of_item_11 = content(-100, 50);
    of_item_11["itemId"] = json!("11");
    let contents = [content(-100, 1000), content(-100, 50), of_item_11, content(900, 1000), content(-100, 1000), content(900, 1000)];
    let mut ids = Vec::new();
    for content in &contents {
        ids.push(create(&client, content).await.body["campaignId"].as_str().unwrap().to_owned());
    }
    for cancelled in &ids[4..] {
        let campaign = client.get(&format!("/campaigns/{cancelled}")).await;
        cancel(&client, &campaign).await;
    }
    slot.test.shift_time(std::time::Duration::from_secs(100)).await.unwrap();
    assert_eq!(listed(&client, "/campaigns?limit=2").await, ids);
    for (query, expected) in [
        ("state=active", vec![0]),
        ("state=ended", vec![1, 2]),
        ("state=scheduled", vec![3]),
        ("state=cancelled", vec![4, 5]),
        ("itemId=11", vec![2]),
        ("itemId=11&state=active", vec![]),
        ("itemId=4711", vec![]),
    ] {
        let expected: Vec<&String> = expected.into_iter().map(|index: usize| &ids[index]).collect();
        assert_eq!(listed(&client, &format!("/campaigns?limit=1&{query}")).await.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for query in ["state=over", "itemId=x", "limit=0", "after=x", "page=2"] {
        client.get(&format!("/campaigns?{query}")).await.assert_refused(400, "invalid-parameter", "");
    }
}

#[tokio::test]
async fn the_history_has_what_ended_last_first_and_what_came_of_it() {
    let slot = Slot::new().await;
    let (api, _worker) = (slot.api().await, slot.worker());
    let client = Client::of(&api);
    let with_purchases = create(&client, &content(-100, 60)).await;
    let mut of_another_item = content(-100, 50);
    of_another_item["itemId"] = json!("11");
    let (without, cancelled) = (create(&client, &of_another_item).await, create(&client, &content(500, 1000)).await);
    let running = create(&client, &content(-100, 1000)).await;
    cancel(&client, &cancelled).await;
    for (event, user, value) in [("1", "5", "10.00"), ("2", "6", "25.50"), ("3", "5", "10.00")] {
        let mut purchase = purchase(event);
        purchase["userId"] = json!(user);
        purchase["amount"]["value"] = json!(value);
        assert_eq!(client.post("/purchases", &purchase).await.status.as_u16(), 202);
    }
    eventually("the purchases are in the totals", async || {
        slot.lag().await == 0 && slot.events("qualified_purchase_events").await.len() >= 6
    })
    .await;
    slot.test.shift_time(std::time::Duration::from_secs(200)).await.unwrap();

    let history = client.get("/campaigns/history").await;
    let ended = history.body["campaigns"].as_array().unwrap();
    let ids: Vec<&Value> = ended.iter().map(|campaign| &campaign["campaignId"]).collect();
    assert_eq!(ids, [&with_purchases.body["campaignId"], &without.body["campaignId"], &cancelled.body["campaignId"]]);
    let euros = |value: &str| json!({ "value": value, "currency": "EUR" });
    let top_user = json!({ "userId": "6", "total": euros("25.50") });
    assert_eq!(ended[0]["outcome"], json!({ "participants": 2, "total": euros("45.50"), "topUser": top_user }));
    assert_eq!(ended[1]["outcome"], json!({ "participants": 0, "total": euros("0.00") }));
    assert_eq!((&ended[0]["state"], &ended[2]["state"]), (&json!("ended"), &json!("cancelled")));
    assert_eq!(&ended[2]["endedAt"], &ended[2]["cancelledAt"]);
    assert!(!ids.contains(&&running.body["campaignId"]));

    assert_eq!(listed(&client, "/campaigns/history?limit=1").await, ids.iter().map(|id| id.as_str().unwrap()).collect::<Vec<_>>());
    assert_eq!(client.get("/campaigns/history").await.body, history.body, "what was counted is kept");
    client.get("/campaigns/history?after=x").await.assert_refused(400, "invalid-parameter", "");
    client.get("/campaigns/history?limit=101").await.assert_refused(400, "invalid-parameter", "");

    // a purchase that is reported late, of when the campaign ran
    let mut late = purchase("late");
    late["timestamp"] = json!(in_seconds(-50));
    late["userId"] = json!("9");
    late["amount"]["value"] = json!("100.00");
    assert_eq!(client.post("/purchases", &late).await.status.as_u16(), 202);
    eventually("the history has it", async || {
        client.get("/campaigns/history").await.body["campaigns"][0]["outcome"]["topUser"]["userId"] == "9"
    })
    .await;
}
