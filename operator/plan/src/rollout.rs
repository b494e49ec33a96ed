//! Whose turn it is when a class has changed: so many slots at a time, in the order of their names. A pure rule, so that it is
//! the same after a restart, and whichever slot is asked about.

use crate::live::Live;
use crate::{Step, Track, Wait, reasons};

/// A slot that runs with a former generation of its class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outdated {
    /// Its namespace, which gives the order.
    pub namespace: String,
    /// Whether its turn came long ago without its becoming Ready: it goes on, and holds nobody up.
    pub stuck: bool,
}

/// Whether a changed class may replace the pods of a slot now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClassTurn {
    /// It may; or the class did not change since the slot was rolled out.
    #[default]
    Now,
    /// Others come first.
    Later,
}

/// The namespaces whose turn it is, among the slots of a class that are outdated. One whose turn it was keeps it until it is
/// not outdated any more, since whoever came before it is gone from the list by then.
pub fn class_turns(mut outdated: Vec<Outdated>, max_concurrent_slots: u32) -> Vec<String> {
    outdated.sort();
    let mut left = max_concurrent_slots;
    outdated.retain(|slot| {
        let has_turn = slot.stuck || left > 0;
        if !slot.stuck {
            left = left.saturating_sub(1);
        }
        has_turn
    });
    outdated.into_iter().map(|slot| slot.namespace).collect()
}

/// Takes out of a track what would replace pods that run.
pub(crate) fn hold_back(track: &mut Track, live: &Live<'_>) {
    let replaces = |step: &Step| match step {
        Step::Apply(manifest) => manifest.kind.kind == "Deployment" && live.get("Deployment", manifest.name()).is_some(),
        _ => false,
    };
    let held = track.waves.iter().flat_map(|wave| &wave.steps).any(replaces);
    if !held {
        return;
    }
    track.waves.iter_mut().for_each(|wave| wave.steps.retain(|step| !replaces(step)));
    track.waves.retain(|wave| !wave.steps.is_empty());
    let message =
        "the class has changed, and other slots of it get the change first (spec.rollout of the class); what runs is left as it is";
    track.wait = Some(Wait::new(reasons::CLASS_ROLLOUT_QUEUED, message));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn outdated(names: impl IntoIterator<Item = u8>, stuck: &BTreeSet<u8>) -> Vec<Outdated> {
        names.into_iter().map(|name| Outdated { namespace: format!("{name:03}"), stuck: stuck.contains(&name) }).collect()
    }

    #[test]
    fn the_first_ones_by_name_begin_and_the_next_follow_when_they_are_done() {
        let none = BTreeSet::new();
        assert_eq!(class_turns(outdated([3, 1, 2], &none), 2), ["001", "002"]);
        assert_eq!(class_turns(outdated([3, 2], &none), 2), ["002", "003"]);
    }

    #[test]
    fn a_stuck_one_holds_nobody_up() {
        assert_eq!(class_turns(outdated([1, 2, 3], &BTreeSet::from([1])), 1), ["001", "002"]);
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_are_on_their_way_and_all_get_their_turn(
            all in prop::collection::btree_set(any::<u8>(), 1..60),
            bad in prop::collection::btree_set(any::<u8>(), 0..20),
            limit in 1_u32..8,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 300),
        ) {
            let mut waiting = all.clone();
            let mut stuck = BTreeSet::new();
            let mut had_turn = BTreeSet::new();
            for pick in picks {
                let turns = class_turns(outdated(waiting.iter().rev().copied(), &stuck), limit);
                let mut shuffled = outdated(waiting.iter().copied(), &stuck);
                let by = pick.index(shuffled.len().max(1));
                shuffled.rotate_left(by);
                prop_assert_eq!(&class_turns(shuffled, limit), &turns, "the order in which they are told does not matter");
                let active: Vec<u8> = turns.iter().map(|name| name.parse().unwrap()).filter(|name| !stuck.contains(name)).collect();
                prop_assert!(active.len() <= limit as usize);
                had_turn.extend(active.iter().copied());
                if active.is_empty() {
                    break;
                }
                // Any of those on their way gets done, or turns out to be stuck.
                let one = active[pick.index(active.len())];
                if bad.contains(&one) { stuck.insert(one); } else { waiting.remove(&one); }
            }
            prop_assert_eq!(had_turn, all);
        }
    }
}
