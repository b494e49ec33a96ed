//! The way of purchases from a request into the store: gathered, bounded, and committed together.

use std::sync::Arc;

use tenantry_kit::group_commit::{Committer, GroupCommit, GroupCommitOptions};
use tenantry_kit::problem::{OVERLOADED, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::intake_metrics::IntakeMetrics;
use super::problems::of_store;
use crate::domain::{Purchase, PurchaseAcceptance, PurchaseRules};
use crate::store::{Store, StoreError};

/// Purchases that come alone: while the database is slow, so many requests wait for it, and all others are answered at once.
const SINGLES: GroupCommitOptions = GroupCommitOptions { capacity: 256, group: 256, concurrent_commits: 2 };
/// Purchases that come in batches.
const BATCHES: GroupCommitOptions =
    GroupCommitOptions { capacity: 6 * PurchaseRules::MAX_BATCH as u32, group: 2000, concurrent_commits: 2 };
/// How many large bodies are in memory at the same time.
const LARGE_BODIES: usize = 4;

/// Takes purchases in.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    singles: GroupCommit<PurchaseCommitter>,
    batches: GroupCommit<PurchaseCommitter>,
    large_bodies: Arc<Semaphore>,
    pub(super) metrics: IntakeMetrics,
}

impl Intake {
    pub(super) fn new(store: &Store, metrics: IntakeMetrics) -> Self {
        let committer = || PurchaseCommitter { store: store.clone(), metrics: metrics.clone() };
        Self {
            singles: GroupCommit::start(committer(), SINGLES),
            batches: GroupCommit::start(committer(), BATCHES),
            large_bodies: Arc::new(Semaphore::new(LARGE_BODIES)),
            metrics,
        }
    }

    /// A place for a large body, to be kept until it is answered.
    pub(super) fn place_for_large_body(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.large_bodies).try_acquire_owned().map_err(|_| {
            let detail = "as many large batches are being read as may: send it again after the time in Retry-After";
            Problem::new(OVERLOADED, detail).with_retry_after(1)
        })
    }

    /// Has one purchase accepted; returns when it is durable.
    pub(super) async fn accept(&self, purchase: Purchase) -> Result<PurchaseAcceptance, Problem> {
        let acceptances = self.singles.submit(vec![purchase], 1).await?.map_err(|error| of_store(&error))?;
        Ok(acceptances.first().copied().unwrap_or(PurchaseAcceptance::Conflict))
    }

    /// Has purchases accepted, in one transaction; returns when they are durable.
    pub(super) async fn accept_all(&self, purchases: Vec<Purchase>) -> Result<Vec<PurchaseAcceptance>, Problem> {
        let weight = u32::try_from(purchases.len()).unwrap_or(u32::MAX);
        self.batches.submit(purchases, weight).await?.map_err(|error| of_store(&error))
    }
}

#[derive(Debug)]
struct PurchaseCommitter {
    store: Store,
    metrics: IntakeMetrics,
}

impl Committer for PurchaseCommitter {
    type Job = Vec<Purchase>;
    type Outcome = Result<Vec<PurchaseAcceptance>, Arc<StoreError>>;

    async fn commit(&self, mut jobs: Vec<Self::Job>) -> Vec<Self::Outcome> {
        self.metrics.committed(jobs.iter().map(Vec::len).sum());
        if let [job] = jobs.as_slice() {
            return vec![self.store.accept_purchases(job).await.map_err(Arc::new)];
        }
        let sizes: Vec<usize> = jobs.iter().map(Vec::len).collect();
        match self.store.accept_purchases(&jobs.concat()).await {
            Ok(acceptances) => {
                let mut rest = acceptances.into_iter();
                sizes.into_iter().map(|size| Ok(rest.by_ref().take(size).collect())).collect()
            }
            Err(error) if error.is_unavailable() => {
                let error = Arc::new(error);
                sizes.iter().map(|_| Err(Arc::clone(&error))).collect()
            }
            // something in one of them that the database refuses is not the others' business
            Err(error) => {
                tracing::error!(%error, jobs = jobs.len(), "purchases cannot be committed together: committing each by itself");
                let mut outcomes = Vec::with_capacity(jobs.len());
                for job in jobs.drain(..) {
                    outcomes.push(self.store.accept_purchases(&job).await.map_err(Arc::new));
                }
                outcomes
            }
        }
    }
}
