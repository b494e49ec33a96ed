//! One watch: lists, follows, and starts again by itself after any error. Only its end is an error.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::{DynamicObject, ObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tenantry_crds::names::{MANAGED_BY, MANAGED_BY_LABEL};
use tenantry_plan::ownership;

use super::objects::{Change, Kept, Objects, Place, Source};
use super::packed::Packed;
use super::{Caches, Typed};
use crate::kinds::{DEPLOYMENT, JOB, Kind, NAMESPACE, POD, SLOT};
use crate::metrics::Metrics;

/// Objects asked for at a time: what has not been packed yet takes many times its room.
const PAGE: u32 = 100;

pub struct Watcher {
    pub client: Client,
    pub caches: Arc<Caches>,
    pub metrics: Arc<Metrics>,
}

impl Watcher {
    /// Watches all objects of a kind of the API's own.
    pub fn typed<K>(
        &self,
        cache: fn(&Caches) -> &Typed<K>,
        changed: impl Fn(Option<&K>, Option<&K>) + Send + 'static,
    ) -> impl Future<Output = String> + Send + 'static
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (caches, metrics, api) = (Arc::clone(&self.caches), Arc::clone(&self.metrics), Api::<K>::all(self.client.clone()));
        async move {
            let kind = K::kind(&()).into_owned();
            let mut intake = Intake::default();
            let mut events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff().boxed();
            let mut lists = Lists::new(&metrics, &kind);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        lists.note(&event);
                        let keep = |mut object: K| {
                            object.meta_mut().managed_fields = owners(&kind, object.meta());
                            Arc::new(object)
                        };
                        for (before, after) in intake.take(event, &cache(&caches).objects, keep) {
                            changed(before.as_deref(), after.as_deref());
                        }
                    }
                    Err(error) => note_failure(&metrics, &kind, &error),
                }
            }
            kind
        }
    }

    /// Watches what the operator owns of a kind.
    pub fn managed(
        &self,
        kind: Kind,
        changed: impl Fn(Option<Packed>, Option<Packed>) + Send + 'static,
    ) -> impl Future<Output = String> + Send + 'static {
        let (caches, metrics, api) = (Arc::clone(&self.caches), Arc::clone(&self.metrics), kind.api_all(&self.client));
        async move {
            let Some(managed) = caches.of(kind) else { return kind.kind.to_owned() };
            let config = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}")).page_size(PAGE);
            let mut intake = Intake::default();
            let mut events = watcher(api, config).default_backoff().boxed();
            let mut lists = Lists::new(&metrics, kind.kind);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        lists.note(&event);
                        let keep = |mut object: DynamicObject| {
                            prepare_managed(kind, &mut object);
                            managed.packer.pack(object)
                        };
                        for (before, after) in intake.take(event, &managed.objects, keep) {
                            changed(before, after);
                        }
                    }
                    Err(error) => note_failure(&metrics, kind.kind, &error),
                }
            }
            kind.kind.to_owned()
        }
    }
}

/// Collects a list until it is complete, each object as it will be kept.
struct Intake<F> {
    list: Vec<(Place, F)>,
}

impl<F> Default for Intake<F> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<F: Kept> Intake<F> {
    fn take<K: Resource>(&mut self, event: Event<K>, objects: &Objects<F>, keep: impl Fn(K) -> F) -> Vec<Change<F>> {
        match event {
            Event::Apply(object) => objects.put(Place::of(&object), keep(object), Source::Watch).into_iter().collect(),
            Event::Delete(object) => objects.remove(&Place::of(&object), object.meta().uid.as_deref()).into_iter().collect(),
            Event::Init => {
                self.list.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.list.push((Place::of(&object), keep(object)));
                Vec::new()
            }
            Event::InitDone => objects.replace(std::mem::take(&mut self.list)),
        }
    }
}

/// Counts the lists that a watch begins with after its first.
struct Lists<'a> {
    metrics: &'a Metrics,
    kind: &'a str,
    begun: bool,
}

impl<'a> Lists<'a> {
    fn new(metrics: &'a Metrics, kind: &'a str) -> Self {
        metrics.watch_begins(kind);
        Self { metrics, kind, begun: false }
    }

    fn note<K>(&mut self, event: &Event<K>) {
        if matches!(event, Event::Init) && std::mem::replace(&mut self.begun, true) {
            self.metrics.watch_restarted(self.kind);
        }
    }
}

/// Kinds of whose status a plan takes notice. A change of another's status is none.
const STATUS_MATTERS: [Kind; 4] = [NAMESPACE, POD, DEPLOYMENT, JOB];

/// Drops what no plan looks at, and names the kind, which lists leave out. Of who owns fields, the intruders are kept.
pub fn prepare_managed(kind: Kind, object: &mut DynamicObject) {
    object.types = Some(kind.types());
    object.metadata.managed_fields = intruders(&object.metadata);
    let Some(data) = object.data.as_object_mut() else { return };
    if kind == POD {
        data.remove("spec");
    }
    if !STATUS_MATTERS.contains(&kind) {
        data.remove("status");
    }
}

/// Of who owns fields of a kind of the API's own: the intruders, in Slots, which the operator makes; the others are their users'.
pub fn owners(kind: &str, meta: &ObjectMeta) -> Option<Vec<ManagedFieldsEntry>> {
    if kind == SLOT.kind { intruders(meta) } else { None }
}

/// The entries of others that own content of a managed object: none, as a rule.
pub fn intruders(meta: &ObjectMeta) -> Option<Vec<ManagedFieldsEntry>> {
    let entries: Vec<_> = ownership::foreign(meta).cloned().collect();
    (!entries.is_empty()).then_some(entries)
}

fn note_failure(metrics: &Metrics, kind: &str, error: &watcher::Error) {
    metrics.watch_failed(kind);
    tracing::warn!(kind, %error, "a watch failed and is started again");
}
