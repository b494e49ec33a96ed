//! A TCP proxy on loopback that stops forwarding when it is told to: what is behind it then hangs instead of refusing.
//! Connections stay open, new ones are accepted, and nothing comes through until it flows again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub struct StallingProxy {
    port: u16,
    stalled: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl StallingProxy {
    /// Starts a proxy to that port of loopback, which flows.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (stalled, state) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, target)), state));
        Ok(Self { port, stalled, accepting })
    }

    /// Port that the proxy listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing comes through.
    pub fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// Everything comes through again, what was held back included.
    pub fn flow(&self) {
        self.stalled.send_replace(false);
    }
}

impl Drop for StallingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let mut waiting = state.clone();
            if waiting.wait_for(|stalled| !stalled).await.is_err() {
                return;
            }
            let Ok(server) = TcpStream::connect(target).await else { return };
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            tokio::join!(forward(client_reads, server_writes, state.clone()), forward(server_reads, client_writes, state));
        });
    }
}

/// Forwards until one side or the proxy ends.
async fn forward(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, mut state: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if state.wait_for(|stalled| !stalled).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
