//! Serves HTTP/1.1 and stops without dropping a request.
//!
//! Asked to stop, a process goes on serving for the *lame-duck* time: it is not ready any more, and load balancers take some
//! time to see that. Answers carry `Connection: close` meanwhile, so that kept connections move elsewhere between two
//! requests. Only then does it stop accepting, close idle connections, and wait for the requests under way, at most for the
//! drain limit. A second request to stop ends it at once.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

use super::lanes::Lanes;
use crate::shutdown::Shutdown;

/// Times and bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// How long it goes on accepting when it is asked to stop.
    pub lame_duck: Duration,
    /// How long it waits, after that, for requests under way.
    pub drain_limit: Duration,
    /// How long a connection may take to send a request's head; also how long one is kept without a request.
    pub head_timeout: Duration,
    /// How long a client may take nothing of what is sent to it, before its connection is closed.
    pub write_timeout: Duration,
    /// The most connections at once; further ones wait to be accepted.
    pub max_connections: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            lame_duck: Duration::from_secs(5),
            drain_limit: Duration::from_secs(20),
            head_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            max_connections: 4096,
        }
    }
}

/// Serves `router` on `listener` until `shutdown`, as described at the top of this module.
pub async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown, options: ServerOptions) {
    let lanes = match Lanes::start() {
        Ok(lanes) => lanes,
        Err(error) => return tracing::error!(%error, "cannot start the threads that serve connections"),
    };
    let mut connections = Connections::new(router, options, lanes);
    let lame_duck_is_over = async {
        shutdown.requested().await;
        tokio::select! {
            () = tokio::time::sleep(options.lame_duck) => {}
            () = shutdown.forced() => {}
        }
    };
    connections.accept_until(&listener, lame_duck_is_over).await;
    connections.accept_waiting(&listener);
    drop(listener);
    tokio::select! {
        () = connections.graceful.shutdown() => tracing::info!("all connections are closed"),
        () = tokio::time::sleep(options.drain_limit) => tracing::warn!("requests under way did not end in time"),
        () = shutdown.forced() => {}
    }
}

struct Connections {
    router: Router,
    protocol: http1::Builder,
    write_timeout: Duration,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
    lanes: Lanes,
}

impl Connections {
    fn new(router: Router, options: ServerOptions, lanes: Lanes) -> Self {
        let mut protocol = http1::Builder::new();
        protocol.timer(TokioTimer::new()).header_read_timeout(options.head_timeout);
        let places = Arc::new(Semaphore::new(options.max_connections));
        Self { router, protocol, write_timeout: options.write_timeout, places, graceful: GracefulShutdown::new(), lanes }
    }

    async fn accept_until(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let accept_all = async {
            loop {
                let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => self.serve_connection(stream, place),
                    Err(error) => wait_after(error).await,
                }
            }
        };
        tokio::select! {
            () = accept_all => {}
            () = end => {}
        }
    }

    /// Takes the connections that the kernel has accepted already: closing the listener would reset them.
    fn accept_waiting(&mut self, listener: &TcpListener) {
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            match listener.accept().now_or_never() {
                Some(Ok((stream, _))) => self.serve_connection(stream, place),
                Some(Err(_)) | None => return,
            }
        }
    }

    fn serve_connection(&mut self, stream: TcpStream, place: OwnedSemaphorePermit) {
        // fails only on a connection that is gone already
        let _ = stream.set_nodelay(true);
        let Ok(stream) = stream.into_std() else { return };
        let (protocol, write_timeout, watcher) = (self.protocol.clone(), self.write_timeout, self.graceful.watcher());
        let service = TowerToHyperService::new(self.router.clone());
        self.lanes.spawn(move || async move {
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(write_timeout));
            let connection = watcher.watch(protocol.serve_connection(TokioIo::new(Box::pin(stream)), service));
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
}

/// An error of one connection is that client's business; of the process (no file handles left) it takes time to pass.
async fn wait_after(error: io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
