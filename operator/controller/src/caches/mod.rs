//! What the operator knows of the cluster: one watch a kind, shared by all controllers. Part of observe; each change also
//! wakes the objects that depend on it.

mod objects;
mod packed;
mod triggers;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use kube::core::DynamicObject;
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};
use tokio::task::JoinSet;

pub use objects::{Kept, Place};
use objects::{Objects, Source};
pub use packed::{Packed, Packer};
pub use triggers::Triggers;
pub use watch::intruders;

use crate::kinds::{Kind, WATCHED};
use crate::metrics::Metrics;
use crate::primary::Primary;

/// A kind of the API's own.
pub struct Typed<K> {
    pub objects: Objects<Arc<K>>,
}

impl<K> Default for Typed<K> {
    fn default() -> Self {
        Self { objects: Objects::default() }
    }
}

impl<K: Primary> Typed<K> {
    /// As if the watch had reported it.
    #[cfg(test)]
    pub fn put_watched(&self, object: K) {
        self.objects.put(Place::of(&object), Arc::new(object), Source::Watch);
    }

    fn put_written(&self, mut object: DynamicObject) {
        object.metadata.managed_fields = watch::owners(K::KIND.kind, &object.metadata);
        match object.try_parse::<K>() {
            Ok(object) => {
                self.objects.put(Place::of(&object), Arc::new(object), Source::Write);
            }
            Err(error) => tracing::warn!(kind = K::KIND.kind, %error, "the API server's answer cannot be read"),
        }
    }
}

/// A kind that the operator owns the objects of.
#[derive(Default)]
pub struct Managed {
    objects: Objects<Packed>,
    packer: Packer,
}

impl Managed {
    pub fn get(&self, namespace: &str, name: &str) -> Option<DynamicObject> {
        self.objects.get(namespace, name).map(|packed| packed.unpack())
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<DynamicObject> {
        unpacked(self.objects.in_namespace(namespace))
    }

    /// Those whose `namespace/name` begins so; of cluster-scoped kinds, `/name`.
    pub fn beginning(&self, prefix: &str) -> Vec<DynamicObject> {
        unpacked(self.objects.beginning(prefix))
    }
}

fn unpacked(packed: Vec<Packed>) -> Vec<DynamicObject> {
    packed.iter().map(Packed::unpack).collect()
}

/// All caches.
#[derive(Default)]
pub struct Caches {
    pub groups: Typed<ResourceGroup>,
    pub slots: Typed<Slot>,
    pub classes: Typed<ResourceGroupClass>,
    pub releases: Typed<Release>,
    managed: BTreeMap<Kind, Managed>,
}

impl Caches {
    /// Empty caches.
    pub fn new() -> Arc<Self> {
        let managed = WATCHED.iter().map(|kind| (*kind, Managed::default())).collect();
        Arc::new(Self { managed, ..Self::default() })
    }

    /// Starts the watches. A task of the set ends only if its watch died, which the process must not survive.
    pub fn start(self: &Arc<Self>, client: &Client, triggers: &Arc<Triggers>, metrics: &Arc<Metrics>) -> JoinSet<String> {
        let mut tasks = JoinSet::new();
        let watcher = watch::Watcher { client: client.clone(), caches: Arc::clone(self), metrics: Arc::clone(metrics) };
        let (woken, caches) = (Arc::clone(triggers), Arc::clone(self));
        tasks.spawn(watcher.typed(|caches| &caches.groups, move |b, a| woken.group(&caches, b, a)));
        let (woken, caches) = (Arc::clone(triggers), Arc::clone(self));
        tasks.spawn(watcher.typed(|caches| &caches.slots, move |b, a| woken.slot(&caches, b, a)));
        let (woken, caches) = (Arc::clone(triggers), Arc::clone(self));
        tasks.spawn(watcher.typed(|caches| &caches.classes, move |b, a| woken.class(&caches, b, a)));
        let (woken, caches) = (Arc::clone(triggers), Arc::clone(self));
        tasks.spawn(watcher.typed(|caches| &caches.releases, move |b, a| woken.release(&caches, b, a)));
        for kind in WATCHED {
            let woken = Arc::clone(triggers);
            tasks.spawn(watcher.managed(*kind, move |before, after| woken.managed(*kind, after.or(before))));
        }
        tasks
    }

    /// The known objects of a watched kind.
    pub fn of(&self, kind: Kind) -> Option<&Managed> {
        self.managed.get(&kind)
    }

    /// Everything that is known in a namespace.
    pub fn live(&self, namespace: &str) -> Vec<DynamicObject> {
        self.managed.values().flat_map(|managed| managed.in_namespace(namespace)).collect()
    }

    /// Takes in what a write of the operator returned.
    pub fn put_written(&self, kind: Kind, mut object: DynamicObject) {
        if let Some(managed) = self.of(kind) {
            watch::prepare_managed(kind, &mut object);
            managed.objects.put(Place::of(&object), managed.packer.pack(object), Source::Write);
        } else if kind == Slot::KIND {
            self.slots.put_written(object);
        } else if kind == ResourceGroup::KIND {
            self.groups.put_written(object);
        } else if kind == ResourceGroupClass::KIND {
            self.classes.put_written(object);
        } else if kind == Release::KIND {
            self.releases.put_written(object);
        }
    }

    /// Of each kind: whether its first list is complete, and how many objects are known.
    pub fn sizes(&self) -> Vec<(&'static str, bool, usize)> {
        let typed = [
            ("ResourceGroup", self.groups.objects.is_synced(), self.groups.objects.len()),
            ("Slot", self.slots.objects.is_synced(), self.slots.objects.len()),
            ("ResourceGroupClass", self.classes.objects.is_synced(), self.classes.objects.len()),
            ("Release", self.releases.objects.is_synced(), self.releases.objects.len()),
        ];
        let managed = self.managed.iter().map(|(kind, managed)| (kind.kind, managed.objects.is_synced(), managed.objects.len()));
        typed.into_iter().chain(managed).collect()
    }

    /// Names of the kinds whose first list is not complete.
    pub fn not_synced(&self) -> Vec<&'static str> {
        self.sizes().into_iter().filter(|(_, synced, _)| !synced).map(|(kind, ..)| kind).collect()
    }
}
