//! Threads that serve connections: each has a runtime of its own, and a connection stays on one. Threads that share all connections wake each
//! other for every request, which costs more than answering most of them; what a handler waits for (the database, a group commit) still
//! runs wherever it was started. What computes for long belongs on `spawn_blocking`, as ever: it would hold up the connections of its lane.

use std::future::Future;
use std::io;
use std::num::NonZero;
use std::thread;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Makes a future on the thread that it is to run on: what it opens there belongs to that thread's runtime.
type Job = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// As many threads as the process may use processors. They end, with what runs on them, when this is dropped.
pub(super) struct Lanes {
    lanes: Vec<UnboundedSender<Job>>,
    next: usize,
    _end: DropGuard,
}

impl Lanes {
    /// Starts them.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let end = CancellationToken::new();
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let lane = |_| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (sender, jobs) = unbounded_channel();
            let end = end.clone();
            thread::Builder::new().name("connections".to_owned()).spawn(move || {
                runtime.block_on(run(jobs, end));
                runtime.shutdown_background();
            })?;
            Ok(sender)
        };
        let lanes = (0..count).map(lane).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { lanes, next: 0, _end: end.drop_guard() })
    }

    /// Has the next lane make this future, and run it.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, make: impl FnOnce() -> F + Send + 'static) {
        self.next = (self.next + 1) % self.lanes.len();
        // A lane ends only with all of them.
        let _ = self.lanes[self.next].send(Box::new(move || make().boxed()));
    }
}

async fn run(mut jobs: UnboundedReceiver<Job>, end: CancellationToken) {
    let serving = async {
        while let Some(make) = jobs.recv().await {
            tokio::spawn(make());
        }
        // Nothing more comes; what runs goes on until the end.
        end.cancelled().await;
    };
    tokio::select! {
        () = serving => {}
        () = end.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_given_away_is_shared_by_all_lanes_and_ends_with_them() {
        struct Says(mpsc::Sender<Option<thread::ThreadId>>);
        impl Drop for Says {
            fn drop(&mut self) {
                let _ = self.0.send(None);
            }
        }
        let mut lanes = Lanes::start().unwrap();
        let (sender, said) = mpsc::channel();
        let count = 2 * lanes.lanes.len();
        for _ in 0..count {
            let says = Says(sender.clone());
            lanes.spawn(move || async move {
                let _ = says.0.send(Some(thread::current().id()));
                std::future::pending::<()>().await;
            });
        }
        let mut threads: Vec<_> = (0..count).map(|_| said.recv().unwrap().unwrap()).collect();
        threads.sort_by_key(|id| format!("{id:?}"));
        threads.dedup();
        assert_eq!(threads.len(), lanes.lanes.len());
        drop(lanes);
        assert!((0..count).all(|_| said.recv().unwrap().is_none()));
    }
}
