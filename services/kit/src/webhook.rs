//! Signed webhooks, as Standard Webhooks 1.0 has them: a POST of JSON whose receiver can tell who sent it, when, and whether it has
//! it already.
//!
//! The headers are `webhook-id`, which is the same however often a message is sent and is also its `Idempotency-Key`; `webhook-timestamp`, in
//! seconds of Unix time; and `webhook-signature`, one `v1,<base64>` for each key: the HMAC-SHA256 of id, timestamp and body with dots between
//! them. Whoever sends decides whether to try again: [`Undelivered`] says whether that makes sense.
//!
//! Each request has a connection of its own: what a server sends after its answer must never be taken for the answer to the next request.

mod answer;
mod authorities;
mod credential;
mod signing_key;
mod url;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Request};
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

pub use answer::Undelivered;
pub use authorities::{Authorities, AuthoritiesError};
pub use credential::{WebhookCredential, WebhookCredentialError};
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
    url: WebhookUrl,
    credential: WebhookCredential,
    timeout: Duration,
    tls: ConfigBuilder<ClientConfig, WantsVerifier>,
    /// Of the web's authorities: made once, for there are many.
    web: ClientConfig,
}

impl Webhook {
    /// Sends to `url`, signed with the credential's keys; who does not answer within `timeout` has not. Servers are trusted whose certificate is by
    /// one of the credential's authorities; where it names none, by one of Mozilla's roots.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(url: WebhookUrl, credential: WebhookCredential, timeout: Duration) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let web = tls.clone().with_webpki_roots().with_no_client_auth();
        Ok(Self { url, credential, timeout, tls, web })
    }

    /// The credential.
    #[must_use]
    pub fn credential(&self) -> &WebhookCredential {
        &self.credential
    }

    /// Sends a message once. Redirects are not followed.
    ///
    /// # Errors
    /// When it was not taken, or that is not known: then it may have been.
    pub async fn send(&self, id: &str, body: Bytes) -> Result<(), Undelivered> {
        let keys = self.credential.keys.read().map_err(WebhookCredentialError::from)?;
        let tls = self.trust()?;
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
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).retry_canceled_requests(false).build(connector);
        // Of an answer that says no, the beginning is read, as far as there is time.
        let deadline = tokio::time::Instant::now() + self.timeout;
        match tokio::time::timeout_at(deadline, http.request(request)).await {
            Ok(Ok(response)) => answer::judge(response, deadline, Timestamp::now()).await,
            Ok(Err(error)) => Err(Undelivered::Unreachable(with_causes(&error))),
            Err(_) => Err(Undelivered::TimedOut(self.timeout)),
        }
    }

    /// TLS as it is now. Authorities of a file are set up at each try, so that no session is resumed that began with others.
    fn trust(&self) -> Result<ClientConfig, WebhookCredentialError> {
        let Some(authorities) = self.credential.authorities.read()? else { return Ok(self.web.clone()) };
        Ok(self.tls.clone().with_root_certificates(authorities).with_no_client_auth())
    }
}

/// An error with its causes: of itself, hyper's says only that something failed.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    /// The first byte of a TLS record with a handshake (RFC 8446, section 5.1).
    const HANDSHAKE: u8 = 22;

    /// A webhook of that scheme, where its requests arrive, and the directory of its key.
    async fn webhook(scheme: &str) -> (Webhook, TcpListener, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(SigningKeys::FILE), KEY).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://localhost:{}/secret-path", listener.local_addr().unwrap().port());
        let webhook = Webhook::new(url.parse().unwrap(), WebhookCredential::new(directory.path()), Duration::from_secs(10)).unwrap();
        (webhook, listener, directory)
    }

    #[tokio::test]
    async fn over_https_nothing_is_said_before_there_is_a_certificate_to_trust() {
        let (webhook, listener, _directory) = webhook("https").await;
        let server = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut said = vec![0; 4096];
            let length = connection.read(&mut said).await.unwrap();
            said.truncate(length);
            said
        };
        let (said, sent) = tokio::join!(server, webhook.send("id", Bytes::from_static(b"secret-body")));
        assert_eq!(said[0], HANDSHAKE);
        assert!(!said.windows(6).any(|window| window == b"secret"));
        assert!(matches!(sent, Err(Undelivered::Unreachable(_))), "{sent:?}");
    }

    /// Where a connection served several requests, a second answer to one would be taken for the answer to the next.
    #[tokio::test]
    async fn each_request_has_a_connection_of_its_own() {
        const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let (webhook, listener, _directory) = webhook("http").await;
        let server = async {
            let mut open = Vec::new();
            for answer in [TAKEN.to_owned(), TAKEN.repeat(2), BUSY.to_owned()] {
                let (mut connection, _) = listener.accept().await.unwrap();
                assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
                connection.write_all(answer.as_bytes()).await.unwrap();
                open.push(connection);
            }
            std::future::pending::<()>().await;
        };
        let client = async {
            let mut outcomes = Vec::new();
            for id in ["1", "2", "3"] {
                outcomes.push(webhook.send(id, Bytes::new()).await);
            }
            outcomes
        };
        let outcomes = tokio::select! {
            outcomes = client => outcomes,
            () = server => unreachable!("it stays open"),
        };
        assert!(matches!(outcomes.as_slice(), [Ok(()), Ok(()), Err(Undelivered::Later { .. })]), "{outcomes:?}");
    }

    #[tokio::test]
    async fn without_a_key_nothing_is_sent() {
        let (webhook, listener, directory) = webhook("http").await;
        std::fs::remove_file(directory.path().join(SigningKeys::FILE)).unwrap();
        let sent = webhook.send("id", Bytes::new()).await;
        assert!(matches!(sent, Err(Undelivered::Credential(WebhookCredentialError::Key(_)))), "{sent:?}");
        let connection = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(connection.is_err(), "somebody has connected");
    }
}
