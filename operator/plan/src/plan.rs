//! A plan: tracks of waves of steps.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use crate::{Manifest, Verifier};

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
    /// Database, roles, schemas, migrations, cache.
    Data,
    /// Configuration, deployments, services.
    Workloads,
    /// What a deleted object leaves: in waves, workloads first.
    Teardown,
    /// Of a class or a release: whether something uses it.
    Usage,
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
    /// `CREATE DATABASE name TEMPLATE template0 ALLOW_CONNECTIONS false` unless it exists, then its comment and connection limit.
    CreateDatabase { name: String, comment: String, connection_limit: u32 },
    /// Revokes PUBLIC's rights on the database, grants CONNECT to the logins, sets the connection limit, then allows connections.
    OpenDatabase { name: String, connection_limit: u32, logins: Vec<String> },
    /// In the database: creates the schema with its owner, revokes PUBLIC from schema `public`, and sets the `search_path` of the logins.
    CreateSchema { database: String, schema: String, owner: String, logins: Vec<String> },
    /// In the database: rights of the runtime logins on data of the schema, present and future, not on structure.
    GrantRuntime { database: String, schema: String, owner: String, logins: Vec<String> },
    /// Refuses new connections, ends the present ones, `DROP DATABASE`.
    DropDatabase { name: String },
    /// `DROP ROLE`; what it may still own in the server's other databases is none.
    DropRole { role: String },
}

/// The instant of a planned report; a clock's reading that the caller passes in.
pub type Now = Time;
