//! One kind's objects as the watch and the operator's own writes report them, by namespace and name.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::{Resource, ResourceExt};

/// An object before and after something changed; none where it did not or does not exist.
pub type Change<K> = (Option<Arc<K>>, Option<Arc<K>>);

type ByNamespace<K> = HashMap<String, BTreeMap<String, Known<K>>>;

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The watch.
    Watch,
    /// The answer to a write of the operator: known before the watch reports it.
    Write,
}

#[derive(Debug)]
struct Known<K> {
    /// The latest state.
    object: Arc<K>,
    /// What the watch reported last: a change is reported against that, since a write of the operator wakes nobody.
    reported: Option<Arc<K>>,
}

/// UIDs of objects that went, the last so many: the answer to a write can arrive after the report of the deletion that
/// followed it, and must not bring the object back.
#[derive(Debug, Default)]
struct Gone {
    order: VecDeque<String>,
    uids: HashSet<String>,
}

const GONE_REMEMBERED: usize = 4096;

impl Gone {
    fn note(&mut self, uid: Option<String>) {
        let Some(uid) = uid else { return };
        if self.uids.insert(uid.clone()) {
            self.order.push_back(uid);
        }
        if self.order.len() > GONE_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    fn has(&self, uid: Option<&String>) -> bool {
        uid.is_some_and(|uid| self.uids.contains(uid))
    }
}

#[derive(Debug)]
struct State<K> {
    known: ByNamespace<K>,
    gone: Gone,
}

/// The known objects of one kind. Cluster-scoped ones stand under the empty namespace.
#[derive(Debug)]
pub struct Objects<K> {
    state: RwLock<State<K>>,
    synced: AtomicBool,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        let state = State { known: HashMap::new(), gone: Gone::default() };
        Self { state: RwLock::new(state), synced: AtomicBool::new(false) }
    }
}

impl<K: Resource> Objects<K> {
    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        Some(Arc::clone(&self.read().known.get(namespace)?.get(name)?.object))
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read().known.get(namespace).map(|objects| objects.values().map(Known::object).collect()).unwrap_or_default()
    }

    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().known.values().flat_map(|objects| objects.values().map(Known::object)).collect()
    }

    /// Takes in a state of an object. The latest counts: an older report of the watch does not undo what the operator has just
    /// written. Gives the change that the watch reported; a write is none, since its report follows.
    pub fn put(&self, object: K, source: Source) -> Option<Change<K>> {
        let State { known, gone } = &mut *self.write();
        if source == Source::Write && gone.has(object.meta().uid.as_ref()) {
            return None;
        }
        let objects = known.entry(object.namespace().unwrap_or_default()).or_default();
        let (name, object) = (object.name_any(), Arc::new(object));
        let before = objects.remove(&name);
        let reported = before.as_ref().and_then(|before| before.reported.clone());
        let latest = match before {
            Some(before) if !is_newer(&*object, &*before.object) => before.object,
            _ => Arc::clone(&object),
        };
        match source {
            Source::Write => {
                objects.insert(name, Known { object: latest, reported });
                None
            }
            Source::Watch => {
                objects.insert(name, Known { object: latest, reported: Some(Arc::clone(&object)) });
                Some((reported, Some(object)))
            }
        }
    }

    /// Forgets an object, unless another one of its name has been made since.
    pub fn remove(&self, object: &K) -> Option<Change<K>> {
        let State { known, gone } = &mut *self.write();
        gone.note(object.uid());
        let namespace = object.namespace().unwrap_or_default();
        let objects = known.get_mut(&namespace)?;
        let name = object.name_any();
        if objects.get(&name)?.object.uid() != object.uid() {
            return None;
        }
        let before = objects.remove(&name).map(Known::into_reported);
        if objects.is_empty() {
            known.remove(&namespace);
        }
        Some((before, None))
    }

    /// Takes a whole list, and gives what differs from what was reported: also what vanished while nobody watched.
    pub fn replace(&self, list: Vec<K>) -> Vec<Change<K>> {
        let State { known, gone } = &mut *self.write();
        let mut fresh: ByNamespace<K> = HashMap::new();
        let mut changes = Vec::new();
        for object in list {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let before = known.get_mut(&namespace).and_then(|objects| objects.remove(&name)).and_then(|before| before.reported);
            let after = match before {
                Some(before) if object.resource_version() == before.resource_version() => before,
                before => {
                    let after = Arc::new(object);
                    changes.push((before, Some(Arc::clone(&after))));
                    after
                }
            };
            fresh.entry(namespace).or_default().insert(name, Known { object: Arc::clone(&after), reported: Some(after) });
        }
        for vanished in std::mem::replace(known, fresh).into_values().flat_map(BTreeMap::into_values) {
            gone.note(vanished.object.uid());
            changes.push((Some(vanished.into_reported()), None));
        }
        self.synced.store(true, Ordering::Release);
        changes
    }

    fn read(&self) -> RwLockReadGuard<'_, State<K>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Known<K> {
    fn object(&self) -> Arc<K> {
        Arc::clone(&self.object)
    }

    fn into_reported(self) -> Arc<K> {
        self.reported.unwrap_or(self.object)
    }
}

