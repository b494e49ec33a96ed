//! The slot's API, as a client outside of the cluster sees it: `POST /purchases`, tried again while it is overloaded or not there.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use serde::Deserialize;
use serde_json::Value;
use tenantry_kit::credentials::Secret;
use tokio::time::Instant;

use super::progress::Progress;

const PATH: &str = "/purchases";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why purchases could not be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("--url must be of the form https://HOST or http://HOST, with a path at most")]
    Url,
    #[error("the token has characters that a header cannot have: is the file the right one?")]
    Token,
    #[error("no certificates are known by which the API could be trusted: {0}; set SSL_CERT_FILE to a file with them")]
    Certificates(String),
    #[error("the API did not take the purchases for {} s, at last: {reason}; run the same command again to go on", patience.as_secs())]
    Unavailable { patience: Duration, reason: String },
    #[error("the API refused the token ({0}): check --token-file, then run the same command again")]
    Unauthorized(String),
    #[error("the API answered {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("{0} did not answer as the campaigns API does: check --url")]
    NotTheApi(Uri),
}

impl ClientError {
    /// Whether nothing was sent, and never will be.
    pub(super) fn is_wrong_command(&self) -> bool {
        matches!(self, Self::Url | Self::Token)
    }
}

/// What became of a batch: the answer of `POST /purchases`.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) accepted: u64,
    pub(super) repeated: u64,
    pub(super) refused: Vec<RefusedLine>,
}

/// A line of the batch, counted from 1, that was refused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefusedLine {
    pub(super) line: usize,
    pub(super) event_id: Option<String>,
    pub(super) problem: Value,
}

/// A client of one slot's API.
pub(super) struct ApiClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    authorization: HeaderValue,
    patience: Duration,
}

/// What may be tried again.
struct Trouble {
    reason: String,
    pause: Option<Duration>,
}

impl ApiClient {
    pub(super) fn new(base: &Uri, token: &Secret, patience: Duration) -> Result<Self, ClientError> {
        let base = base.to_string();
        let uri: Uri = format!("{}{PATH}", base.trim_end_matches('/')).parse().map_err(|_| ClientError::Url)?;
        let connector = match uri.scheme() {
            _ if uri.query().is_some() => return Err(ClientError::Url),
            Some(scheme) if *scheme == Scheme::HTTPS => {
                let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(ring::default_provider());
                builder.map_err(|error| ClientError::Certificates(error.to_string()))?.https_only().enable_http1().build()
            }
            Some(scheme) if *scheme == Scheme::HTTP => without_certificates()?,
            _ => return Err(ClientError::Url),
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| ClientError::Token)?;
        authorization.set_sensitive(true);
        Ok(Self { http: Client::builder(TokioExecutor::new()).build(connector), uri, authorization, patience })
    }

    /// Sends lines, each the JSON of a purchase, until it is known what became of them.
    pub(super) async fn send(&self, lines: Bytes, progress: &Progress) -> Result<Report, ClientError> {
        let deadline = Instant::now() + self.patience;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let trouble = match self.try_once(lines.clone()).await {
                Ok(report) => return Ok(report),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Momentary(trouble)) => trouble,
            };
            let wait = trouble.pause.unwrap_or(pause).min(LONGEST_PAUSE);
            if Instant::now() + wait > deadline {
                return Err(ClientError::Unavailable { patience: self.patience, reason: trouble.reason });
            }
            if pause > SHORTEST_PAUSE {
                progress.say(&format!("{}: trying again", trouble.reason));
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_once(&self, lines: Bytes) -> Result<Report, Failure> {
        let request = Request::post(&self.uri)
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::new(lines))
            .map_err(|_| Failure::Final(ClientError::Url))?;
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.http.request(request));
        let response = match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(momentary(reason(&error), None)),
            Err(_) => return Err(momentary("no answer came in time".to_owned(), None)),
        };
        let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let (status, body) = read(response).await?;
        let detail = || {
            let problem: Option<Value> = serde_json::from_slice(&body).ok();
            problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned())).unwrap_or_default()
        };
        match status {
            StatusCode::ACCEPTED | StatusCode::MULTI_STATUS => {
                serde_json::from_slice(&body).map_err(|_| Failure::Final(ClientError::NotTheApi(self.uri.clone())))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Err(momentary(format!("{status} {}", detail()), pause))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Final(ClientError::Unauthorized(detail()))),
            StatusCode::NOT_FOUND => Err(Failure::Final(ClientError::NotTheApi(self.uri.clone()))),
            status => Err(Failure::Final(ClientError::Refused { status, detail: detail() })),
        }
    }
}

enum Failure {
    Momentary(Trouble),
    Final(ClientError),
}

fn momentary(reason: String, pause: Option<Duration>) -> Failure {
    Failure::Momentary(Trouble { reason, pause })
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<(StatusCode, Bytes), Failure> {
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(REQUEST_TIMEOUT, Limited::new(body, MAX_ANSWER).collect()).await;
    match body {
        Ok(Ok(body)) => Ok((parts.status, body.to_bytes())),
        Ok(Err(error)) => Err(momentary(error.to_string(), None)),
        Err(_) => Err(momentary("the answer did not end in time".to_owned(), None)),
    }
}

/// An error with its causes: of itself, hyper's says only that something failed.
fn reason(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn without_certificates() -> Result<HttpsConnector<HttpConnector>, ClientError> {
    let config = rustls::ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Certificates(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build())
}
