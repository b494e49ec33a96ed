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
    fn cache(caches: &Caches) -> &Typed<Self>;
}

macro_rules! primary {
    ($kind:ident, $status:ident, $constant:ident, $cache:ident) => {
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

            fn cache(caches: &Caches) -> &Typed<Self> {
                &caches.$cache
            }
        }
    };
}

primary!(ResourceGroup, ResourceGroupStatus, RESOURCE_GROUP, groups);
primary!(Slot, SlotStatus, SLOT, slots);
primary!(ResourceGroupClass, ResourceGroupClassStatus, RESOURCE_GROUP_CLASS, classes);
primary!(Release, ReleaseStatus, RELEASE, releases);
