//! Leaderboards that viewers watch: the first hundred positions of a campaign, once whole and then what changes, as server-sent events.
//!
//! Each campaign that has viewers has one task ([`Board::show`]), which makes an event of what changed, at most ten times a second; the event is written
//! once and sent to all. A viewer that does not keep up is cut off, and none is waited for: what waits for viewers is bounded. Who comes
//! back with the id of the last event goes on after it, as long as that is among the recent ones, and else gets the whole again.

mod event;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use futures::stream::unfold;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tenantry_kit::telemetry::Metrics;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::domain::{CampaignId, Standing, UserId, UserName};
use crate::live::{LiveError, LiveStandings, Version, Watched};
use crate::store::Store;
use event::Recent;
pub use event::{Place, Shown};

/// How many positions a leaderboard has.
pub const POSITIONS: usize = 100;
/// Between two events of a campaign.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// Between two events of one user's position.
const OWN_INTERVAL: Duration = Duration::from_millis(250);
/// How many events may wait for a viewer.
const WAITING_EVENTS: usize = 16;
/// After so long without an event a comment is sent, so that what is in between keeps the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// How old the names may be that are shown.
const NAMES_AGE: Duration = Duration::from_secs(20);
/// The most viewers of one process; each is a connection.
const VIEWERS: usize = 2000;

/// The leaderboards that are watched in this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Leaderboards {
    standings: LiveStandings,
    store: Store,
    boards: Arc<Mutex<HashMap<CampaignId, Arc<Board>>>>,
    places: Arc<Semaphore>,
    metrics: LeaderboardMetrics,
    shutdown: CancellationToken,
}

/// What the leaderboards tell the outside. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LeaderboardMetrics {
    viewers: Gauge,
    cut_off: Counter,
}

impl LeaderboardMetrics {
    /// Registers the metrics; once a process.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let leaderboards = Self::default();
        metrics.register(|registry| {
            registry.register("leaderboard_viewers", "Connections that watch a leaderboard or a position", leaderboards.viewers.clone());
            registry.register("leaderboard_viewers_cut_off", "Viewers that did not keep up", leaderboards.cut_off.clone());
        });
        leaderboards
    }
}

/// A viewer's place among those that a process takes.
struct Seat {
    metrics: LeaderboardMetrics,
    _place: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.metrics.viewers.dec();
    }
}

/// Why there is nothing to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The campaign has no standings here.
    #[error(transparent)]
    Standings(#[from] LiveError),
    /// The process has as many viewers as it takes.
    #[error("{VIEWERS} viewers watch leaderboards here already")]
    TooMany,
}

/// One campaign's leaderboard.
#[derive(Debug)]
struct Board {
    events: broadcast::Sender<Bytes>,
    recent: Mutex<Recent>,
}

impl Leaderboards {
    /// Nobody watches yet. `shutdown` ends all watching.
    #[must_use]
    pub fn new(standings: LiveStandings, store: Store, metrics: LeaderboardMetrics, shutdown: CancellationToken) -> Self {
        Self { standings, store, boards: Arc::default(), places: Arc::new(Semaphore::new(VIEWERS)), metrics, shutdown }
    }

    fn seat(&self) -> Result<Seat, ViewError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ViewError::TooMany)?;
        self.metrics.viewers.inc();
        Ok(Seat { metrics: self.metrics.clone(), _place: place })
    }

    /// The leaderboard as it is now.
    ///
    /// # Errors
    /// When the campaign has no standings here.
    pub async fn shown(&self, id: CampaignId) -> Result<Shown, LiveError> {
        let version = self.standings.of(id, None).await?;
        let mut names = Names::default();
        Ok(names.show(&self.store, id, &version).await)
    }

    /// The events of a leaderboard: first the whole, or what came after the event `last`; then what changes. It ends when the viewer does not keep up, and
    /// with the process.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub async fn watch(&self, id: CampaignId, last: Option<i64>) -> Result<impl Stream<Item = Bytes> + Send + use<>, ViewError> {
        let seat = self.seat()?;
        let (first, events) = match self.join(id, last) {
            Some(joined) => joined,
            None => {
                self.open(id).await?;
                self.join(id, last).ok_or(LiveError::BeingRead(id))?
            }
        };
        let viewer = Viewer { first: first.into_iter(), events, shutdown: self.shutdown.clone(), seat };
        Ok(unfold(viewer, |mut viewer| async move { Some((viewer.next().await?, viewer)) }))
    }

    /// The events of one user's position: what it is, then whenever it is another.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub async fn watch_user(&self, id: CampaignId, user: UserId) -> Result<impl Stream<Item = Bytes> + Send + use<>, ViewError> {
        let seat = self.seat()?;
        let watched = self.standings.watch(id).await?;
        let viewer = OwnViewer { id, user, watched, sent: None, shutdown: self.shutdown.clone(), seat };
        Ok(unfold(viewer, |mut viewer| async move { Some((viewer.next().await?, viewer)) }))
    }

    /// What a viewer gets first, and then; `None` if nobody watches the campaign yet.
    fn join(&self, id: CampaignId, last: Option<i64>) -> Option<(Vec<Bytes>, broadcast::Receiver<Bytes>)> {
        let boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        let board = boards.get(&id)?;
        // No event comes in between, since who sends one holds this.
        let recent = board.recent.lock().unwrap_or_else(PoisonError::into_inner);
        Some((recent.since(last), board.events.subscribe()))
    }

    async fn open(&self, id: CampaignId) -> Result<(), LiveError> {
        let mut watched = self.standings.watch(id).await?;
        let mut names = Names::default();
        let shown = names.show(&self.store, id, &watched.current()).await;
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(entry) = boards.entry(id) {
            let board = Arc::new(Board { events: broadcast::Sender::new(WAITING_EVENTS), recent: Mutex::new(Recent::new(shown)) });
            tokio::spawn(self.clone().run(id, Arc::clone(entry.insert(board)), watched, names));
        }
        Ok(())
    }

    /// Makes events until nobody watches.
    async fn run(self, id: CampaignId, board: Arc<Board>, mut watched: Watched, mut names: Names) {
        loop {
            let is_held = tokio::select! {
                is_held = watched.changed() => is_held,
                () = tokio::time::sleep(NAMES_AGE) => true,
                () = self.shutdown.cancelled() => false,
            };
            let version = watched.current();
            let shown = names.show(&self.store, id, &version).await;
            board.show(shown);
            if self.closes(id, &board, is_held) {
                return;
            }
            tokio::time::sleep(EVENT_INTERVAL).await;
        }
    }

    /// Whether the board is closed, to those who come too, since nobody watches it or nothing more will come.
    fn closes(&self, id: CampaignId, board: &Board, is_held: bool) -> bool {
        // Who joins holds this.
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        let closes = !is_held || board.events.receiver_count() == 0;
        if closes {
            boards.remove(&id);
        }
        closes
    }
}

