//! One watch: lists, follows, and starts again by itself after any error. Only its end is an error.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use futures::StreamExt;
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tenantry_crds::names::{MANAGED_BY, MANAGED_BY_LABEL};

use super::objects::{Change, Objects, Source};
use super::{Caches, Typed};
use crate::kinds::{Kind, POD};
use crate::metrics::Metrics;

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
        mut writer: Writer<K>,
        changed: impl Fn(Option<&K>, Option<&K>) + Send + 'static,
    ) -> impl Future<Output = String> + Send + 'static
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (caches, metrics, api) = (Arc::clone(&self.caches), Arc::clone(&self.metrics), Api::<K>::all(self.client.clone()));
        async move {
            let kind = K::kind(&()).into_owned();
            let mut intake = Intake::default();
            let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                let event = match event {
                    Ok(event) => event.modify(|object| object.meta_mut().managed_fields = None),
                    Err(error) => {
                        note_failure(&metrics, &kind, &error);
                        continue;
                    }
                };
                writer.apply_watcher_event(&event);
                for (before, after) in intake.take(event, &cache(&caches).objects) {
                    changed(before.as_deref(), after.as_deref());
                }
            }
            kind
        }
    }

    /// Watches what the operator owns of a kind.
    pub fn managed(
        &self,
        kind: Kind,
        changed: impl Fn(Option<&DynamicObject>, Option<&DynamicObject>) + Send + 'static,
    ) -> impl Future<Output = String> + Send + 'static {
        let (caches, metrics, api) = (Arc::clone(&self.caches), Arc::clone(&self.metrics), kind.api_all(&self.client));
        async move {
            let Some(objects) = caches.of(kind) else { return kind.kind.to_owned() };
            let config = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
            let mut intake = Intake::default();
            let mut events = watcher(api, config).default_backoff().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let event = event.modify(|object| prepare_managed(kind, object));
                        for (before, after) in intake.take(event, objects) {
                            changed(before.as_deref(), after.as_deref());
                        }
                    }
                    Err(error) => note_failure(&metrics, kind.kind, &error),
                }
            }
            kind.kind.to_owned()
        }
    }
}

/// Collects a list until it is complete.
struct Intake<K> {
    list: Vec<K>,
}

impl<K> Default for Intake<K> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<K: Resource> Intake<K> {
    fn take(&mut self, event: Event<K>, objects: &Objects<K>) -> Vec<Change<K>> {
        match event {
            Event::Apply(object) => objects.put(object, Source::Watch).into_iter().collect(),
            Event::Delete(object) => objects.remove(&object).into_iter().collect(),
            Event::Init => {
                self.list.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.list.push(object);
                Vec::new()
            }
            Event::InitDone => objects.replace(std::mem::take(&mut self.list)),
        }
    }
}

/// Drops what no plan looks at, and names the kind, which lists leave out.
pub fn prepare_managed(kind: Kind, object: &mut DynamicObject) {
    object.types = Some(kind.types());
    object.metadata.managed_fields = None;
    if kind == POD
        && let Some(data) = object.data.as_object_mut()
    {
        data.remove("spec");
    }
}

fn note_failure(metrics: &Metrics, kind: &str, error: &watcher::Error) {
    metrics.watch_failed(kind);
    tracing::warn!(kind, %error, "a watch failed and is started again");
}
