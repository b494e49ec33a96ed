//! The standings of campaigns in the memory of this process, so that no answer scans.
//!
//! A campaign is read whole from the database, as of one version ([`load`]), and then kept current from the topic
//! `results_calculation_update_events` ([`follow`]), whose events have the totals that changed and the version that results. Every
//! process reads the topic for itself. An event is applied if its version is the next; if one is missing, the campaign is read again. So
//! processes agree: what one answers for a version, all do.
//!
//! Campaigns that run are held from the start on, others from when they are asked for until nobody has asked for a time ([`keep`]). From then on they are
//! answered from the database, by marks that are left there ([`Store::settle`]), until their totals change.

mod campaign;
mod follow;
mod keep;
mod load;
mod metrics;
mod one_thread;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tenantry_kit::shutdown::Gate;
use tenantry_kit::stream::Wake;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{CampaignId, Standing, TopCount, UserId};
use crate::store::{Store, StoreError};
pub use campaign::Version;
use campaign::{Gone, LiveCampaign, State};
use metrics::Answer;
pub use metrics::LiveMetrics;
use one_thread::OneThread;

/// How long a caller waits for a campaign that is being read.
const READING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a caller waits for a version.
const VERSION_PATIENCE: Duration = Duration::from_secs(2);
/// How many campaigns are read from the database at once.
const READS_AT_ONCE: usize = 2;

/// The standings that this process holds. Clones share them.
#[derive(Debug, Clone)]
pub struct LiveStandings {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    limits: LiveLimits,
    metrics: LiveMetrics,
    campaigns: RwLock<HashMap<CampaignId, Arc<LiveCampaign>>>,
    /// Whether the topic is being followed: what is read from the database from then on misses nothing.
    follows: watch::Sender<bool>,
    /// Makes the follower look at the topic now.
    wake: Wake,
    reads: Semaphore,
    thread: OneThread,
    started: Instant,
}

/// How much is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveLimits {
    /// How many users, over all campaigns: about 85 bytes each. Beyond them, the campaign that nobody has asked for longest leaves memory; one is held
    /// in any case.
    pub users: usize,
    /// A campaign that has ended, or has not begun, leaves memory when nobody has asked for so long.
    pub idle: Duration,
}

impl LiveLimits {
    /// At most so many users; a quarter of an hour.
    pub fn of_users(users: usize) -> Self {
        Self { users, idle: Duration::from_secs(900) }
    }
}

/// How much a process holds, and how current it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// How many campaigns.
    pub campaigns: usize,
    /// How many users, over all campaigns.
    pub users: usize,
    /// Events of changed totals that were there when the topic was read last, and are not applied.
    pub behind_events: u64,
    /// For how long the process has not had all events; `None` if it never had.
    pub behind: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// There is no such campaign.
    #[error("there is no campaign {0}")]
    Unknown(CampaignId),
    /// The campaign is being read; ask again soon.
    #[error("the standings of campaign {0} are being read from the database")]
    BeingRead(CampaignId),
    /// This process has not come to the version.
    #[error("the standings of campaign {campaign} are at version {version} here, not yet at {wanted}")]
    Behind {
        /// Which campaign.
        campaign: CampaignId,
        /// The version that is here.
        version: i64,
        /// The one that was asked for.
        wanted: i64,
    },
    /// The database is not available, or holds what cannot be read: the log says which.
    #[error("the standings of campaign {0} cannot be read from the database now")]
    Unavailable(CampaignId),
}

