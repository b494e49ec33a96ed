//! A receiver of prizes: a real HTTP server that verifies what it is sent, takes each payment once, and answers as badly as it is told.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tenantry_harness::authority::ServerCertificate;
use tenantry_kit::time::UtcDateTime;
use tenantry_kit::webhook::SigningKeys;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than any sender waits here.
const FOR_EVER: Duration = Duration::from_secs(600);

/// What the receiver does with a request.
#[derive(Debug, Clone)]
pub enum Reaction {
    Take,
    /// Takes the payment, and then does something else than to say so.
    TakeAnd(Box<Reaction>),
    Answer(u16, Vec<(&'static str, String)>, &'static str),
    Hang,
    /// Closes the connection without an answer.
    Cut,
}

impl Reaction {
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), "")
    }
}

/// A request that was signed as it should be.
#[derive(Debug, Clone)]
pub struct Received {
    pub id: String,
    pub signatures: usize,
    pub body: Vec<u8>,
}

/// Says what is done with the request, given how often its payment was sent before.
type Script = Box<dyn FnMut(&Received, usize) -> Reaction + Send>;

struct Inner {
    script: Script,
    keys: SigningKeys,
    _directory: TempDir,
    received: Vec<Received>,
    taken: BTreeMap<String, Vec<u8>>,
    /// What must never be.
    wrong: Vec<String>,
}

#[derive(Clone)]
pub struct Receiver {
    url: String,
    inner: Arc<Mutex<Inner>>,
    _running: Arc<DropGuard>,
}

/// Connections on which TLS was agreed upon.
struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (connection, address) = Listener::accept(&mut self.tcp).await;
            if let Ok(connection) = self.tls.accept(connection).await {
                return (connection, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Receiver {
    /// One that knows that key.
    pub async fn start(key: &str, script: impl FnMut(&Received, usize) -> Reaction + Send + 'static) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prizes", tcp.local_addr().unwrap());
        Self::on(tcp, url, key, script)
    }

    /// As [`Self::start`], on `localhost` over https.
    pub async fn start_with_tls(
        certificate: &ServerCertificate,
        key: &str,
        script: impl FnMut(&Received, usize) -> Reaction + Send + 'static,
    ) -> Self {
        let chain = CertificateDer::pem_file_iter(&certificate.certificate).unwrap().map(Result::unwrap).collect();
        let private = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(chain, private).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/prizes", tcp.local_addr().unwrap().port());
        Self::on(TlsListener { tcp, tls: TlsAcceptor::from(Arc::new(tls)) }, url, key, script)
    }

    fn on(
        listener: impl Listener<Addr = SocketAddr>,
        url: String,
        key: &str,
        script: impl FnMut(&Received, usize) -> Reaction + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(SigningKeys::FILE), key).unwrap();
        let keys = SigningKeys::new(directory.path());
        let inner = Inner {
            script: Box::new(script),
            keys,
            _directory: directory,
            received: Vec::new(),
            taken: BTreeMap::new(),
            wrong: Vec::new(),
        };
        let (inner, stop) = (Arc::new(Mutex::new(inner)), CancellationToken::new());
        let handler = {
            let inner = Arc::clone(&inner);
            move |headers: HeaderMap, body: Bytes| receive(Arc::clone(&inner), headers, body)
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            let server = axum::serve(listener, Router::new().fallback(handler));
            tokio::select! {
                ended = server.into_future() => ended.unwrap(),
                () = stopped.cancelled() => {}
            }
        });
        Self { url, inner, _running: Arc::new(stop.drop_guard()) }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// From now on it does this.
    pub fn now(&self, script: impl FnMut(&Received, usize) -> Reaction + Send + 'static) {
        self.inner.lock().unwrap().script = Box::new(script);
    }

    pub fn received(&self) -> Vec<Received> {
        self.inner.lock().unwrap().received.clone()
    }

    /// The payments that were taken, by their keys.
    pub fn taken(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.inner.lock().unwrap();
        assert_eq!(inner.wrong, Vec::<String>::new());
        inner.taken.clone()
    }
}

async fn receive(inner: Arc<Mutex<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let reaction = {
        let mut inner = inner.lock().unwrap();
        match verify(&inner.keys, &headers, &body) {
            Err(what) => {
                inner.wrong.push(what);
                Reaction::status(401)
            }
            Ok(received) => {
                let before = inner.received.iter().filter(|earlier| earlier.id == received.id).count();
                let reaction = (inner.script)(&received, before);
                if let Reaction::Take | Reaction::TakeAnd(_) = reaction {
                    let taken = inner.taken.entry(received.id.clone()).or_insert_with(|| received.body.clone());
                    if *taken != received.body {
                        inner.wrong.push(format!("{} came with another body", received.id));
                    }
                }
                inner.received.push(received);
                reaction
            }
        }
    };
    answer(reaction).await
}

async fn answer(mut reaction: Reaction) -> Response {
    loop {
        reaction = match reaction {
            Reaction::Take => return StatusCode::NO_CONTENT.into_response(),
            Reaction::TakeAnd(then) => *then,
            Reaction::Answer(status, headers, body) => {
                let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
                let headers =
                    headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap()));
                response.headers_mut().extend(headers);
                return response;
            }
            Reaction::Hang => {
                tokio::time::sleep(FOR_EVER).await;
                Reaction::Cut
            }
            // Without the panic's hook: what is meant need not be told.
            Reaction::Cut => std::panic::resume_unwind(Box::new(())),
        }
    }
}

/// As a receiver does by the words of Standard Webhooks: any one of the signatures, by any key that it knows.
fn verify(keys: &SigningKeys, headers: &HeaderMap, body: &[u8]) -> Result<Received, String> {
    let header = |name: &str| Ok::<_, String>(headers.get(name).ok_or_else(|| format!("no {name}"))?.to_str().unwrap().to_owned());
    let (id, timestamp, signatures) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let age = UtcDateTime::now().unix_micros() / 1_000_000 - timestamp.parse::<i64>().map_err(|error| error.to_string())?;
    if age.abs() > 300 || header("idempotency-key")? != id || header("content-type")? != "application/json" {
        return Err(format!("wrong headers: {headers:?}"));
    }
    let keys = keys.read().map_err(|error| error.to_string())?;
    let mut expected = keys.iter().map(|key| key.sign(&id, timestamp.parse().unwrap(), body));
    let given: Vec<&str> = signatures.split(' ').collect();
    if !given.iter().all(|one| one.strip_prefix("v1,").is_some_and(|one| BASE64.decode(one.as_bytes()).is_ok_and(|mac| mac.len() == 32))) {
        return Err(format!("malformed: {signatures}"));
    }
    if !expected.any(|expected| given.contains(&expected.as_str())) {
        return Err(format!("by none of the keys: {signatures}"));
    }
    Ok(Received { id, signatures: given.len(), body: body.to_vec() })
}
