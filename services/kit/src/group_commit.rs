//! Group commit: what many callers want durable at once becomes one transaction, and each gets his own outcome.
//!
//! Nobody waits for company. A job is committed at once while a commit may run; those that come while all are running are gathered, and go
//! together into the next. So groups grow with the load, and a lone caller waits for nothing but his own commit. What waits and what is being
//! committed is bounded ([`GroupCommitOptions::capacity`]): beyond, a caller is refused at once.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::problem::{INTERNAL, OVERLOADED, Problem};

/// What commits.
pub trait Committer: Send + Sync + 'static {
    /// What a caller wants to be committed.
    type Job: Send + 'static;
    /// What becomes of it.
    type Outcome: Send + 'static;

    /// Commits `jobs` in one transaction; an outcome for each, in their order.
    fn commit(&self, jobs: Vec<Self::Job>) -> impl Future<Output = Vec<Self::Outcome>> + Send;
}

/// Bounds, in weights: what a job weighs, its caller says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupCommitOptions {
    /// The most that waits or is being committed.
    pub capacity: u32,
    /// The most that is committed together. A job that weighs more goes alone.
    pub group: u32,
    /// How many commits run at the same time. With two, one computes while the other waits for the disk.
    pub concurrent_commits: usize,
}

/// Why a job has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupCommitError {
    /// It was not taken.
    #[error("as much waits to be committed as may: send the request again after the time in Retry-After")]
    Full,
    /// Its commit broke off. Whether it was committed is not known.
    #[error("the commit broke off; it may or may not have taken effect")]
    Lost,
}

impl From<GroupCommitError> for Problem {
    fn from(error: GroupCommitError) -> Self {
        match error {
            GroupCommitError::Full => Problem::new(OVERLOADED, error.to_string()).with_retry_after(1),
            GroupCommitError::Lost => {
                tracing::error!(%error, "a group commit failed");
                Problem::new(INTERNAL, "the service has a defect; its logs have this request's id")
            }
        }
    }
}

/// Gathers jobs for a [`Committer`]. Clones share it; what was submitted is committed also when its caller has gone, or the last handle has.
pub struct GroupCommit<C: Committer> {
    queue: mpsc::UnboundedSender<Waiting<C>>,
    capacity: Arc<Semaphore>,
}

struct Waiting<C: Committer> {
    job: C::Job,
    weight: u32,
    answer: oneshot::Sender<C::Outcome>,
    place: OwnedSemaphorePermit,
}

impl<C: Committer> GroupCommit<C> {
    /// Begins to gather. Must be called in a Tokio runtime.
    pub fn start(committer: C, options: GroupCommitOptions) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(gather(Arc::new(committer), receiver, options));
        Self { queue: sender, capacity: Arc::new(Semaphore::new(options.capacity as usize)) }
    }

    /// Has `job` committed.
    ///
    /// # Errors
    /// See [`GroupCommitError`].
    pub async fn submit(&self, job: C::Job, weight: u32) -> Result<C::Outcome, GroupCommitError> {
        let place = Arc::clone(&self.capacity).try_acquire_many_owned(weight).map_err(|_| GroupCommitError::Full)?;
        let (answer, outcome) = oneshot::channel();
        self.queue.send(Waiting { job, weight, answer, place }).map_err(|_| GroupCommitError::Lost)?;
        outcome.await.map_err(|_| GroupCommitError::Lost)
    }
}

impl<C: Committer> Clone for GroupCommit<C> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), capacity: Arc::clone(&self.capacity) }
    }
}

impl<C: Committer> fmt::Debug for GroupCommit<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GroupCommit").field("capacity", &self.capacity.available_permits()).finish_non_exhaustive()
    }
}

async fn gather<C: Committer>(committer: Arc<C>, mut queue: mpsc::UnboundedReceiver<Waiting<C>>, options: GroupCommitOptions) {
    let commits = Arc::new(Semaphore::new(options.concurrent_commits.max(1)));
    let mut left_over = None;
    loop {
        let Some(first) = (match left_over.take() {
            Some(waiting) => Some(waiting),
            None => queue.recv().await,
        }) else {
            return;
        };
        let Ok(turn) = Arc::clone(&commits).acquire_owned().await else { return };
        // those who have just been answered are about to submit again: they get their turn first
        tokio::task::yield_now().await;
        let mut weight = first.weight;
        let mut group = vec![first];
        while let Ok(waiting) = queue.try_recv() {
            weight = weight.saturating_add(waiting.weight);
            if weight > options.group {
                left_over = Some(waiting);
                break;
            }
            group.push(waiting);
        }
        // in a task of its own: a commit that panics ends nothing but itself
        tokio::spawn(commit(Arc::clone(&committer), group, turn));
    }
}

