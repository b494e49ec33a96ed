//! Signed webhooks, as Standard Webhooks 1.0 has them: a POST of JSON whose receiver can tell who sent it, when, and whether it has
//! it already.
//!
//! The headers are `webhook-id`, which is the same however often a message is sent and is also its `Idempotency-Key`; `webhook-timestamp`, in
//! seconds of Unix time; and `webhook-signature`, one `v1,<base64>` for each key: the HMAC-SHA256 of id, timestamp and body with dots between
//! them. Whoever sends decides whether to try again: [`Undelivered`] says whether that makes sense.
//!
//! Each request has a connection of its own: what a server sends after its answer must never be taken for the answer to the next request.

mod answer;
mod signing_key;
mod url;

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Request};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use rustls::crypto::ring;

pub use answer::Undelivered;
pub use signing_key::{SigningKey, SigningKeyError, SigningKeys};
pub use url::{WebhookUrl, WebhookUrlError};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const USER_AGENT: &str = concat!("tenantry/", env!("CARGO_PKG_VERSION"));

/// Where messages are sent, and with what they are signed.
#[derive(Debug)]
pub struct Webhook {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: WebhookUrl,
    keys: SigningKeys,
    timeout: Duration,
}

impl Webhook {
    /// Sends to `url`, signed with `keys`; who does not answer within `timeout` has not. Servers are trusted whose certificate is by one of
    /// Mozilla's roots.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(url: WebhookUrl, keys: SigningKeys, timeout: Duration) -> Result<Self, rustls::Error> {
        let connector = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(ring::default_provider())?;
        let connector = connector.https_or_http().enable_http1().build();
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).retry_canceled_requests(false).build(connector);
        Ok(Self { http, url, keys, timeout })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &SigningKeys {
        &self.keys
    }

    /// Sends a message once. Redirects are not followed.
    ///
    /// # Errors
    /// When it was not taken, or that is not known: then it may have been.
    pub async fn send(&self, id: &str, body: Bytes) -> Result<(), Undelivered> {
        let keys = self.keys.read()?;
        let timestamp = Timestamp::now().as_second();
        let signatures: Vec<String> = keys.iter().map(|key| key.sign(id, timestamp, &body)).collect();
        let request = Request::post(self.url.uri())
            .header(CONTENT_TYPE, "application/json")
            .header(http::header::USER_AGENT, USER_AGENT)
            .header(ID, id)
            .header(IDEMPOTENCY_KEY, id)
            .header(TIMESTAMP, timestamp)
            .header(SIGNATURE, signatures.join(" "))
            .body(Full::new(body))
            .map_err(|error| Undelivered::Unreachable(error.to_string()))?;
        // Of an answer that says no, the beginning is read, as far as there is time.
        let deadline = tokio::time::Instant::now() + self.timeout;
        match tokio::time::timeout_at(deadline, self.http.request(request)).await {
            Ok(Ok(response)) => answer::judge(response, deadline, Timestamp::now()).await,
            Ok(Err(error)) => Err(Undelivered::Unreachable(with_causes(&error))),
            Err(_) => Err(Undelivered::TimedOut(self.timeout)),
        }
    }
}

/// An error with its causes: of itself, hyper's says only that something failed.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
