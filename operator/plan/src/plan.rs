//! A plan: tracks of waves of steps.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use crate::{Manifest, Outcome, TrackOutcome, Verifier, reasons};

/// What is missing until the observed state is the desired one. Tracks fail separately, in their order: isolation is never
/// behind a data service, and workloads that run go on running when data steps fail.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Plan {
    /// In the order in which they are executed.
    pub tracks: Vec<Track>,
}

impl Plan {
    /// Whether nothing is missing and nothing is awaited.
    pub fn is_settled(&self) -> bool {
        self.tracks.iter().all(Track::is_settled)
    }

    /// The same plan, where its isolation failed: no pod comes, nor anything that pods are for, before what shields them.
    #[must_use]
    pub fn behind_isolation(mut self, outcome: &Outcome) -> Self {
        let failed = outcome.tracks.iter().find_map(|(name, outcome)| match outcome {
            TrackOutcome::Failed { message, .. } if *name == TrackName::Isolation => Some(message),
            _ => None,
        });
        if let Some(cause) = failed {
            for track in
                self.tracks.iter_mut().filter(|track| matches!(track.name, TrackName::Network | TrackName::Data | TrackName::Workloads))
            {
                let message = format!("nothing is started before the slot is isolated, which failed: {cause}; what runs is left as it is");
                *track = Track::new(track.name).waiting(Wait::new(reasons::AWAITING_ISOLATION, message));
            }
        }
        self
    }

    /// The track of that name; of a group's plan, the first.
    pub fn track(&self, name: TrackName) -> Option<&Track> {
        self.tracks.iter().find(|track| track.name == name)
    }
}

/// One concern of a plan. Its waves run one after the other; the first that fails ends the track.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Track {
    /// Which concern.
    pub name: TrackName,
    /// In a group's plan: the slot that the track is about, since one slot's trouble never holds another back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Waves, to be executed in order. Empty ones are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
    /// After the waves: what has to happen elsewhere before the next plan of this track can go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// Why the track cannot go on until somebody changes something. Waves before it are executed all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
}

impl Track {
    /// A track without anything to do.
    pub(crate) fn new(name: TrackName) -> Self {
        Self { name, slot: None, waves: Vec::new(), wait: None, stall: None }
    }

    /// Adds a wave, unless it is empty.
    pub(crate) fn then(&mut self, steps: Vec<Step>) {
        if !steps.is_empty() {
            self.waves.push(Wave { steps });
        }
    }

    /// The same track, stalled.
    pub(crate) fn stalled(mut self, stall: Stall) -> Self {
        self.stall = Some(stall);
        self
    }

    /// The same track, waiting.
    pub(crate) fn waiting(mut self, wait: Wait) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Whether nothing is missing and nothing is awaited.
    pub fn is_settled(&self) -> bool {
        self.waves.is_empty() && self.wait.is_none() && self.stall.is_none()
    }
}

/// The tracks of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackName {
    /// Of a group: namespaces and Slots.
    Slots,
    /// Labels, policies, quota, rights.
    Isolation,
    /// The probe that tries whether the policies are enforced.
    Network,
    /// Database, roles, schemas, migrations, cache.
    Data,
    /// Configuration, deployments, services.
    Workloads,
    /// What a deleted object leaves: in waves, workloads first.
    Teardown,
    /// Of a class or a release: whether something uses it.
    Usage,
}

impl TrackName {
    /// The name as printed plans and metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::Isolation => "isolation",
            Self::Network => "network",
            Self::Data => "data",
            Self::Workloads => "workloads",
            Self::Teardown => "teardown",
            Self::Usage => "usage",
        }
    }
}

/// Steps without an order among themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Wave {
    /// May be executed concurrently.
    pub steps: Vec<Step>,
}

