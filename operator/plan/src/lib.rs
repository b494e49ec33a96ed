//! The desired state of a group and of a slot, as data. Stands between observe and apply: takes what was observed, gives
//! the steps that are missing. Steps come only for what differs, so that the plan of a settled object is empty.
//!
//! Architecture invariant: pure. No async, no client, no clock, no random source, no environment.

mod compare;
mod facts;
mod group;
mod live;
mod manifest;
pub mod names;
mod objects;
mod outcome;
pub mod ownership;
mod plan;
pub mod reasons;
mod rollout;
mod secrets;
mod settings;
mod slot;
pub mod status;
mod usage;

pub use facts::{
    DatabaseFacts, GroupFacts, Observation, OperatorFacts, ProbeOffer, RoleFacts, SchemaFacts, ServerFacts, SlotFacts, SourceFacts,
};
pub use group::group;
pub use live::{MANAGED_KINDS, ManagedKind};
pub use manifest::Manifest;
pub use names::SlotIdentity;
pub use objects::probe::{PROBE_PORT, PROBE_REACHED};
pub use outcome::{Outcome, TrackOutcome};
pub use plan::{AdoptedRole, DatabaseStep, Now, ObjectId, Plan, Stall, Step, Track, TrackName, Wait, Wave};
pub use rollout::{ClassTurn, Outdated, class_turns};
pub use secrets::{MasterKey, MasterKeyTooShort, Password, Verifier};
pub use slot::{
    Ingress, Placed, Standing, UserSecret, adopted_database, is_probe, isolation, needs_database, needs_master_key, needs_servers, placed,
    probe_pods, recorded_server, secret_names, slot, standing, user_secret_names,
};
pub use usage::{class, release};
