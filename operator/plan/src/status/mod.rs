//! Reports, still pure: what a plan and its execution say of an object, as a status. A status that says the same as the one
//! before is equal to it, so that nothing is written.

mod conditions;
mod group;
mod slot;
mod usage;
mod verdict;

pub use group::group_status;
pub use slot::slot_status;
pub use usage::{class_status, release_status};
