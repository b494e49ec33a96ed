//! One thread on which all standings are built and changed. Every change replaces nodes of the trees, and allocators keep what a thread frees for that
//! thread: when whoever was free did it, a process that held 80 MB of standings grew by 50 MB until all nodes had been replaced.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct OneThread {
    /// `None` if there could be no thread: whoever has something to do then does it.
    jobs: Option<Sender<Job>>,
}

/// What was to be done panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the standings' thread has a defect; the log says which")]
pub(super) struct Broken;

impl OneThread {
    pub(super) fn start() -> Self {
        let (sender, jobs) = channel::<Job>();
        let work = move || {
            for job in jobs {
                // One that panics ends nothing but itself.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        };
        let thread = thread::Builder::new().name("standings".to_owned()).spawn(work);
        if let Err(error) = &thread {
            tracing::warn!(%error, "there is no thread for the standings: they will take more memory");
        }
        Self { jobs: thread.is_ok().then_some(sender) }
    }

    /// Has it done there, after what was to be done before.
    pub(super) async fn run<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> Result<T, Broken> {
        let (sender, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Who asked may have gone.
            let _ = sender.send(what());
        });
        match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|_| Broken)?,
            None => job(),
        }
        done.await.map_err(|_| Broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_done_on_one_thread_in_its_order_and_a_panic_ends_nothing_else() {
        let here = OneThread::start();
        let first = here.run(|| thread::current().id()).await.unwrap();
        assert_ne!(first, thread::current().id());
        assert_eq!(here.run(|| assert_eq!(1, 2)).await, Err(Broken));
        assert_eq!(here.run(|| thread::current().id()).await, Ok(first));
    }

    #[tokio::test]
    async fn without_a_thread_it_is_done_all_the_same() {
        assert_eq!(OneThread { jobs: None }.run(|| 7).await, Ok(7));
    }
}