impl LiveStandings {
    /// Prepares to hold standings. Nothing is read before [`Self::run`] runs.
    #[must_use]
    pub fn new(store: Store, limits: LiveLimits, metrics: LiveMetrics) -> Self {
        let inner = Inner {
            store,
            limits,
            metrics,
            campaigns: RwLock::default(),
            follows: watch::Sender::new(false),
            wake: Wake::default(),
            reads: Semaphore::new(READS_AT_ONCE),
            thread: OneThread::start(),
            started: Instant::now(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Follows the topic and keeps what is to be kept, until `shutdown`. The gate is opened when the campaigns that run have been read.
    pub fn run(&self, ready: Option<Gate>, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (following, keeping) = (follow::run(self.clone(), shutdown.clone()), keep::run(self.clone(), ready, shutdown));
        async move {
            tokio::join!(following, keeping);
        }
    }

    /// The first `count` standings of a campaign.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub async fn top(&self, id: CampaignId, count: TopCount, min_version: Option<i64>) -> Result<Top, LiveError> {
        match self.first(id, count, min_version).await? {
            First::Settled(top) => Ok(top),
            First::Held(version) => Ok(version.top(count)),
        }
    }

    /// As [`Self::top`], as `write` writes it, which must write the same each time; and the version. For most who ask it is written already.
    ///
    /// # Errors
    /// See [`LiveError`]; and those of `write`.
    pub async fn written_top<E: From<LiveError>>(
        &self,
        id: CampaignId,
        count: TopCount,
        min_version: Option<i64>,
        write: impl FnOnce(&Top) -> Result<Arc<RawValue>, E>,
    ) -> Result<(i64, Arc<RawValue>), E> {
        match self.first(id, count, min_version).await? {
            First::Settled(top) => Ok((top.version, write(&top)?)),
            First::Held(version) => Ok((version.version, version.written_top(count, write)?)),
        }
    }

    async fn first(&self, id: CampaignId, count: TopCount, min_version: Option<i64>) -> Result<First, LiveError> {
        self.inner.metrics.answered(Answer::Top);
        if let Some(version) = self.now(id, min_version) {
            return Ok(First::Held(version));
        }
        if self.held(id).is_none()
            && let Some((settled, standings)) =
                self.inner.store.settled_top(id, count.get()).await.map_err(|error| unavailable(id, &error))?
            && min_version.is_none_or(|wanted| settled.version >= wanted)
        {
            return Ok(First::Settled(Top { version: settled.version, users: settled.users, standings }));
        }
        Ok(First::Held(self.of(id, min_version).await?))
    }

    /// Where a user stands in a campaign, with the version of which this is; no standing without a purchase that counts.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub async fn position(&self, id: CampaignId, user: UserId, min_version: Option<i64>) -> Result<(i64, Option<Standing>), LiveError> {
        self.inner.metrics.answered(Answer::Position);
        if let Some(version) = self.now(id, min_version) {
            return Ok((version.version, version.standings.of(user)));
        }
        if self.held(id).is_none()
            && let Some((settled, standing)) = self.inner.store.settled_standing(id, user).await.map_err(|error| unavailable(id, &error))?
            && min_version.is_none_or(|wanted| settled.version >= wanted)
        {
            return Ok((settled.version, standing));
        }
        let held = self.of(id, min_version).await?;
        Ok((held.version, held.standings.of(user)))
    }

    /// The standings of a campaign, at `min_version` or a later version if one is given. Waits, for a bounded time.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub async fn of(&self, id: CampaignId, min_version: Option<i64>) -> Result<Arc<Version>, LiveError> {
        if let Some(version) = self.now(id, min_version) {
            return Ok(version);
        }
        self.wait(&self.campaign(id), min_version.unwrap_or(i64::MIN)).await
    }

    /// The standings of a campaign, if it is held at `min_version` or a later version.
    fn now(&self, id: CampaignId, min_version: Option<i64>) -> Option<Arc<Version>> {
        let campaign = self.held(id)?;
        campaign.last_asked.store(self.inner.started.elapsed().as_secs(), Ordering::Relaxed);
        campaign.current().filter(|current| min_version.is_none_or(|wanted| current.version >= wanted))
    }

