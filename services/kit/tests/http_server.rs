//! Stopping without dropping a request, over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use tenantry_kit::http::{Process, ServerOptions, serve, worker_router};
use tenantry_kit::shutdown::{Readiness, Shutdown};
use tenantry_kit::telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const OPTIONS: ServerOptions = ServerOptions {
    lame_duck: Duration::ZERO,
    drain_limit: Duration::from_secs(30),
    head_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(30),
    max_connections: 100,
};

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
    entered: Arc<Notify>,
    leave: Arc<Notify>,
    /// Notified when an answer of `/endless` is dropped.
    dropped: Arc<Notify>,
}

struct NotifiesWhenDropped(Arc<Notify>);

impl Drop for NotifiesWhenDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Server {
    /// Answers `/slow` when it is told to, and `/endless` without an end.
    async fn start(options: ServerOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let process = Process { metrics: Metrics::new(), readiness: Readiness::new(shutdown.clone()), shutdown: shutdown.clone() };
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            async move || {
                entered.notify_one();
                leave.notified().await;
                "slow"
            }
        };
        let dropped = Arc::new(Notify::new());
        let endless = {
            let dropped = Arc::clone(&dropped);
            async move || {
                let guard = NotifiesWhenDropped(dropped);
                let chunk = move || {
                    let _ = &guard;
                    Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(&[b'x'; 65536]))
                };
                Body::from_stream(futures::stream::repeat_with(chunk))
            }
        };
        let router = Router::new().route("/slow", get(slow)).route("/endless", get(endless)).merge(worker_router(&process));
        let task = {
            let shutdown = shutdown.clone();
            tokio::spawn(async move { serve(listener, router, &shutdown, options).await })
        };
        Self { address, shutdown, task, entered, leave, dropped }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn is_ready(&self) -> bool {
        // a new connection each time, as the kubelet's probes
        reqwest::get(self.url("/readyz")).await.is_ok_and(|answer| answer.status().is_success())
    }
}

async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, what).await.expect("in time")
}

/// Sends requests, over kept or new connections, to a server that is ready, as a load balancer does.
async fn client(keeps: bool, number: usize, load: Arc<Load>) {
    let mut http = reqwest::Client::new();
    let mut turn = number;
    while !load.over.load(Ordering::Relaxed) {
        turn += 1;
        let choose_first = load.first_is_ready.load(Ordering::Relaxed) && turn.is_multiple_of(2);
        let url = if choose_first { &load.first } else { &load.second };
        if !keeps {
            http = reqwest::Client::new();
        }
        match http.get(url).send().await {
            Ok(answer) if answer.status().is_success() => load.answered.fetch_add(1, Ordering::Relaxed),
            Ok(answer) => panic!("{}", answer.status()),
            Err(error) => panic!("{error:?}"),
        };
    }
}

struct Load {
    first: String,
    second: String,
    first_is_ready: AtomicBool,
    over: AtomicBool,
    answered: AtomicU64,
}

impl Load {
    async fn until_answered(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < goal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_one_of_two_servers_under_load_fails_no_request_on_kept_or_new_connections() {
    let options = ServerOptions { lame_duck: Duration::from_secs(2), ..OPTIONS };
    let (first, second) = (Server::start(options).await, Server::start(options).await);
    let load = Arc::new(Load {
        first: first.url("/livez"),
        second: second.url("/livez"),
        first_is_ready: AtomicBool::new(true),
        over: AtomicBool::new(false),
        answered: AtomicU64::new(0),
    });
    let clients: Vec<_> = (0..8).map(|number| tokio::spawn(client(number < 4, number, Arc::clone(&load)))).collect();

    within(Duration::from_secs(30), load.until_answered(200)).await;
    first.shutdown.request();
    // the endpoint is taken out some time after the process says that it is not ready
    while first.is_ready().await {}
    within(Duration::from_secs(30), load.until_answered(100)).await;
    load.first_is_ready.store(false, Ordering::Relaxed);
    within(Duration::from_secs(30), first.task).await.unwrap();
    within(Duration::from_secs(30), load.until_answered(100)).await;

    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_server_ends() {
    let server = Server::start(OPTIONS).await;
    let request = tokio::spawn(reqwest::get(server.url("/slow")));
    server.entered.notified().await;
    server.shutdown.request();
    // it accepts no more
    let refused = async { while TcpStream::connect(server.address).await.is_ok() {} };
    within(Duration::from_secs(10), refused).await;
    assert!(!server.task.is_finished());
    server.leave.notify_one();
    assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "slow");
    within(Duration::from_secs(10), server.task).await.unwrap();
}

#[tokio::test]
async fn an_idle_kept_connection_does_not_hold_the_server() {
    let server = Server::start(OPTIONS).await;
    let client = reqwest::Client::new();
    client.get(server.url("/livez")).send().await.unwrap().text().await.unwrap();
    server.shutdown.request();
    within(Duration::from_secs(10), server.task).await.unwrap();
}

#[tokio::test]
async fn the_drain_limit_and_a_second_signal_end_the_wait() {
    for (drain_limit, signals) in [(Duration::from_millis(50), 1), (Duration::from_secs(60), 2)] {
        let server = Server::start(ServerOptions { drain_limit, ..OPTIONS }).await;
        let request = tokio::spawn(reqwest::get(server.url("/slow")));
        server.entered.notified().await;
        for _ in 0..signals {
            server.shutdown.request();
        }
        within(Duration::from_secs(10), server.task).await.unwrap();
        request.abort();
    }
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_cut_off() {
    let server = Server::start(ServerOptions { head_timeout: Duration::from_millis(100), ..OPTIONS }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow").await.unwrap();
    let started = Instant::now();
    let mut rest = Vec::new();
    // closed, with an answer or without
    let _ = within(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(started.elapsed() < Duration::from_secs(10) && !rest.starts_with(b"HTTP/1.1 200"));
    assert!(server.is_ready().await, "others are served");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let server = Server::start(ServerOptions { write_timeout: Duration::from_millis(100), ..OPTIONS }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    within(Duration::from_secs(10), server.dropped.notified()).await;
    assert!(server.is_ready().await, "others are served");
    drop(stream);
}
