//! Leaderboards over HTTP, watched by real clients: the page, and the events that keep it current.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tenantry_harness::issuer::in_seconds;

use crate::api_client::{Client, buy, campaign, put_names};
use crate::fixture::{Slot, eventually};

/// A viewer of events. What it has read and not looked at is in `text`.
pub struct Viewer {
    response: reqwest::Response,
    text: String,
}

#[derive(Debug, PartialEq)]
pub struct Event {
    pub kind: String,
    pub id: String,
    pub data: Value,
}

impl Viewer {
    pub async fn of(client: &Client, path: &str, last: Option<&str>) -> Self {
        let mut request = client.request(http::Method::GET, path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Self::answered(client.stream(request).await)
    }

    async fn with_token(client: &Client, path: &str, token: &str) -> Self {
        Self::answered(client.stream(client.request(http::Method::GET, path).bearer_auth(token)).await)
    }

    fn answered(response: reqwest::Response) -> Self {
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let event = line("event: ").zip(line("id: ")).zip(line("data: "));
                self.text = rest.to_owned();
                // What has no data is a comment or the time to come back after.
                if let Some(((kind, id), data)) = event {
                    return Some(Event { kind, id, data: serde_json::from_str(&data).unwrap() });
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.response.chunk()).await.expect("in time").ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

/// What a page shows, by the rules that the API's documentation gives.
#[derive(Default)]
pub struct Page {
    pub version: String,
    users: u64,
    positions: Vec<Value>,
}

impl Page {
    pub fn receive(&mut self, event: Event) {
        let positions = event.data["positions"].as_array().unwrap().clone();
        match event.kind.as_str() {
            "snapshot" => self.positions = positions,
            "changes" => {
                assert_eq!(event.data["after"], json!(self.version), "no event is left out");
                self.positions.resize(event.data["length"].as_u64().unwrap() as usize, Value::Null);
                for place in positions {
                    let index = place["position"].as_u64().unwrap() as usize;
                    self.positions[index] = place;
                }
            }
            other => panic!("{other}"),
        }
        self.users = event.data["users"].as_u64().unwrap();
        self.version = event.id;
    }

    pub fn totals(&self) -> Vec<(&str, &str)> {
        self.positions.iter().map(|place| (place["userId"].as_str().unwrap(), place["total"]["value"].as_str().unwrap())).collect()
    }
}

#[tokio::test]
async fn a_viewer_gets_the_whole_once_and_then_what_changes_and_sees_what_the_records_say() {
    let slot = Slot::new().await;
    let (api, _worker) = (slot.api().await, slot.worker());
    let (client, anybody) = (Client::of(&api), Client::anonymous(&api));
    client.post("/campaigns", &campaign(Some("42"))).await;
    put_names(&client, json!([{ "userId": "5", "name": "Anna" }])).await;
    let mut viewer = Viewer::of(&anybody, "/leaderboards/42/events", None).await;
    let mut page = Page::default();
    let first = viewer.next().await.unwrap();
    assert_eq!((first.kind.as_str(), first.id.as_str()), ("snapshot", "0"));
    page.receive(first);
    buy(&client, "1", "5", "10.00").await;
    buy(&client, "2", "6", "25.50").await;
    buy(&client, "3", "5", "20.00").await;
    while page.totals() != [("5", "30.00"), ("6", "25.50")] {
        let event = viewer.next().await.unwrap();
        assert_eq!(event.kind, "changes");
        page.receive(event);
    }
    assert_eq!(page.users, 2);
    assert_eq!((&page.positions[0]["name"], &page.positions[1]["name"]), (&json!("Anna"), &Value::Null));
    let records = anybody.get("/records/top/100/42").await;
    assert_eq!(records.body["headers"]["version"], json!(page.version));
    for (shown, record) in page.positions.iter().zip(records.body["records"]["positions"].as_array().unwrap()) {
        for member in ["userId", "position", "rank", "total"] {
            assert_eq!(shown[member], record[member]);
        }
    }
}

#[tokio::test]
async fn a_viewer_that_comes_back_goes_on_after_its_last_event_and_with_an_unknown_one_gets_the_whole() {
    let slot = Slot::new().await;
    let (api, _worker) = (slot.api().await, slot.worker());
    let client = Client::of(&api);
    client.post("/campaigns", &campaign(Some("42"))).await;
    let path = "/leaderboards/42/events";
    // It keeps the leaderboard open while the other is away.
    let mut stays = Viewer::of(&client, path, None).await;
    let mut page = Page::default();
    page.receive(stays.next().await.unwrap());
    for number in 1..=3 {
        buy(&client, &number.to_string(), &number.to_string(), "1.00").await;
        while page.positions.len() < number {
            page.receive(stays.next().await.unwrap());
        }
    }
    let mut returns = Viewer::of(&client, path, Some("0")).await;
    let mut missed = Page { version: "0".to_owned(), ..Page::default() };
    while missed.version != page.version {
        let event = returns.next().await.unwrap();
        assert_eq!(event.kind, "changes");
        missed.receive(event);
    }
    assert_eq!(missed.positions, page.positions);
    for unknown in ["4711", "-1", "x", "99999999999999999999"] {
        assert_eq!(Viewer::of(&client, path, Some(unknown)).await.next().await.unwrap().kind, "snapshot", "{unknown}");
    }
    // Who has the last event gets nothing until there is another.
    let mut current = Viewer::of(&client, path, Some(&page.version)).await;
    buy(&client, "4", "4", "9.00").await;
    assert_eq!(current.next().await.unwrap().data["after"], json!(page.version));
}

#[tokio::test]
async fn a_user_watches_the_own_position() {
    let slot = Slot::new().await;
    let (api, _worker) = (slot.api().await, slot.worker());
    let client = Client::of(&api);
    client.post("/campaigns", &campaign(Some("42"))).await;
    let mut viewer = Viewer::of(&client, "/leaderboards/42/positions/5/events", None).await;
    let none = viewer.next().await.unwrap();
    assert_eq!((none.kind.as_str(), &none.data["position"]), ("position", &Value::Null));
    buy(&client, "1", "5", "10.00").await;
    let first = viewer.next().await.unwrap();
    assert_eq!((&first.data["position"], &first.data["rank"], &first.data["userId"]), (&json!(0), &json!(1), &json!("5")));
    buy(&client, "2", "6", "25.50").await;
    assert_eq!(viewer.next().await.unwrap().data["position"], json!(1));
}

#[tokio::test]
async fn a_watched_position_ends_with_its_credential_and_a_new_request_says_why() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let (client, anybody) = (Client::of(&api), Client::anonymous(&api));
    client.post("/campaigns", &campaign(Some("42"))).await;
    let path = "/leaderboards/42/positions/7/events";
    let mut claims = slot.issuer.claims("records:read");
    claims["exp"] = json!(in_seconds(-27));
    let expiring = slot.issuer.sign(&claims).unwrap();
    let made = client.post("/api-keys", &json!({ "name": "screen", "scopes": ["records:read:all"] })).await.body;
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let mut watching = Viewer::with_token(&anybody, path, &slot.issuer.token("records:read").unwrap()).await;
    let mut ending = [Viewer::with_token(&anybody, path, &expiring).await, Viewer::with_token(&anybody, path, key).await];
    for viewer in ending.iter_mut().chain([&mut watching]) {
        assert_eq!(viewer.next().await.unwrap().kind, "position");
    }
    assert_eq!(client.send(client.request(http::Method::DELETE, &format!("/api-keys/{id}"))).await.status.as_u16(), 204);
    for (mut viewer, (token, reason)) in ending.into_iter().zip([(expiring.as_str(), "has expired"), (key, "was revoked")]) {
        assert_eq!(viewer.next().await, None);
        let refused = anybody.send(anybody.request(http::Method::GET, path).bearer_auth(token)).await;
        refused.assert_refused(401, "unauthenticated", "");
        assert!(refused.body["detail"].as_str().unwrap().contains(reason), "{}", refused.body);
    }
    let _worker = slot.worker();
    buy(&client, "1", "7", "10.00").await;
    assert_eq!(watching.next().await.unwrap().data["position"], json!(0));
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    for path in ["/leaderboards/4711", "/leaderboards/4711/events", "/leaderboards/4711/positions/5/events"] {
        client.get(path).await.assert_refused(404, "unknown-campaign", "");
    }
    for path in ["/leaderboards/x/events", "/leaderboards/9223372036854775808", "/leaderboards/1/positions/0/events"] {
        client.get(path).await.assert_refused(400, "invalid-parameter", "");
    }
}

#[tokio::test]
async fn why_there_is_no_page_is_on_a_page_and_in_the_access_log() {
    let slot = Slot::new().await;
    let (api, log) = slot.api_with_log().await;
    let anybody = Client::anonymous(&api);
    let answer = anybody.send(anybody.request(http::Method::GET, "/leaderboards/4711").header("accept", "text/html")).await;
    assert_eq!((answer.status.as_u16(), answer.headers["content-type"].to_str().unwrap()), (404, "text/html; charset=utf-8"));
    assert!(answer.body.as_str().unwrap().contains("<p>There is no campaign 4711: see GET /campaigns/active.</p>"), "{}", answer.body);
    let mut logged = None;
    eventually("the request is logged", async || {
        let lines = std::fs::read_to_string(&log).unwrap();
        logged =
            lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| line["path"] == "/leaderboards/4711");
        logged.is_some()
    })
    .await;
    let logged = logged.unwrap();
    assert_eq!(logged["status"], 404, "{logged}");
    assert_eq!(logged["problem"], "there is no campaign 4711: see GET /campaigns/active", "{logged}");
}

#[tokio::test]
async fn viewers_do_not_hold_a_process_that_is_asked_to_stop() {
    let slot = Slot::new().await;
    let mut api = slot.api().await;
    let client = Client::of(&api);
    client.post("/campaigns", &campaign(Some("42"))).await;
    let mut board = Viewer::of(&client, "/leaderboards/42/events", None).await;
    let mut own = Viewer::of(&client, "/leaderboards/42/positions/5/events", None).await;
    assert!(board.next().await.is_some() && own.next().await.is_some());
    api.process.terminate().unwrap();
    assert_eq!((board.next().await, own.next().await), (None, None));
    eventually("the process ends", async || api.process.try_wait().unwrap().is_some()).await;
}

#[tokio::test]
async fn a_viewer_that_does_not_keep_up_is_cut_off_and_not_waited_for() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 600.0).await;
    let (standings, _running) = slot.standings();
    let leaderboards = campaigns::leaderboards::Leaderboards::new(standings, slot.store.clone(), Default::default(), Default::default());
    let mut slow = Box::pin(leaderboards.watch(campaign, None).await.unwrap());
    let mut quick = Box::pin(leaderboards.watch(campaign, None).await.unwrap());
    assert!(slow.next().await.is_some() && quick.next().await.is_some());
    let _worker = slot.worker();
    // The quick one sees event after event, while nobody reads what the slow one is sent.
    for number in 0..40 {
        slot.store.accept_purchase(&crate::fixture::purchase(number, 1 + number, 10, 100)).await.unwrap();
        assert!(quick.next().await.is_some());
    }
    assert!(slow.next().await.is_none(), "it was cut off");
    drop(slow);
    assert!(leaderboards.watch(campaign, None).await.is_ok(), "and may come back");
}

