//! One kind's objects as the watch and the operator's own writes report them, by namespace and name.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::Resource;

/// An object before and after something changed; none where it did not or does not exist.
pub type Change<F> = (Option<F>, Option<F>);

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The watch.
    Watch,
    /// The answer to a write of the operator: known before the watch reports it.
    Write,
}

/// The form in which a cache keeps an object. Cloning it is cheap.
pub trait Kept: Clone {
    fn uid(&self) -> Option<&str>;
    /// Resource versions of one kind are decimal numbers that grow (Kubernetes 1.35 made that a promise).
    fn version(&self) -> Option<u64>;
    /// Whether nobody has to look again because this comes after the other.
    fn says_the_same(&self, other: &Self) -> bool;
}

impl<K: Resource> Kept for Arc<K> {
    fn uid(&self) -> Option<&str> {
        self.meta().uid.as_deref()
    }

    fn version(&self) -> Option<u64> {
        self.meta().resource_version.as_ref().and_then(|version| version.parse().ok())
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.version().is_some() && self.version() == other.version()
    }
}

/// Where an object is: `namespace/name`, in one piece, since there are many. Cluster-scoped ones have the empty namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Box<str>);

impl Place {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.meta().namespace.as_deref().unwrap_or_default(), object.meta().name.as_deref().unwrap_or_default())
    }

    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    fn begins_with(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix)
    }
}

#[derive(Debug)]
struct Known<F> {
    /// The latest state.
    object: F,
    /// What the watch reported last: a change is reported against that, since a write of the operator wakes nobody.
    reported: Option<F>,
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
    fn note(&mut self, uid: Option<&str>) {
        let Some(uid) = uid else { return };
        if self.uids.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
        }
        if self.order.len() > GONE_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    fn has(&self, uid: Option<&str>) -> bool {
        uid.is_some_and(|uid| self.uids.contains(uid))
    }
}

#[derive(Debug)]
struct State<F> {
    known: BTreeMap<Place, Known<F>>,
    gone: Gone,
}

/// The known objects of one kind.
#[derive(Debug)]
pub struct Objects<F> {
    state: RwLock<State<F>>,
    synced: AtomicBool,
}

impl<F> Default for Objects<F> {
    fn default() -> Self {
        let state = State { known: BTreeMap::new(), gone: Gone::default() };
        Self { state: RwLock::new(state), synced: AtomicBool::new(false) }
    }
}

