//! A caller of the API, and what a caller would send.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tenantry_kit::time::UtcDateTime;

use crate::fixture::{Api, TOKEN};

pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<&'static str>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn etag(&self) -> &str {
        self.headers["etag"].to_str().unwrap()
    }

    /// The last part of a problem's type.
    pub fn problem(&self) -> &str {
        let kind = self.body["type"].as_str().unwrap_or_else(|| panic!("no problem: {} {}", self.status, self.body));
        kind.strip_prefix("urn:tenantry:problem:").unwrap()
    }

    /// Asserts that it is this problem, and that it names the member at fault.
    pub fn assert_refused(&self, status: u16, problem: &str, pointer: &str) {
        assert_eq!((self.status.as_u16(), self.problem()), (status, problem), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let pointers: Vec<&str> =
            self.body["errors"].as_array().into_iter().flatten().filter_map(|error| error["pointer"].as_str()).collect();
        assert_eq!(pointers, if status == 422 { vec![pointer] } else { vec![] }, "{}", self.body);
        assert!(!self.body["detail"].as_str().unwrap().is_empty());
    }
}

impl Client {
    /// With the slot's token.
    pub fn of(api: &Api) -> Self {
        Self { http: reqwest::Client::new(), base: format!("http://127.0.0.1:{}", api.port), token: Some(TOKEN) }
    }

    /// Without a credential.
    pub fn anonymous(api: &Api) -> Self {
        Self { token: None, ..Self::of(api) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.http.post(self.url(path)).json(body)).await
    }

    /// A change of the version with this ETag.
    pub async fn put_if(&self, path: &str, etag: &str, body: &Value) -> Answer {
        self.send(self.http.put(self.url(path)).header("if-match", etag).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.http.put(self.url(path)).json(body)).await
    }

    /// Posts lines.
    pub async fn post_lines(&self, path: &str, lines: impl Into<Vec<u8>>) -> Answer {
        self.send(self.http.post(self.url(path)).header("content-type", "application/x-ndjson").body(lines.into())).await
    }

    pub async fn post_text(&self, path: &str, body: String) -> Answer {
        self.send(self.http.post(self.url(path)).header("content-type", "application/json").body(body)).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = match self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// Sends a request whose answer is read bit by bit.
    pub async fn stream(&self, request: reqwest::RequestBuilder) -> reqwest::Response {
        match self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
        .send()
        .await
        .unwrap()
    }

    pub fn request(&self, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// Seconds from now, as a caller writes it.
pub fn in_seconds(seconds: i64) -> String {
    UtcDateTime::from_unix_micros(UtcDateTime::now().unix_micros() + seconds * 1_000_000).unwrap().to_string()
}

/// A purchase that is taken.
pub fn purchase(event_id: &str) -> Value {
    json!({
        "eventId": event_id,
        "userId": "7",
        "itemId": "10",
        "amount": { "value": "12.30", "currency": "EUR" },
        "timestamp": in_seconds(0),
    })
}

/// The purchase with the member at `pointer` replaced.
pub fn purchase_with(pointer: &str, value: Value) -> Value {
    let mut purchase = purchase("changed");
    *purchase.pointer_mut(pointer).unwrap() = value;
    purchase
}

/// A campaign that is created, for item 10, active for an hour.
pub fn campaign(id: Option<&str>) -> Value {
    let mut campaign = json!({
        "itemId": "10",
        "prize": { "value": "100.00", "currency": "EUR" },
        "startDateTime": in_seconds(-3600),
        "endDateTime": in_seconds(3600),
    });
    if let Some(id) = id {
        campaign["campaignId"] = json!(id);
    }
    campaign
}

/// A user buys item 10, for so many euros.
pub async fn buy(client: &Client, event: &str, user: &str, value: &str) {
    let mut purchase = purchase(event);
    purchase["userId"] = json!(user);
    purchase["amount"]["value"] = json!(value);
    let answer = client.post("/purchases", &purchase).await;
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.body);
}

/// Sets the names of users.
pub async fn put_names(client: &Client, users: Value) {
    let answer = client.put("/users", &json!({ "users": users })).await;
    assert_eq!(answer.status.as_u16(), 204, "{}", answer.body);
}

/// Gives an item that is there another name.
pub async fn name_item(client: &Client, item: &str, name: &str) {
    let answer = client.put(&format!("/items/{item}"), &json!({ "name": name })).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
}