#[tokio::test]
async fn names_are_taken_in_batches_and_wrong_ones_refused_whole() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let put = async |users: Value| client.send(client.request(http::Method::PUT, "/users").json(&json!({ "users": users }))).await;
    put_names(&client, json!([])).await;
    let many: Vec<Value> = (1..=10_000).map(|id| json!({ "userId": id.to_string(), "name": format!("User {id}") })).collect();
    put_names(&client, json!(many)).await;
    put_names(&client, json!(many)).await;
    put_names(&client, json!([{ "userId": "1", "name": "A" }, { "userId": "1", "name": "Anna" }, { "userId": "2", "name": null }])).await;
    let wrong = put(json!([{ "userId": "3", "name": "Carl" }, { "userId": "4", "name": "two\nlines" }])).await;
    wrong.assert_refused(422, "invalid-users", "/users/1/name");
    put(json!([{ "userId": "3" }])).await.assert_refused(422, "invalid-body", "/users/0");
    let too_many: Vec<Value> = (1..=10_001).map(|id| json!({ "userId": id.to_string(), "name": "x" })).collect();
    put(json!(too_many)).await.assert_refused(422, "invalid-users", "/users");
    let ids: Vec<campaigns::domain::UserId> = (1..=4).map(|id| campaigns::domain::UserId::new(id).unwrap()).collect();
    let names = slot.store.user_names(&ids).await.unwrap();
    let name = |index: usize| names.get(&ids[index]).map(|name| name.as_str());
    assert_eq!([name(0), name(1), name(2), name(3)], [Some("Anna"), None, Some("User 3"), Some("User 4")]);
}

