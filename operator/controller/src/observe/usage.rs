//! Who uses a class or a release.

use kube::ResourceExt;

use crate::caches::Caches;

/// Names of the groups that use a class, themselves or by a slot that is still there.
pub fn users_of_class(name: &str, caches: &Caches) -> Vec<String> {
    let groups = caches.groups.objects.all();
    let slots = caches.slots.objects.all();
    let by_group = groups.iter().filter(|group| group.spec.class_ref.name == name).map(|group| group.name_any());
    let by_slot = slots.iter().filter(|slot| slot.spec.class_ref.name == name).map(|slot| slot.spec.group_ref.name.clone());
    sorted(by_group.chain(by_slot))
}

/// Names of the namespaces whose slots run a release or should.
pub fn users_of_release(name: &str, caches: &Caches) -> Vec<String> {
    let slots = caches.slots.objects.all();
    let uses = slots.iter().filter(|slot| {
        let wanted = slot.spec.revision.as_ref().map(|revision| revision.release.as_str());
        let running = slot.status.as_ref().and_then(|status| status.running_release.as_deref());
        wanted == Some(name) || running == Some(name)
    });
    sorted(uses.map(|slot| slot.namespace().unwrap_or_default()))
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names
}
