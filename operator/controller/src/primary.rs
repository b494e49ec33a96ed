//! The four kinds that have a controller, and what all of them have in common: a status with conditions.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_crds::{
    Release, ReleaseStatus, ResourceGroup, ResourceGroupClass, ResourceGroupClassStatus, ResourceGroupStatus, Slot, SlotStatus,
};

use crate::caches::{Caches, Typed};
use crate::kinds::{Kind, RELEASE, RESOURCE_GROUP, RESOURCE_GROUP_CLASS, SLOT};

/// A kind that is reconciled.
pub trait Primary: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {
    /// Its status.
    type Status: Clone + PartialEq + Serialize + Send + Sync;
    const KIND: Kind;

    fn status(&self) -> Option<&Self::Status>;
    fn conditions(status: &Self::Status) -> &[Condition];
    fn conditions_mut(status: &mut Self::Status) -> &mut [Condition];
    /// What of a status others go by, and is therefore written down at once.
    fn on_record(status: &Self::Status) -> Vec<String>;
    /// Whether it is worth an event that an object with that status has become Ready: of a new Slot its group tells.
    fn is_ready_news(before: Option<&Self::Status>) -> bool;
    fn cache(caches: &Caches) -> &Typed<Self>;
}

macro_rules! primary {
    ($kind:ident, $status:ident, $constant:ident, $cache:ident, $on_record:expr, $is_ready_news:expr) => {
        impl Primary for $kind {
            type Status = $status;
            const KIND: Kind = $constant;

            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }

            fn conditions(status: &$status) -> &[Condition] {
                &status.conditions
            }

            fn conditions_mut(status: &mut $status) -> &mut [Condition] {
                &mut status.conditions
            }

            fn on_record(status: &$status) -> Vec<String> {
                let on_record: fn(&$status) -> Vec<String> = $on_record;
                on_record(status)
            }

            fn is_ready_news(before: Option<&$status>) -> bool {
                let is_ready_news: fn(Option<&$status>) -> bool = $is_ready_news;
                is_ready_news(before)
            }

            fn cache(caches: &Caches) -> &Typed<Self> {
                &caches.$cache
            }
        }
    };
}

// A Slot counts only if its group's status lists it.
primary!(
    ResourceGroup,
    ResourceGroupStatus,
    RESOURCE_GROUP,
    groups,
    |status| status.slots.iter().map(|slot| slot.uid.clone()).collect(),
    |_| true
);
// Nothing is made on a server before it is written down where.
primary!(
    Slot,
    SlotStatus,
    SLOT,
    slots,
    |status| status.database.iter().map(|place| format!("{}/{}", place.server, place.name)).collect(),
    // Until its pods run and its network was tried, it has not been Ready.
    |before| before.is_some_and(|before| before.running_release.is_some() && before.network.is_some())
);
primary!(ResourceGroupClass, ResourceGroupClassStatus, RESOURCE_GROUP_CLASS, classes, |status| vec![status.groups.to_string()], |_| true);
primary!(Release, ReleaseStatus, RELEASE, releases, |status| vec![status.slots.to_string()], |_| true);
