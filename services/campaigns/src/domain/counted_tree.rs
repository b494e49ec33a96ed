//! An ordered set that knows positions: a B+tree whose nodes count what is below them, so that the entry at a position, and the
//! position of a key, take one descent.
//!
//! It is *persistent*: a clone is one reference count, and changing one copy leaves the other as it was, because a change copies
//! the nodes on its way down where they are shared. Readers therefore hold a whole version and never wait for a writer. Leaves have exactly
//! the room of their entries: a million entries take what they are large, and a few per cent.
//!
//! No crate was found that does this: see docs/decisions/2026-11-28-standings-in-memory.md.

use std::fmt::Debug;
use std::iter::once;
use std::sync::Arc;

/// The most entries of a leaf, and the most children of an inner node. Readers go through a leaf from its start: the processor fetches ahead, while a
/// binary search would wait for memory at each step.
const LEAF: usize = 64;
const FAN: usize = 64;

/// What is in the tree.
pub trait Entry: Copy + Debug {
    /// By which it is ordered, and found.
    type Key: Ord + Copy + Debug;

    /// The entry's key: of two entries with the same one, the tree holds the later.
    fn key(&self) -> Self::Key;
}

/// The set. Clones share everything until one of them changes.
#[derive(Debug, Clone)]
pub struct CountedTree<E: Entry> {
    root: Node<E>,
}

#[derive(Debug, Clone)]
enum Node<E: Entry> {
    Leaf(Arc<[E]>),
    Inner(Arc<Inner<E>>),
}

/// For each child: a key that is not above any of its keys but above all keys before; how many entries it has; and itself.
#[derive(Debug, Clone)]
struct Inner<E: Entry> {
    firsts: Vec<E::Key>,
    counts: Vec<u32>,
    children: Vec<Node<E>>,
}

impl<E: Entry> Default for CountedTree<E> {
    fn default() -> Self {
        Self { root: Node::Leaf(Arc::new([])) }
    }
}

impl<E: Entry> CountedTree<E> {
    /// The tree of entries that come in the order of their keys, each key once.
    pub fn from_sorted(entries: &[E]) -> Self {
        // Some room is left, so that the first changes do not split every node.
        let mut level: Vec<Node<E>> = parts(entries, LEAF * 3 / 4).map(|leaf| Node::Leaf(leaf.into())).collect();
        while level.len() > 1 {
            level = parts(&level, FAN * 3 / 4).map(Node::above).collect();
        }
        level.pop().map_or_else(Self::default, |root| Self { root })
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.root.count() as usize
    }

    /// Inserts an entry; the one with the same key that it replaces.
    pub fn insert(&mut self, entry: E) -> Option<E> {
        let (replaced, sibling) = self.root.insert(entry);
        if let Some(sibling) = sibling {
            self.root = Node::above(&[self.root.clone(), sibling]);
        }
        replaced
    }

    /// Removes the entry of a key.
    pub fn remove(&mut self, key: E::Key) -> Option<E> {
        let removed = self.root.remove(key);
        while let Node::Inner(inner) = &self.root {
            let [only] = inner.children.as_slice() else { break };
            self.root = only.clone();
        }
        removed
    }

    /// The entry of a key.
    pub fn get(&self, key: E::Key) -> Option<E> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.iter().copied().find(|held| held.key() == key),
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)],
            }
        }
    }

    /// How many entries have smaller keys.
    pub fn rank(&self, key: E::Key) -> usize {
        let (mut node, mut before) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return before + leaf.iter().filter(|held| held.key() < key).count(),
                Node::Inner(inner) => {
                    let index = inner.child_of(key);
                    before += inner.counts[..index].iter().sum::<u32>() as usize;
                    node = &inner.children[index];
                }
            }
        }
    }

    /// The entry with so many before it.
    pub fn at(&self, position: usize) -> Option<E> {
        let (mut node, mut rest) = (&self.root, position);
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.get(rest).copied(),
                Node::Inner(inner) => {
                    let mut index = 0;
                    while rest >= *inner.counts.get(index)? as usize {
                        rest -= inner.counts[index] as usize;
                        index += 1;
                    }
                    node = &inner.children[index];
                }
            }
        }
    }

    /// The first `count` entries, or as many as there are.
    pub fn first(&self, count: usize) -> Vec<E> {
        let mut entries = Vec::with_capacity(count.min(self.len()));
        self.root.first(count, &mut entries);
        entries
    }
}