    /// As [`Self::of`], as a value that changes with every version; the campaign stays in memory as long as it is watched.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub async fn watch(&self, id: CampaignId) -> Result<Watched, LiveError> {
        let campaign = self.campaign(id);
        let state = campaign.state.subscribe();
        let version = self.wait(&campaign, i64::MIN).await?;
        Ok(Watched { state, version })
    }

    async fn wait(&self, campaign: &LiveCampaign, wanted: i64) -> Result<Arc<Version>, LiveError> {
        let id = campaign.id;
        let mut state = campaign.state.subscribe();
        let read = tokio::time::timeout(READING_PATIENCE, state.wait_for(|state| !matches!(state, State::BeingRead))).await;
        let version = match read.map(|state| state.map(|state| state.clone())) {
            Err(_) | Ok(Err(_) | Ok(State::BeingRead)) => return Err(LiveError::BeingRead(id)),
            Ok(Ok(State::Gone(Gone::Unknown))) => return Err(LiveError::Unknown(id)),
            Ok(Ok(State::Gone(Gone::Unreadable))) => return Err(LiveError::Unavailable(id)),
            // It left memory just now: the next who asks finds it being read.
            Ok(Ok(State::Gone(Gone::Left))) => return Err(LiveError::BeingRead(id)),
            Ok(Ok(State::Live(version))) => version,
        };
        if version.version >= wanted {
            return Ok(version);
        }
        self.inner.wake.wake();
        let reached = state.wait_for(|state| matches!(state, State::Live(version) if version.version >= wanted));
        // Whether it was reached is seen below.
        let _ = tokio::time::timeout(VERSION_PATIENCE, reached).await;
        let version = campaign.current().unwrap_or(version);
        if version.version >= wanted { Ok(version) } else { Err(LiveError::Behind { campaign: id, version: version.version, wanted }) }
    }

    /// The campaign, which begins to be read if it is not held.
    fn campaign(&self, id: CampaignId) -> Arc<LiveCampaign> {
        let now = self.inner.started.elapsed().as_secs();
        if let Some(campaign) = self.held(id) {
            campaign.last_asked.store(now, Ordering::Relaxed);
            return campaign;
        }
        let mut campaigns = self.inner.campaigns.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster.
        let campaign = campaigns.entry(id).or_insert_with(|| {
            let campaign = Arc::new(LiveCampaign::new(id, now));
            tokio::spawn(load::run(self.clone(), Arc::clone(&campaign)));
            campaign
        });
        Arc::clone(campaign)
    }

    fn held(&self, id: CampaignId) -> Option<Arc<LiveCampaign>> {
        self.inner.campaigns.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn all_held(&self) -> Vec<Arc<LiveCampaign>> {
        self.inner.campaigns.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Lets a campaign leave memory; who waits for it is told why.
    fn forget(&self, campaign: &Arc<LiveCampaign>, reason: Gone) {
        let mut campaigns = self.inner.campaigns.write().unwrap_or_else(PoisonError::into_inner);
        if campaigns.get(&campaign.id).is_some_and(|held| Arc::ptr_eq(held, campaign)) {
            campaigns.remove(&campaign.id);
        }
        campaign.state.send_replace(State::Gone(reason));
    }

    /// How many users and campaigns are held, as metrics too.
    fn count(&self) -> usize {
        let campaigns = self.all_held();
        let users = campaigns.iter().filter_map(|campaign| campaign.current()).map(|version| version.standings.len()).sum();
        self.inner.metrics.held(campaigns.len(), users);
        users
    }

    /// How much is held, and how current it is.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        let campaigns: Vec<_> = self.all_held().iter().filter_map(|campaign| campaign.current()).collect();
        let (behind_events, behind) = self.inner.metrics.behind();
        let users = campaigns.iter().map(|version| version.standings.len()).sum();
        Holdings { campaigns: campaigns.len(), users, behind_events, behind }
    }

    /// The campaigns that are held.
    #[must_use]
    pub fn campaigns(&self) -> Vec<CampaignId> {
        let mut ids: Vec<CampaignId> =
            self.all_held().iter().filter(|campaign| campaign.current().is_some()).map(|campaign| campaign.id).collect();
        ids.sort_unstable();
        ids
    }
}

fn unavailable(id: CampaignId, error: &StoreError) -> LiveError {
    tracing::warn!(campaign = %id, %error, "the settled standings of a campaign cannot be read");
    LiveError::Unavailable(id)
}

/// The first standings of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// The version of the results.
    pub version: i64,
    /// How many users have purchases that count.
    pub users: u64,
    /// From first to last.
    pub standings: Vec<Standing>,
}

/// Where the first standings are.
enum First {
    /// In the database.
    Settled(Top),
    /// In memory.
    Held(Arc<Version>),
}

/// A campaign's standings as they change.
#[derive(Debug)]
pub struct Watched {
    state: watch::Receiver<State>,
    version: Arc<Version>,
}

impl Watched {
    /// The latest version.
    pub fn current(&mut self) -> Arc<Version> {
        if let State::Live(version) = &*self.state.borrow_and_update() {
            self.version = Arc::clone(version);
        }
        Arc::clone(&self.version)
    }

    /// Waits for another version than [`Self::current`] gave last; `false` if there will be none, since the campaign left memory.
    pub async fn changed(&mut self) -> bool {
        self.state.changed().await.is_ok() && !matches!(&*self.state.borrow(), State::Gone(_))
    }
}