/// One idempotent act.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Server-side apply of an object under the operator's field manager.
    Apply(Box<Manifest>),
    /// Server-side apply under a field manager of its own: a promoted slot's first revision.
    ApplyAs(&'static str, Box<Manifest>),
    /// Delete, with the UID as precondition.
    Delete(ObjectId),
    /// One statement's worth of change on a PostgreSQL server.
    Database(DatabaseStep),
    /// Removes that finalizer from the planned object itself: the last step of a teardown.
    RemoveFinalizer(&'static str),
    /// Adds that finalizer to the planned object itself: the first step of a life.
    AddFinalizer(&'static str),
}

/// Names one live object, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectId {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// UID: another object of that name is left alone.
    pub uid: String,
}

/// What is awaited; reported as `Reconciling`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// CamelCase constant.
    pub reason: &'static str,
    /// What is awaited, in a sentence.
    pub message: String,
}

impl Wait {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Why a track cannot go on; reported as `Stalled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stall {
    /// CamelCase constant.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Stall {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// A change on the slot's PostgreSQL server. The executor turns each into SQL, under an advisory lock per slot. Every one
/// may be repeated, and each but `CreateDatabase` and `DropDatabase` is one transaction, so that a role never exists
/// without its comment. What would print a password's verifier prints `***`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[allow(missing_docs, reason = "the fields say it")]
pub enum DatabaseStep {
    /// Revokes PUBLIC's CONNECT on `postgres` and `template1`.
    AdoptServer,
    /// `CREATE ROLE name NOLOGIN`, then its comment.
    CreateOwner { role: String, comment: String },
    /// Creates or alters a login: password as a SCRAM-SHA-256 verifier, connection limit, comment.
    EnsureLogin { role: String, verifier: Verifier, connection_limit: u32, comment: String },
    /// Sets `role` of a login in a database, and its membership in `owner`: what a migration creates belongs to the owner.
    ActAsOwner { login: String, owner: String, database: String },
    /// `CREATE DATABASE name TEMPLATE template0 ALLOW_CONNECTIONS false` unless it exists, then its comment, by which
    /// the present Slot holds it, and connection limit. Refused if the server would then have promised more than `budget`
    /// connections.
    CreateDatabase { name: String, comment: String, connection_limit: u32, budget: u32 },
    /// Revokes PUBLIC's rights on the database, grants CONNECT to the logins, sets the connection limit, then allows connections.
    /// Refused if the server would then have promised more than `budget` connections, and more than before.
    OpenDatabase { name: String, connection_limit: u32, budget: u32, logins: Vec<String> },
    /// In the database: creates the schema with its owner, revokes PUBLIC from schema `public`, and sets the `search_path` of the logins.
    CreateSchema { database: String, schema: String, owner: String, logins: Vec<String> },
    /// In the database: rights of the runtime logins on data of the schema, present and future, not on structure.
    GrantRuntime { database: String, schema: String, owner: String, logins: Vec<String> },
    /// In one transaction: names a retained database and its roles as the slot that takes them over names them, and marks them as
    /// its own. If the database still carries that comment.
    AdoptDatabase { source: String, retained: String, name: String, comment: String, connection_limit: u32, roles: Vec<AdoptedRole> },
    /// Takes the logins of a removed service their right to log in and ends their sessions; then the owner's comment, which says
    /// since when it is removed.
    RetireService { owner: String, comment: String, logins: Vec<String> },
    /// In the database: `DROP SCHEMA ... CASCADE` with the service's roles, if its owner's comment still says that it was removed
    /// at that time.
    DropService { database: String, schema: String, owner: String, removed: String, roles: Vec<String> },
    /// `NOLOGIN` for a former login, without a password from then on, and the end of its sessions.
    RetireLogin { role: String },
    /// Refuses new connections, ends the present ones, `DROP DATABASE`; if it is still held by whom it was when this was planned.
    DropDatabase { name: String, holder: Option<String> },
    /// Takes the logins their right to log in, and the database its connections; then the comment, which says that it is
    /// retained. If it is still held by whom it was when this was planned.
    RetainDatabase { name: String, holder: Option<String>, comment: String, logins: Vec<String> },
    /// `DROP ROLE`; what it may still own in the server's other databases is none.
    DropRole { role: String },
}

/// A role of a database that is taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdoptedRole {
    /// Its name until then.
    pub source: String,
    /// Its name from then on.
    pub name: String,
    /// Its comment from then on.
    pub comment: String,
}

/// The instant of a planned report; a clock's reading that the caller passes in.
pub type Now = Time;
