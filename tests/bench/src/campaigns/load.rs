//! The generator of load: so many connections, each with one question under way, on as many threads as the machine has cores. The same for campaigns and
//! for the peer; only what a question and an answer look like differs ([`Questions`]).
//!
//! Its threads are scheduled as `SCHED_BATCH`: on the cores that it shares with whoever is asked, an answer then does not take the core away from who is
//! about to answer others, as it would not if the generator were on a machine of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityOsValue, ThreadSchedulePolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::times::Times;

/// A connection's questions.
pub trait Questions: Send + 'static {
    /// Writes the next one.
    fn ask(&mut self, request: &mut Vec<u8>);

    /// Whether `received` is the whole answer to it; a wrong one is an error.
    fn answers(&self, received: &[u8]) -> Result<bool>;
}

/// What came of it.
pub struct Load {
    pub rate: f64,
    pub times: Times,
}

/// Asks for so long.
///
/// # Errors
/// When one answer is wrong, or missing.
pub async fn run<Q: Questions>(
    address: SocketAddr,
    connections: usize,
    duration: Duration,
    questions: impl Fn(usize) -> Q,
) -> Result<Load> {
    let threads = std::thread::available_parallelism()?.get().min(connections);
    let mut shares: Vec<Vec<Q>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, questions) in (0..connections).map(questions).enumerate() {
        shares[index % threads].push(questions);
    }
    let end = Instant::now() + duration;
    let started = Instant::now();
    let generators: Vec<_> = shares.into_iter().map(|share| tokio::task::spawn_blocking(move || generate(address, share, end))).collect();
    let mut times = Times::of_answers();
    for generator in generators {
        times.merge(&generator.await??);
    }
    ensure!(times.count() > 0, "nothing was answered in {duration:?}");
    Ok(Load { rate: times.count() as f64 / started.elapsed().as_secs_f64(), times })
}

fn generate<Q: Questions>(address: SocketAddr, share: Vec<Q>, end: Instant) -> Result<Times> {
    thread_priority::set_thread_priority_and_policy(
        thread_priority::thread_native_id(),
        ThreadPriority::Os(ThreadPriorityOsValue::default()),
        ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch),
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut connections: JoinSet<Result<Vec<Duration>>> = JoinSet::new();
        for questions in share {
            connections.spawn(ask(address, questions, end));
        }
        let mut times = Times::of_answers();
        while let Some(connection) = connections.join_next().await {
            connection??.into_iter().for_each(|time| times.add(time));
        }
        Ok(times)
    })
}

async fn ask<Q: Questions>(address: SocketAddr, mut questions: Q, end: Instant) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut request, mut received) = (Vec::with_capacity(1024), Vec::with_capacity(64 * 1024));
    let mut times = Vec::with_capacity(16 * 1024);
    loop {
        request.clear();
        received.clear();
        questions.ask(&mut request);
        let asked = Instant::now();
        if asked >= end {
            return Ok(times);
        }
        stream.write_all(&request).await?;
        loop {
            if stream.read_buf(&mut received).await.context("an answer broke off")? == 0 {
                bail!("a connection was closed after {:?}", String::from_utf8_lossy(&received));
            }
            if questions.answers(&received)? {
                break;
            }
        }
        times.push(asked.elapsed());
    }
}