impl Board {
    /// Sends what is new.
    fn show(&self, shown: Shown) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = recent.advance(shown) {
            // Nobody may be there just now.
            let _ = self.events.send(event);
        }
    }
}

/// The names of those who are shown, as last read.
#[derive(Debug, Default)]
struct Names {
    known: HashMap<UserId, Option<UserName>>,
    read_at: Option<Instant>,
}

impl Names {
    async fn show(&mut self, store: &Store, id: CampaignId, version: &Arc<Version>) -> Shown {
        let standings = version.standings.first(POSITIONS);
        if self.read_at.is_none_or(|read_at| read_at.elapsed() >= NAMES_AGE) {
            self.known.clear();
            self.read_at = Some(Instant::now());
        }
        let unknown: Vec<UserId> =
            standings.iter().map(|standing| standing.user_id).filter(|user| !self.known.contains_key(user)).collect();
        if !unknown.is_empty() {
            match store.user_names(&unknown).await {
                Ok(mut names) => self.known.extend(unknown.into_iter().map(|user| (user, names.remove(&user)))),
                // They are asked for again with the next event.
                Err(error) => tracing::warn!(%error, "the names of users cannot be read; a leaderboard is shown without"),
            }
        }
        let places = standings.into_iter().map(|standing| {
            let name = self.known.get(&standing.user_id).cloned().flatten();
            Place::new(standing, name)
        });
        Shown { campaign_id: id, version: version.version, users: version.standings.len(), places: places.collect() }
    }
}

/// Who watches a leaderboard.
struct Viewer {
    first: std::vec::IntoIter<Bytes>,
    events: broadcast::Receiver<Bytes>,
    shutdown: CancellationToken,
    seat: Seat,
}

impl Viewer {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.next() {
            return Some(first);
        }
        tokio::select! {
            event = self.events.recv() => {
                // The viewer comes back, and goes on after the last event that it has.
                if let Err(RecvError::Lagged(_)) = event {
                    self.seat.metrics.cut_off.inc();
                }
                event.ok()
            }
            () = tokio::time::sleep(KEEP_ALIVE) => Some(KEEP_ALIVE_COMMENT),
            () = self.shutdown.cancelled() => None,
        }
    }
}

/// Who watches a user's position.
struct OwnViewer {
    id: CampaignId,
    user: UserId,
    watched: Watched,
    /// What was sent last.
    sent: Option<Option<Standing>>,
    shutdown: CancellationToken,
    #[allow(dead_code, reason = "it is held, not looked at")]
    seat: Seat,
}

impl OwnViewer {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.sent.is_some() {
                tokio::select! {
                    is_held = self.watched.changed() => if !is_held { return None },
                    () = tokio::time::sleep(KEEP_ALIVE) => return Some(KEEP_ALIVE_COMMENT),
                    () = self.shutdown.cancelled() => return None,
                }
                // What comes at once is one event.
                tokio::time::sleep(OWN_INTERVAL).await;
            }
            let version = self.watched.current();
            let standing = version.standings.of(self.user);
            if self.sent.replace(standing) != Some(standing) {
                return Some(event::own(self.id, version.version, self.user, standing));
            }
        }
    }
}