impl<E: Entry> Node<E> {
    /// A node with these children, which must not be none.
    fn above(children: &[Self]) -> Self {
        Self::Inner(Arc::new(Inner {
            firsts: children.iter().map(Self::first_key).collect(),
            counts: children.iter().map(Self::count).collect(),
            children: children.to_vec(),
        }))
    }

    /// A lower bound of its keys. Only the root can be empty.
    fn first_key(&self) -> E::Key {
        match self {
            Self::Leaf(leaf) => leaf[0].key(),
            Self::Inner(inner) => inner.firsts[0],
        }
    }

    fn count(&self) -> u32 {
        match self {
            Self::Leaf(leaf) => leaf.len() as u32,
            Self::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    fn first(&self, count: usize, entries: &mut Vec<E>) {
        match self {
            Self::Leaf(leaf) => entries.extend_from_slice(&leaf[..leaf.len().min(count - entries.len())]),
            Self::Inner(inner) => {
                for child in &inner.children {
                    if entries.len() == count {
                        return;
                    }
                    child.first(count, entries);
                }
            }
        }
    }

    /// The entry that was replaced, and a node to the right if this one had to be split.
    fn insert(&mut self, entry: E) -> (Option<E>, Option<Self>) {
        match self {
            Self::Inner(inner) => Arc::make_mut(inner).insert(entry),
            Self::Leaf(leaf) => match leaf.binary_search_by(|held| held.key().cmp(&entry.key())) {
                Ok(index) => {
                    let replaced = leaf[index];
                    Arc::make_mut(leaf)[index] = entry;
                    (Some(replaced), None)
                }
                Err(index) => {
                    let (before, after) = leaf.split_at(index);
                    let all = before.iter().chain(once(&entry)).chain(after).copied();
                    if leaf.len() < LEAF {
                        let grown: Arc<[E]> = all.collect();
                        *leaf = grown;
                        return (None, None);
                    }
                    let all: Vec<E> = all.collect();
                    let (left, right) = all.split_at(all.len() / 2);
                    *leaf = left.into();
                    (None, Some(Self::Leaf(right.into())))
                }
            },
        }
    }

    fn remove(&mut self, key: E::Key) -> Option<E> {
        match self {
            Self::Inner(inner) => Arc::make_mut(inner).remove(key),
            Self::Leaf(leaf) => {
                let index = leaf.binary_search_by(|held| held.key().cmp(&key)).ok()?;
                let removed = leaf[index];
                let rest: Arc<[E]> = leaf[..index].iter().chain(&leaf[index + 1..]).copied().collect();
                *leaf = rest;
                Some(removed)
            }
        }
    }

    /// Whether it has so little that it should be joined with a neighbour.
    fn is_small(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.len() < LEAF / 4,
            Self::Inner(inner) => inner.children.len() < FAN / 4,
        }
    }

    /// This node and its right neighbour as one, or as two of the same size.
    fn join(self, right: Self) -> Vec<Self> {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                let all = [left, right].concat();
                halves(&all, LEAF).into_iter().map(|half| Self::Leaf(half.into())).collect()
            }
            (Self::Inner(left), Self::Inner(right)) => {
                let all = [left.children.as_slice(), right.children.as_slice()].concat();
                halves(&all, FAN).into_iter().map(Self::above).collect()
            }
            // All leaves have the same depth.
            (left, right) => vec![left, right],
        }
    }
}

/// Consecutive parts of about the same size, at most `most`.
fn parts<T>(all: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let count = all.len().div_ceil(most);
    (0..count).map(move |part| &all[part * all.len() / count..(part + 1) * all.len() / count])
}

/// All that is not empty: as one, or where that would be nearly full, in two halves.
fn halves<T>(all: &[T], most: usize) -> Vec<&[T]> {
    let (left, right) = if all.len() <= most * 3 / 4 { (all, &all[..0]) } else { all.split_at(all.len() / 2) };
    [left, right].into_iter().filter(|half| !half.is_empty()).collect()
}

impl<E: Entry> Inner<E> {
    fn child_of(&self, key: E::Key) -> usize {
        self.firsts.partition_point(|first| *first <= key).saturating_sub(1)
    }

