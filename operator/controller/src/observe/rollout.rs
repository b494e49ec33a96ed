//! Whose turn it is when a class has changed: what the rule in `tenantry_plan` needs to know of the other slots.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use tenantry_crds::{ResourceGroupClass, Slot};
use tenantry_plan::{ClassTurn, Outdated, class_turns};

use crate::caches::Caches;

/// A slot that is not Ready so long after its turn came holds nobody up any more: as long as Kubernetes gives a Deployment.
const DEADLINE: Duration = Duration::from_secs(600);

/// When the turns of slots came: by namespace, with the class's generation. Another leader begins to count anew.
#[derive(Debug, Default)]
pub struct TurnTimes {
    since: Mutex<HashMap<String, (i64, Instant)>>,
}

impl TurnTimes {
    fn is_over(&self, namespace: &str, generation: i64) -> bool {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get(namespace).is_some_and(|(of, since)| *of == generation && since.elapsed() > DEADLINE)
    }

    fn begin(&self, namespace: &str, generation: i64) {
        let mut all = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(namespace).is_none_or(|(of, _)| *of != generation) {
            all.insert(namespace.to_owned(), (generation, Instant::now()));
        }
    }

    fn end(&self, namespace: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }
}

/// Whether a changed class may replace the pods of a slot now.
pub fn class_turn(slot: &Slot, class: Option<&ResourceGroupClass>, caches: &Caches, times: &TurnTimes) -> ClassTurn {
    let namespace = slot.namespace().unwrap_or_default();
    let Some(class) = class else { return ClassTurn::Now };
    let generation = class.metadata.generation.unwrap_or_default();
    if !is_outdated(slot, generation) {
        times.end(&namespace);
        return ClassTurn::Now;
    }
    if turns(class, caches, times).contains(&namespace) {
        times.begin(&namespace, generation);
        return ClassTurn::Now;
    }
    ClassTurn::Later
}

/// The namespaces of the slots whose turn it is.
fn turns(class: &ResourceGroupClass, caches: &Caches, times: &TurnTimes) -> Vec<String> {
    let generation = class.metadata.generation.unwrap_or_default();
    let slots = caches.slots.objects.all();
    let of_class = slots.iter().filter(|slot| Some(&slot.spec.class_ref.name) == class.metadata.name.as_ref());
    let outdated = of_class.filter(|slot| is_outdated(slot, generation)).map(|slot| {
        let namespace = slot.namespace().unwrap_or_default();
        Outdated { stuck: times.is_over(&namespace, generation), namespace }
    });
    class_turns(outdated.collect(), class.spec.rollout.max_concurrent_slots)
}

/// Whether a slot runs with a former generation of its class. One that was never rolled out runs with none.
fn is_outdated(slot: &Slot, generation: i64) -> bool {
    let of = slot.status.as_ref().and_then(|status| status.class_generation);
    slot.metadata.deletion_timestamp.is_none() && of.is_some_and(|of| of != generation)
}
