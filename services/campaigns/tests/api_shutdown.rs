//! SIGTERM to a real `api` process under load: nothing fails, and what was acknowledged is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::api_client::purchase;
use crate::fixture::{Slot, TOKEN, eventually, is_ready};

struct Load {
    first: u16,
    second: u16,
    first_is_ready: AtomicBool,
    over: AtomicBool,
    acknowledged: AtomicU64,
}

/// Reports purchases to a process that is in service, over a kept connection or a new one each time.
async fn report(number: u64, keeps: bool, load: Arc<Load>) {
    let mut client = reqwest::Client::new();
    for turn in 0u64.. {
        if load.over.load(Ordering::Relaxed) {
            return;
        }
        if !keeps {
            client = reqwest::Client::new();
        }
        let takes_first = load.first_is_ready.load(Ordering::Relaxed) && turn.is_multiple_of(2);
        let port = if takes_first { load.first } else { load.second };
        let body = purchase(&format!("{number}-{turn}"));
        let answer = client.post(format!("http://127.0.0.1:{port}/purchases")).bearer_auth(TOKEN).json(&body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(answer.status().as_u16(), 202);
        load.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stopped_under_load_fails_no_request_and_loses_none() {
    let slot = Slot::new().await;
    let (mut first, second) = (slot.api_with_lame_duck("2").await, slot.api().await);
    let load = Arc::new(Load {
        first: first.port,
        second: second.port,
        first_is_ready: AtomicBool::new(true),
        over: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
    });
    let clients: Vec<_> = (0..6).map(|number| tokio::spawn(report(number, number < 3, Arc::clone(&load)))).collect();
    let acknowledged = || load.acknowledged.load(Ordering::Relaxed);
    eventually("the load runs", async || acknowledged() > 100).await;

    first.process.terminate().unwrap();
    eventually("the process says that it is not ready", async || !is_ready(first.port).await).await;
    let before = acknowledged();
    eventually("it goes on serving", async || acknowledged() > before + 30).await;
    load.first_is_ready.store(false, Ordering::Relaxed);
    eventually("the process ends", async || first.process.try_wait().unwrap().is_some()).await;
    assert!(first.process.try_wait().unwrap().is_some_and(|status| status.success()));

    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
    assert_eq!(slot.events("purchase_events").await.len() as u64, acknowledged());
}