async fn commit<C: Committer>(committer: Arc<C>, group: Vec<Waiting<C>>, turn: OwnedSemaphorePermit) {
    let (jobs, callers): (Vec<_>, Vec<_>) = group.into_iter().map(|waiting| (waiting.job, (waiting.answer, waiting.place))).unzip();
    let outcomes = committer.commit(jobs).await;
    drop(turn);
    for ((answer, place), outcome) in callers.into_iter().zip(outcomes) {
        drop(place);
        // a caller that has gone needs no answer
        let _ = answer.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Commits when the test allows it, and doubles each number.
    struct Doubler {
        allowed: Arc<Semaphore>,
        groups: Arc<Mutex<Vec<Vec<u32>>>>,
    }

    impl Committer for Doubler {
        type Job = u32;
        type Outcome = u32;

        async fn commit(&self, jobs: Vec<u32>) -> Vec<u32> {
            self.groups.lock().unwrap().push(jobs.clone());
            self.allowed.acquire().await.unwrap().forget();
            assert!(!jobs.contains(&13), "an unlucky number");
            jobs.into_iter().map(|job| job * 2).collect()
        }
    }

    struct Fixture {
        commits: GroupCommit<Doubler>,
        allowed: Arc<Semaphore>,
        groups: Arc<Mutex<Vec<Vec<u32>>>>,
    }

    impl Fixture {
        fn new(capacity: u32, group: u32) -> Self {
            let (allowed, groups) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<_>>::default());
            let committer = Doubler { allowed: Arc::clone(&allowed), groups: Arc::clone(&groups) };
            let options = GroupCommitOptions { capacity, group, concurrent_commits: 1 };
            Self { commits: GroupCommit::start(committer, options), allowed, groups }
        }

        fn submit(&self, job: u32) -> tokio::task::JoinHandle<Result<u32, GroupCommitError>> {
            let commits = self.commits.clone();
            tokio::spawn(async move { commits.submit(job, 1).await })
        }

        fn waiting(&self) -> u32 {
            self.groups.lock().unwrap().iter().map(|group| group.len() as u32).sum()
        }

        async fn until(&self, condition: impl Fn(&Self) -> bool) {
            while !condition(self) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_commit_runs_is_committed_together_and_each_gets_his_own_outcome() {
        let fixture = Fixture::new(100, 100);
        let first = fixture.submit(1);
        fixture.until(|fixture| fixture.waiting() == 1).await;
        let others: Vec<_> = (2..=9).map(|job| fixture.submit(job)).collect();
        fixture.until(|fixture| fixture.commits.capacity.available_permits() == 91).await;
        fixture.allowed.add_permits(2);
        assert_eq!(first.await.unwrap(), Ok(2));
        for (other, job) in others.into_iter().zip(2..) {
            assert_eq!(other.await.unwrap(), Ok(job * 2));
        }
        assert_eq!(*fixture.groups.lock().unwrap(), [vec![1], (2..=9).collect()]);
        assert_eq!(fixture.commits.capacity.available_permits(), 100);
    }

    #[tokio::test]
    async fn a_group_is_not_larger_than_it_may_be() {
        let fixture = Fixture::new(100, 3);
        let first = fixture.submit(0);
        fixture.until(|fixture| fixture.waiting() == 1).await;
        let others: Vec<_> = (1..=7).map(|job| fixture.submit(job)).collect();
        fixture.until(|fixture| fixture.commits.capacity.available_permits() == 92).await;
        fixture.allowed.add_permits(10);
        first.await.unwrap().unwrap();
        for other in others {
            other.await.unwrap().unwrap();
        }
        assert_eq!(fixture.groups.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [1, 3, 3, 1]);
    }

    #[tokio::test]
    async fn beyond_the_capacity_a_job_is_refused_at_once() {
        let fixture = Fixture::new(2, 100);
        let taken = [fixture.submit(1), fixture.submit(2)];
        fixture.until(|fixture| fixture.commits.capacity.available_permits() == 0).await;
        assert_eq!(fixture.commits.submit(3, 1).await, Err(GroupCommitError::Full));
        fixture.allowed.add_permits(10);
        for job in taken {
            job.await.unwrap().unwrap();
        }
        assert_eq!(fixture.commits.submit(3, 1).await, Ok(6));
    }

    #[tokio::test]
    async fn a_commit_that_panics_ends_nothing_but_itself() {
        let fixture = Fixture::new(100, 100);
        fixture.allowed.add_permits(10);
        assert_eq!(fixture.commits.submit(13, 1).await, Err(GroupCommitError::Lost));
        assert_eq!(fixture.commits.submit(4, 1).await, Ok(8));
    }

    #[tokio::test]
    async fn a_job_is_committed_although_its_caller_has_gone() {
        let fixture = Fixture::new(100, 100);
        let caller = fixture.submit(1);
        fixture.until(|fixture| fixture.waiting() == 1).await;
        caller.abort();
        fixture.allowed.add_permits(10);
        assert_eq!(fixture.commits.submit(2, 1).await, Ok(4));
        assert_eq!(fixture.commits.capacity.available_permits(), 100);
    }
}