impl<F: Kept> Objects<F> {
    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<F> {
        Some(self.read().known.get(&Place::new(namespace, name))?.object.clone())
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<F> {
        self.beginning(&format!("{namespace}/"))
    }

    /// Those whose `namespace/name` begins so.
    pub fn beginning(&self, prefix: &str) -> Vec<F> {
        let state = self.read();
        let from = state.known.range(Place(prefix.into())..);
        from.take_while(|(place, _)| place.begins_with(prefix)).map(|(_, known)| known.object.clone()).collect()
    }

    pub fn all(&self) -> Vec<F> {
        self.read().known.values().map(|known| known.object.clone()).collect()
    }

    pub fn len(&self) -> usize {
        self.read().known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.read().known.is_empty()
    }

    /// Takes in a state of an object. The latest counts: an older report of the watch does not undo what the operator has just
    /// written. Gives the change that the watch reported; a write is none, since its report follows.
    pub fn put(&self, place: Place, object: F, source: Source) -> Option<Change<F>> {
        let State { known, gone } = &mut *self.write();
        if source == Source::Write && gone.has(object.uid()) {
            return None;
        }
        let before = known.remove(&place);
        let reported = before.as_ref().and_then(|before| before.reported.clone());
        let latest = match before {
            Some(before) if !is_newer(&object, &before.object) => before.object,
            _ => object.clone(),
        };
        match source {
            Source::Write => {
                known.insert(place, Known { object: latest, reported });
                None
            }
            Source::Watch => {
                // As a rule the answer to a write was known already: it is kept once.
                let is_known = object.version().is_some() && object.version() == latest.version();
                let now_reported = if is_known { latest.clone() } else { object.clone() };
                known.insert(place, Known { object: latest, reported: Some(now_reported) });
                let same = reported.as_ref().is_some_and(|reported| object.says_the_same(reported));
                (!same).then_some((reported, Some(object)))
            }
        }
    }

    /// Forgets an object, unless another one of its name has been made since.
    pub fn remove(&self, place: &Place, uid: Option<&str>) -> Option<Change<F>> {
        let State { known, gone } = &mut *self.write();
        gone.note(uid);
        if known.get(place)?.object.uid() != uid {
            return None;
        }
        let before = known.remove(place).map(Known::into_reported);
        Some((before, None))
    }

    /// Takes a whole list, and gives what differs from what was reported: also what vanished while nobody watched.
    pub fn replace(&self, list: Vec<(Place, F)>) -> Vec<Change<F>> {
        let State { known, gone } = &mut *self.write();
        let mut fresh = BTreeMap::new();
        let mut changes = Vec::new();
        for (place, object) in list {
            let before = known.remove(&place).and_then(|before| before.reported);
            let same = before.as_ref().is_some_and(|before| object.says_the_same(before));
            if !same {
                changes.push((before, Some(object.clone())));
            }
            fresh.insert(place, Known { object: object.clone(), reported: Some(object) });
        }
        for vanished in std::mem::replace(known, fresh).into_values() {
            gone.note(vanished.object.uid());
            changes.push((Some(vanished.into_reported()), None));
        }
        self.synced.store(true, Ordering::Release);
        changes
    }

    fn read(&self) -> RwLockReadGuard<'_, State<F>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<F>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Known<F> {
    fn into_reported(self) -> F {
        self.reported.unwrap_or(self.object)
    }
}

fn is_newer<F: Kept>(object: &F, known: &F) -> bool {
    match (object.version(), known.version()) {
        (Some(object), Some(known)) => object > known,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;

    use super::*;

    fn object(name: &str, uid: &str, version: u64) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("a-dev".to_owned());
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object.metadata.resource_version = Some(version.to_string());
        object
    }

    type ConfigMaps = Objects<Arc<ConfigMap>>;

    fn put(objects: &ConfigMaps, object: ConfigMap, source: Source) -> Option<Change<Arc<ConfigMap>>> {
        objects.put(Place::of(&object), Arc::new(object), source)
    }

    fn remove(objects: &ConfigMaps, object: ConfigMap) -> Option<Change<Arc<ConfigMap>>> {
        objects.remove(&Place::of(&object), object.metadata.uid.as_deref())
    }

    fn replace(objects: &ConfigMaps, list: Vec<ConfigMap>) -> Vec<Change<Arc<ConfigMap>>> {
        objects.replace(list.into_iter().map(|object| (Place::of(&object), Arc::new(object))).collect())
    }

    fn version(objects: &ConfigMaps) -> Option<String> {
        objects.get("a-dev", "x").and_then(|object| object.resource_version())
    }

    #[test]
    fn a_late_report_does_not_undo_what_was_just_written() {
        let objects = ConfigMaps::default();
        assert!(put(&objects, object("x", "1", 9), Source::Write).is_none(), "a write wakes nobody");
        assert!(put(&objects, object("x", "1", 7), Source::Watch).is_some(), "its report does");
        assert_eq!(version(&objects).as_deref(), Some("9"));
        put(&objects, object("x", "1", 10), Source::Watch);
        assert_eq!(version(&objects).as_deref(), Some("10"));
    }

    #[test]
    fn a_change_is_reported_against_the_last_report_and_not_against_a_write() {
        let objects = ConfigMaps::default();
        put(&objects, object("x", "1", 9), Source::Write);
        let change = put(&objects, object("x", "1", 9), Source::Watch);
        assert!(matches!(change, Some((None, Some(_)))), "{change:?}");
    }

    #[test]
    fn the_late_answer_to_a_write_does_not_bring_a_deleted_object_back() {
        let objects = ConfigMaps::default();
        put(&objects, object("x", "1", 9), Source::Watch);
        remove(&objects, object("x", "1", 11));
        put(&objects, object("x", "1", 10), Source::Write);
        assert_eq!(version(&objects), None);
        put(&objects, object("x", "2", 12), Source::Write);
        assert_eq!(version(&objects).as_deref(), Some("12"));
    }

    #[test]
    fn deleting_an_object_spares_its_successor() {
        let objects = ConfigMaps::default();
        put(&objects, object("x", "2", 12), Source::Watch);
        assert!(remove(&objects, object("x", "1", 11)).is_none());
        assert!(remove(&objects, object("x", "2", 13)).is_some());
        assert!(objects.in_namespace("a-dev").is_empty());
    }

    #[test]
    fn a_new_list_reports_what_changed_and_what_vanished_and_nothing_else() {
        let objects = ConfigMaps::default();
        assert!(!objects.is_synced());
        assert_eq!(replace(&objects, vec![object("same", "1", 1), object("gone", "2", 2)]).len(), 2);
        assert!(objects.is_synced());
        put(&objects, object("written", "4", 4), Source::Write);
        let list = vec![object("same", "1", 1), object("new", "3", 3), object("written", "4", 4)];
        let mut names: Vec<(Option<String>, Option<String>)> = replace(&objects, list)
            .into_iter()
            .map(|(before, after)| (before.map(|o| o.name_any()), after.map(|o| o.name_any())))
            .collect();
        names.sort();
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(names, vec![(None, some("new")), (None, some("written")), (some("gone"), None)]);
    }

    #[test]
    fn a_namespaces_objects_are_its_own_and_not_those_of_one_that_begins_alike() {
        let objects = ConfigMaps::default();
        for (namespace, uid) in [("a-dev", "1"), ("a-dev2", "2"), ("a", "3")] {
            let mut object = object("x", uid, 1);
            object.metadata.namespace = Some(namespace.to_owned());
            put(&objects, object, Source::Watch);
        }
        let namespaces = |found: Vec<Arc<ConfigMap>>| found.iter().filter_map(|object| object.namespace()).collect::<Vec<_>>();
        assert_eq!(namespaces(objects.in_namespace("a-dev")), ["a-dev"]);
        assert_eq!(namespaces(objects.beginning("a-")), ["a-dev", "a-dev2"]);
    }
}
