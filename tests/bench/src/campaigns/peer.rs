//! The peer: a sorted set in Valkey with the same members, asked over its own protocol (RESP), with the same writer beside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tenantry_harness::valkey::ValkeyServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::http::number;
use super::layout::{Layout, TOP};
use super::load::Questions;
use super::writer::BATCH;

const KEY: &str = "campaign";
const FILLED_AT_ONCE: u64 = 10_000;

/// A command in RESP.
fn command(parts: &[&str], into: &mut Vec<u8>) {
    into.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        into.extend_from_slice(format!("${}\r\n{part}\r\n", part.len()).as_bytes());
    }
}

/// A connection for filling and writing.
struct Session {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Session {
    async fn open(server: &ValkeyServer) -> Result<Self> {
        let stream = TcpStream::connect((server.host(), server.port())).await?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream, received: Vec::new() };
        session.send(&["AUTH", &server.password()]).await?;
        Ok(session)
    }

    async fn send(&mut self, parts: &[&str]) -> Result<Vec<u8>> {
        let mut request = Vec::new();
        command(parts, &mut request);
        self.exchange(&request, 1).await
    }

    /// Sends commands; their answers, of as many lines altogether.
    async fn exchange(&mut self, request: &[u8], lines: usize) -> Result<Vec<u8>> {
        self.received.clear();
        self.stream.write_all(request).await?;
        while self.received.iter().filter(|byte| **byte == b'\n').count() < lines {
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "Valkey closed the connection");
        }
        if let Some(line) = self.received.split(|byte| *byte == b'\n').find(|line| line.first() == Some(&b'-')) {
            bail!("Valkey refused: {}", String::from_utf8_lossy(line));
        }
        Ok(self.received.clone())
    }
}

pub struct Peer<'a> {
    server: &'a ValkeyServer,
    layout: Layout,
    /// The answer to [`top_command`], which no purchase changes.
    top: Arc<[u8]>,
}

impl<'a> Peer<'a> {
    /// Fills it. Connections need no password from here on, as the questions bring none with them.
    pub async fn fill(server: &'a ValkeyServer, layout: Layout) -> Result<Self> {
        let mut session = Session::open(server).await?;
        session.send(&["CONFIG", "SET", "requirepass", ""]).await?;
        let mut user = 1;
        while user <= layout.users() {
            let users = user..(user + FILLED_AT_ONCE).min(layout.users() + 1);
            let mut request = Vec::new();
            request.extend_from_slice(
                format!("*{}\r\n$4\r\nZADD\r\n${}\r\n{KEY}\r\n", 2 + 2 * (users.end - users.start), KEY.len()).as_bytes(),
            );
            for user in users.clone() {
                for part in [layout.cents(layout.place(user)).to_string(), user.to_string()] {
                    request.extend_from_slice(format!("${}\r\n{part}\r\n", part.len()).as_bytes());
                }
            }
            session.exchange(&request, 1).await?;
            user = users.end;
        }
        let lines = 1 + 4 * TOP as usize;
        let mut request = Vec::new();
        command(&top_command(), &mut request);
        let top = session.exchange(&request, lines).await?;
        check_top(&top, layout)?;
        Ok(Self { server, layout, top: top.into() })
    }

    pub fn address(&self) -> Result<SocketAddr> {
        Ok(format!("{}:{}", self.server.host(), self.server.port()).parse()?)
    }

    pub fn positions(&self, connection: usize) -> PeerPositions {
        PeerPositions { layout: self.layout, user: 0, next: (connection as u64) << 32 }
    }

    pub fn tops(&self) -> PeerTops {
        PeerTops { expected: Arc::clone(&self.top) }
    }

    /// Begins to write: the same purchases at the same rate as the slot's writer.
    pub async fn start_writer(&self, rate: u64) -> Result<PeerWriter> {
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, layout) = (Arc::clone(&over), self.layout);
        let stream = TcpStream::connect((self.server.host(), self.server.port())).await?;
        stream.set_nodelay(true)?;
        let mut session = Session { stream, received: Vec::new() };
        let running = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(BATCH as f64 / rate as f64));
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                ticks.tick().await;
                let mut request = Vec::new();
                for number in number..number + BATCH {
                    command(&["ZINCRBY", KEY, "123", &layout.lower(number).to_string()], &mut request);
                }
                session.exchange(&request, 2 * BATCH as usize).await?;
                number += BATCH;
            }
            Ok(number)
        });
        Ok(PeerWriter { over, running, started: Instant::now() })
    }
}

pub struct PeerWriter {
    over: Arc<AtomicBool>,
    running: JoinHandle<Result<u64>>,
    started: Instant,
}

impl PeerWriter {
    /// Ends it; how many changes a second were made.
    pub async fn stop(self) -> Result<f64> {
        self.over.store(true, Ordering::Relaxed);
        let written = self.running.await??;
        Ok(written as f64 / self.started.elapsed().as_secs_f64())
    }
}

fn top_command() -> [&'static str; 5] {
    ["ZREVRANGE", KEY, "0", "99", "WITHSCORES"]
}

/// Whether it says who stands first, and with how much.
fn check_top(answer: &[u8], layout: Layout) -> Result<()> {
    let text = std::str::from_utf8(answer)?;
    let values: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with(['*', '$']) && !line.is_empty()).collect();
    let expected: Vec<String> =
        layout.first().iter().zip(0..).flat_map(|(user, place)| [user.to_string(), layout.cents(place).to_string()]).collect();
    ensure!(values == expected, "Valkey's first members are others than expected");
    Ok(())
}

/// `ZREVRANK` of users, by chance.
pub struct PeerPositions {
    layout: Layout,
    user: u64,
    next: u64,
}

impl Questions for PeerPositions {
    fn ask(&mut self, request: &mut Vec<u8>) {
        self.next += 1;
        self.user = self.layout.any(self.next);
        command(&["ZREVRANK", KEY, &self.user.to_string()], request);
    }

    fn answers(&self, received: &[u8]) -> Result<bool> {
        let Some(line) = received.strip_suffix(b"\r\n") else { return Ok(false) };
        let position = line.strip_prefix(b":").and_then(number).with_context(|| String::from_utf8_lossy(line).into_owned())?;
        ensure!(self.layout.is_right(self.user, position), "Valkey says that {} stands at {position}", self.user);
        Ok(true)
    }
}

/// `ZREVRANGE` of the first hundred.
pub struct PeerTops {
    expected: Arc<[u8]>,
}

impl Questions for PeerTops {
    fn ask(&mut self, request: &mut Vec<u8>) {
        command(&top_command(), request);
    }

    fn answers(&self, received: &[u8]) -> Result<bool> {
        if received.len() < self.expected.len() {
            return Ok(false);
        }
        ensure!(*received == *self.expected, "Valkey's first members have changed");
        Ok(true)
    }
}