    fn insert(&mut self, entry: E) -> (Option<E>, Option<Node<E>>) {
        let key = entry.key();
        let index = self.child_of(key);
        self.firsts[index] = self.firsts[index].min(key);
        let (replaced, sibling) = self.children[index].insert(entry);
        if replaced.is_none() {
            self.counts[index] += 1;
        }
        let Some(sibling) = sibling else { return (replaced, None) };
        self.counts[index] -= sibling.count();
        self.put(index + 1, sibling);
        if self.children.len() <= FAN {
            return (replaced, None);
        }
        let half = self.children.len() / 2;
        let right =
            Self { firsts: self.firsts.split_off(half), counts: self.counts.split_off(half), children: self.children.split_off(half) };
        (replaced, Some(Node::Inner(Arc::new(right))))
    }

    fn remove(&mut self, key: E::Key) -> Option<E> {
        let index = self.child_of(key);
        let removed = self.children[index].remove(key)?;
        self.counts[index] -= 1;
        if self.children[index].is_small() && self.children.len() > 1 {
            let left = index.saturating_sub(1);
            let (right_node, left_node) = (self.take(left + 1), self.take(left));
            for (node, place) in left_node.join(right_node).into_iter().zip(left..) {
                self.put(place, node);
            }
        }
        Some(removed)
    }

    fn put(&mut self, index: usize, child: Node<E>) {
        self.firsts.insert(index, child.first_key());
        self.counts.insert(index, child.count());
        self.children.insert(index, child);
    }

    fn take(&mut self, index: usize) -> Node<E> {
        self.firsts.remove(index);
        self.counts.remove(index);
        self.children.remove(index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Entry for (u16, u32) {
        type Key = u16;

        fn key(&self) -> u16 {
            self.0
        }
    }

    fn assert_same(tree: &CountedTree<(u16, u32)>, model: &BTreeMap<u16, u32>) {
        let expected: Vec<(u16, u32)> = model.iter().map(|(key, value)| (*key, *value)).collect();
        assert_eq!(tree.len(), expected.len());
        assert_eq!(tree.first(usize::MAX), expected);
        for (entry, place) in expected.iter().zip(0..) {
            assert_eq!((tree.rank(entry.0), tree.get(entry.0), tree.at(place)), (place, Some(*entry), Some(*entry)));
        }
        assert_eq!(tree.at(expected.len()), None);
    }

    fn assert_balanced(node: &Node<(u16, u32)>) -> usize {
        match node {
            Node::Leaf(leaf) => {
                assert!(leaf.len() <= LEAF);
                1
            }
            Node::Inner(inner) => {
                assert!((1..=FAN).contains(&inner.children.len()));
                let depths: Vec<usize> = inner.children.iter().map(assert_balanced).collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]), "{depths:?}");
                depths[0] + 1
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_what_the_standard_librarys_tree_is_and_knows_positions(
            first in proptest::collection::btree_map(any::<u16>(), any::<u32>(), 0..3000),
            changes in proptest::collection::vec((any::<bool>(), 0u16..4000, any::<u32>()), 0..3000),
        ) {
            let mut model = first.clone();
            let mut tree = CountedTree::from_sorted(&first.clone().into_iter().collect::<Vec<_>>());
            let before = tree.clone();
            for (inserts, key, value) in changes {
                if inserts {
                    prop_assert_eq!(tree.insert((key, value)).map(|entry| entry.1), model.insert(key, value));
                } else {
                    prop_assert_eq!(tree.remove(key).map(|entry| entry.1), model.remove(&key));
                }
            }
            assert_same(&tree, &model);
            assert_balanced(&tree.root);
            // The clone is a version of its own.
            assert_same(&before, &first);
        }
    }

    #[test]
    fn it_shrinks_to_nothing_and_grows_again() {
        let mut tree = CountedTree::from_sorted(&(0..5000u16).map(|key| (key, 0)).collect::<Vec<_>>());
        for key in (0..5000).rev() {
            assert_eq!(tree.remove(key), Some((key, 0)));
        }
        assert_eq!((tree.len(), tree.get(1), tree.rank(1), tree.remove(1)), (0, None, 0, None));
        assert_eq!(tree.first(3), []);
        for key in 0..5000u16 {
            tree.insert((key.wrapping_mul(7919), 1));
        }
        assert_eq!(tree.len(), 5000);
        assert_balanced(&tree.root);
    }
}
