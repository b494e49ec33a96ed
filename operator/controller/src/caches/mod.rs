//! What the operator knows of the cluster: one watch a kind, shared by all controllers. Part of observe; each change also
//! wakes the objects that depend on it.

mod objects;
mod triggers;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::DynamicObject;
use kube::runtime::reflector::{self, Store, store::Writer};
use kube::{Client, ResourceExt};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};
use tokio::task::JoinSet;

pub use objects::Objects;
use objects::Source;
pub use triggers::{Queues, Triggers};

use crate::kinds::{Kind, WATCHED};
use crate::metrics::Metrics;
use crate::primary::Primary;

/// A kind of the API's own: what is known of it, and the same once more in the form that kube's scheduler reads.
pub struct Typed<K>
where
    K: reflector::Lookup + Clone + 'static,
    K::DynamicType: std::hash::Hash + Eq + Clone,
{
    pub objects: Objects<K>,
    pub store: Store<K>,
}

impl<K: Primary> Typed<K> {
    /// The latest known state of an object, which may be later than what a queue's entry was made from.
    pub fn latest(&self, object: &Arc<K>) -> Arc<K> {
        let known = self.objects.get(&object.namespace().unwrap_or_default(), &object.name_any());
        known.filter(|known| known.uid() == object.uid()).unwrap_or_else(|| Arc::clone(object))
    }

    fn put_written(&self, mut object: DynamicObject) {
        object.metadata.managed_fields = None;
        match object.try_parse() {
            Ok(object) => {
                self.objects.put(object, Source::Write);
            }
            Err(error) => tracing::warn!(kind = K::KIND.kind, %error, "the API server's answer cannot be read"),
        }
    }
}

/// All caches.
pub struct Caches {
    pub groups: Typed<ResourceGroup>,
    pub slots: Typed<Slot>,
    pub classes: Typed<ResourceGroupClass>,
    pub releases: Typed<Release>,
    managed: BTreeMap<Kind, Objects<DynamicObject>>,
}

/// The writing ends of the caches' stores.
pub struct Writers {
    groups: Writer<ResourceGroup>,
    slots: Writer<Slot>,
    classes: Writer<ResourceGroupClass>,
    releases: Writer<Release>,
}

fn typed<K>() -> (Typed<K>, Writer<K>)
where
    K: reflector::Lookup<DynamicType = ()> + Clone + 'static,
{
    let (store, writer) = reflector::store();
    (Typed { objects: Objects::default(), store }, writer)
}

impl Caches {
    /// Empty caches.
    pub fn new() -> (Arc<Self>, Writers) {
        let (groups, groups_writer) = typed();
        let (slots, slots_writer) = typed();
        let (classes, classes_writer) = typed();
        let (releases, releases_writer) = typed();
        let managed = WATCHED.iter().map(|kind| (*kind, Objects::default())).collect();
        (
            Arc::new(Self { groups, slots, classes, releases, managed }),
            Writers { groups: groups_writer, slots: slots_writer, classes: classes_writer, releases: releases_writer },
        )
    }

    /// Starts the watches. A task of the set ends only if its watch died, which the process must not survive.
    pub fn start(self: &Arc<Self>, client: &Client, writers: Writers, triggers: &Arc<Triggers>, metrics: &Arc<Metrics>) -> JoinSet<String> {
        let mut tasks = JoinSet::new();
        let watcher = watch::Watcher { client: client.clone(), caches: Arc::clone(self), metrics: Arc::clone(metrics) };
        let (woken, caches) = (Arc::clone(triggers), Arc::clone(self));
        tasks.spawn(watcher.typed(|caches| &caches.groups, writers.groups, move |b, a| woken.group(&caches, b, a)));
        let (woken, caches) = (Arc::clone(triggers), Arc::clone(self));
        tasks.spawn(watcher.typed(|caches| &caches.slots, writers.slots, move |b, a| woken.slot(&caches, b, a)));
        let (woken, caches) = (Arc::clone(triggers), Arc::clone(self));
        tasks.spawn(watcher.typed(|caches| &caches.classes, writers.classes, move |b, a| woken.class(&caches, b, a)));
        let (woken, caches) = (Arc::clone(triggers), Arc::clone(self));
        tasks.spawn(watcher.typed(|caches| &caches.releases, writers.releases, move |b, a| woken.release(&caches, b, a)));
        for kind in WATCHED {
            let woken = Arc::clone(triggers);
            tasks.spawn(watcher.managed(*kind, move |before, after| woken.managed(*kind, before.or(after))));
        }
        tasks
    }

    /// The known objects of a watched kind.
    pub fn of(&self, kind: Kind) -> Option<&Objects<DynamicObject>> {
        self.managed.get(&kind)
    }

    /// Everything that is known in a namespace.
    pub fn live(&self, namespace: &str) -> Vec<Arc<DynamicObject>> {
        self.managed.values().flat_map(|objects| objects.in_namespace(namespace)).collect()
    }

    /// Takes in what a write of the operator returned.
    pub fn put_written(&self, kind: Kind, mut object: DynamicObject) {
        if let Some(objects) = self.of(kind) {
            watch::prepare_managed(kind, &mut object);
            objects.put(object, Source::Write);
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

    /// Names of the kinds whose first list is not complete.
    pub fn not_synced(&self) -> Vec<&'static str> {
        let typed = [
            ("ResourceGroup", self.groups.objects.is_synced()),
            ("Slot", self.slots.objects.is_synced()),
            ("ResourceGroupClass", self.classes.objects.is_synced()),
            ("Release", self.releases.objects.is_synced()),
        ];
        let managed = self.managed.iter().map(|(kind, objects)| (kind.kind, objects.is_synced()));
        typed.into_iter().chain(managed).filter(|(_, synced)| !synced).map(|(kind, _)| kind).collect()
    }
}