#[tokio::test]
async fn the_page_shows_the_positions_and_loads_nothing_from_elsewhere() {
    let slot = Slot::new().await;
    let (api, _worker) = (slot.api().await, slot.worker());
    let (client, anybody) = (Client::of(&api), Client::anonymous(&api));
    client.post("/campaigns", &campaign(Some("42"))).await;
    put_names(&client, json!([{ "userId": "5", "name": "<script>alert(1)</script>" }])).await;
    buy(&client, "1", "5", "10.00").await;
    buy(&client, "2", "6", "5.00").await;
    let mut page = None;
    eventually("the page shows the purchases", async || {
        let answer = anybody.get("/leaderboards/42").await;
        let shows = answer.body.as_str().is_some_and(|html| html.contains("10.00 EUR") && html.contains("User 6"));
        page = Some(answer);
        shows
    })
    .await;
    let page = page.unwrap();
    let html = page.body.as_str().unwrap();
    assert!(!html.contains("<script>alert") && html.contains("alert(1)"), "{html}");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"));
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    for (path, content_type) in [("leaderboard.js", "text/javascript; charset=utf-8"), ("leaderboard.css", "text/css; charset=utf-8")] {
        assert!(html.contains(&format!("\"../leaderboards/assets/{path}\"")));
        let asset = anybody.get(&format!("/leaderboards/assets/{path}")).await;
        assert_eq!((asset.status.as_u16(), &asset.headers["content-type"]), (200, &content_type.parse().unwrap()));
    }
}
