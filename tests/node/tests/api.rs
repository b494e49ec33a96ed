//! The campaigns API of one slot, as a shop calls it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tenantry_harness::node::{Node, eventually};

/// One slot's API.
#[derive(Clone)]
pub struct Api {
    url: String,
    token: String,
    client: Client,
}

impl Api {
    /// By the address of its Service and the slot's token, once it answers there.
    pub async fn of(node: &Node, namespace: &str) -> Result<Self> {
        let url = node.service_url(namespace, "campaigns").await?;
        wait_until_routed(&url).await?;
        let token = node.secret(namespace, "campaigns-api", "token").await?;
        Ok(Self { url, token, client: Client::builder().timeout(Duration::from_secs(30)).build()? })
    }

    /// The same API over connections of its own: none of them is reused when `kept` is false.
    pub fn with_connections(&self, kept: bool) -> Result<Self> {
        let idle = if kept { usize::MAX } else { 0 };
        let client = Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(idle).build()?;
        Ok(Self { client, ..self.clone() })
    }

    /// This API, asked with the token of another slot.
    pub fn with_token_of(&self, other: &Self) -> Self {
        self.with_token(&other.token)
    }

    /// This API, asked with another credential.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> reqwest::Result<Response> {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await
    }

    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Result<Response> {
        self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body).send().await
    }

    /// An item, and a campaign for it from an hour ago until in an hour.
    pub async fn create_campaign(&self, campaign: i64, item: i64) -> Result<()> {
        self.create_campaign_that_ends(campaign, item, jiff::SignedDuration::from_hours(1)).await
    }

    /// An item, and a campaign for it from an hour ago, with an end in so long.
    pub async fn create_campaign_that_ends(&self, campaign: i64, item: i64, ends_in: jiff::SignedDuration) -> Result<()> {
        let item_url = format!("{}/items/{item}", self.url);
        let answer = self.client.put(&item_url).bearer_auth(&self.token).json(&json!({ "name": format!("Item {item}") })).send().await?;
        ensure!(answer.status().is_success(), "PUT {item_url}: {}", answer.status());
        let now = jiff::Timestamp::now();
        let answer = self
            .post(
                "/campaigns",
                &json!({
                    "campaignId": campaign.to_string(),
                    "itemId": item.to_string(),
                    "prize": { "value": "500.00", "currency": "EUR" },
                    "startDateTime": (now - jiff::SignedDuration::from_hours(1)).to_string(),
                    "endDateTime": (now + ends_in).to_string(),
                }),
            )
            .await?;
        ensure!(answer.status().is_success(), "POST /campaigns: {} {}", answer.status(), answer.text().await?);
        Ok(())
    }

    /// The total of a user in a campaign, in cents; 0 while he has none.
    pub async fn total_cents(&self, campaign: i64, user: i64) -> Result<i64> {
        let answer = self.get(&format!("/records/position/{campaign}/{user}")).await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(0);
        }
        ensure!(answer.status().is_success(), "position: {}", answer.status());
        let body: Value = answer.json().await?;
        let value: rust_decimal::Decimal = body["record"]["total"]["value"].as_str().context("no total")?.parse()?;
        i64::try_from(value * rust_decimal::Decimal::ONE_HUNDRED).context("not a number of cents")
    }

    /// Waits until the total of a user is exactly this.
    pub async fn wait_for_total(&self, campaign: i64, user: i64, cents: i64) -> Result<()> {
        let what = format!("user {user} has {cents} cents");
        let found = eventually(&what, Duration::from_secs(60), || async {
            let total = self.total_cents(campaign, user).await?;
            Ok((total >= cents).then_some(total))
        })
        .await?;
        ensure!(found == cents, "user {user} has {found} cents instead of {cents}");
        Ok(())
    }
}

/// Waits until a Service's address leads to a pod: kube-proxy learns of ready pods a little later than the operator does.
pub async fn wait_until_routed(url: &str) -> Result<()> {
    eventually("the Service is routed", Duration::from_secs(15), || async {
        Ok(reqwest::get(format!("{url}/readyz")).await?.status().is_success().then_some(()))
    })
    .await
}

/// A purchase of now.
pub fn purchase(event: &str, user: i64, item: i64, cents: i64) -> Value {
    json!({
        "eventId": event,
        "userId": user.to_string(),
        "itemId": item.to_string(),
        "amount": { "value": format!("{}.{:02}", cents / 100, cents % 100), "currency": "EUR" },
        "timestamp": jiff::Timestamp::now().to_string(),
    })
}