/// Resource versions of one kind are decimal numbers that grow (Kubernetes 1.35 made that a promise).
fn is_newer<K: Resource>(object: &K, known: &K) -> bool {
    let version = |object: &K| object.resource_version().and_then(|version| version.parse::<u64>().ok());
    match (version(object), version(known)) {
        (Some(object), Some(known)) => object > known,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, uid: &str, version: u64) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("a-dev".to_owned());
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object.metadata.resource_version = Some(version.to_string());
        object
    }

    fn version(objects: &Objects<ConfigMap>) -> Option<String> {
        objects.get("a-dev", "x").and_then(|object| object.resource_version())
    }

    #[test]
    fn a_late_report_does_not_undo_what_was_just_written() {
        let objects = Objects::default();
        assert!(objects.put(object("x", "1", 9), Source::Write).is_none(), "a write wakes nobody");
        assert!(objects.put(object("x", "1", 7), Source::Watch).is_some(), "its report does");
        assert_eq!(version(&objects).as_deref(), Some("9"));
        objects.put(object("x", "1", 10), Source::Watch);
        assert_eq!(version(&objects).as_deref(), Some("10"));
    }

    #[test]
    fn a_change_is_reported_against_the_last_report_and_not_against_a_write() {
        let objects = Objects::default();
        objects.put(object("x", "1", 9), Source::Write);
        let change = objects.put(object("x", "1", 9), Source::Watch);
        assert!(matches!(change, Some((None, Some(_)))), "{change:?}");
    }

    #[test]
    fn the_late_answer_to_a_write_does_not_bring_a_deleted_object_back() {
        let objects = Objects::default();
        objects.put(object("x", "1", 9), Source::Watch);
        objects.remove(&object("x", "1", 11));
        objects.put(object("x", "1", 10), Source::Write);
        assert_eq!(version(&objects), None);
        objects.put(object("x", "2", 12), Source::Write);
        assert_eq!(version(&objects).as_deref(), Some("12"));
    }

    #[test]
    fn deleting_an_object_spares_its_successor() {
        let objects = Objects::default();
        objects.put(object("x", "2", 12), Source::Watch);
        assert!(objects.remove(&object("x", "1", 11)).is_none());
        assert!(objects.remove(&object("x", "2", 13)).is_some());
        assert!(objects.in_namespace("a-dev").is_empty());
    }

    #[test]
    fn a_new_list_reports_what_changed_and_what_vanished_and_nothing_else() {
        let objects = Objects::default();
        assert!(!objects.is_synced());
        assert_eq!(objects.replace(vec![object("same", "1", 1), object("gone", "2", 2)]).len(), 2);
        assert!(objects.is_synced());
        objects.put(object("written", "4", 4), Source::Write);
        let list = vec![object("same", "1", 1), object("new", "3", 3), object("written", "4", 4)];
        let mut names: Vec<(Option<String>, Option<String>)> =
            objects.replace(list).into_iter().map(|(before, after)| (before.map(|o| o.name_any()), after.map(|o| o.name_any()))).collect();
        names.sort();
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(names, vec![(None, some("new")), (None, some("written")), (some("gone"), None)]);
    }
}
