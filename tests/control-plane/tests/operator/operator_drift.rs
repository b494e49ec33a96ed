//! Whatever the operator manages comes back within five seconds when somebody edits or deletes it: every object that is
//! there, every field that the operator owns in it.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};
use tenantry_harness::control_plane::Audit;

use super::end_state;
use super::manifests::{self, pinned};
use super::platform::{Platform, eventually, unique};
use super::tampering::{self, Edit};

/// Invariant 2. On a machine that does other things beside it, one in [`ONE_LATE_IN`] may take longer.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const ONE_LATE_IN: usize = 100;
/// What takes longer than this was not repaired by what is watched.
const DEADLINE: Duration = Duration::from_secs(30);
/// Secrets are not watched: here they are looked at every second instead of every minute.
const ARGUMENTS: [&str; 2] = ["--lease-duration=15", "--secret-interval=1"];
/// Objects that are edited at the same time.
const AT_ONCE: usize = 4;

/// What came of tampering.
#[derive(Default)]
struct Tally {
    objects: usize,
    edits: usize,
    refused: usize,
    slowest: Duration,
    late: Vec<String>,
    wrong: Vec<String>,
}

impl Tally {
    fn add(mut self, other: Self) -> Self {
        self.objects += other.objects;
        self.edits += other.edits;
        self.refused += other.refused;
        self.slowest = self.slowest.max(other.slowest);
        self.late.extend(other.late);
        self.wrong.extend(other.wrong);
        self
    }

    /// Notes when something was back.
    fn note(&mut self, what: &str, back: Option<Duration>) {
        self.edits += 1;
        self.slowest = self.slowest.max(back.unwrap_or_default());
        match back {
            Some(elapsed) if elapsed <= BACK_WITHIN => return,
            Some(elapsed) => self.late.push(format!("{what} after {elapsed:?}")),
            None => self.wrong.push(what.to_owned()),
        }
        eprintln!("{what}: back after {back:?}");
    }

    fn assert_back(&self, begun: Instant) {
        let Self { objects, edits, refused, slowest, late, wrong } = self;
        eprintln!("{objects} objects, {edits} edits, the slowest back after {slowest:?}, {refused} refused, in {:?}", begun.elapsed());
        assert_eq!(*wrong, Vec::<String>::new(), "not back after {DEADLINE:?}; late: {late:#?}");
        assert!(late.len() * ONE_LATE_IN <= *edits, "{} of {edits} later than {BACK_WITHIN:?}: {late:#?}", late.len());
    }
}

fn api_of(client: &Client, object: &DynamicObject) -> Api<DynamicObject> {
    let types = object.types.as_ref().unwrap();
    let gvk = kube::core::GroupVersionKind::try_from(types).unwrap();
    let resource = ApiResource::from_gvk(&gvk);
    match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn name_of(object: &DynamicObject) -> String {
    format!("{} {}/{}", object.types.as_ref().unwrap().kind, object.namespace().unwrap_or_default(), object.name_any())
}

/// Asks until `is_back`; none if it takes too long.
async fn back(api: &Api<DynamicObject>, name: &str, is_back: impl Fn(&DynamicObject) -> bool) -> Option<Duration> {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(40));
    while begun.elapsed() < DEADLINE {
        ticks.tick().await;
        if api.get_opt(name).await.unwrap().is_some_and(|found| is_back(&found)) {
            return Some(begun.elapsed());
        }
    }
    None
}

/// Edits an object in every way, one after the other.
async fn tamper(client: &Client, object: DynamicObject) -> Tally {
    let api = api_of(client, &object);
    let name = object.name_any();
    let mut tally = Tally { objects: 1, ..Tally::default() };
    for edit in tampering::edits(&object) {
        if !take(client, &api, &name, &edit).await {
            tally.refused += 1;
            continue;
        }
        tally.note(&format!("{}: {}", name_of(&object), edit.path), back(&api, &name, |found| edit.is_undone(found)).await);
    }
    tally
}

async fn tamper_with_all(client: &Client, objects: Vec<DynamicObject>) -> Tally {
    let tallies = stream::iter(objects).map(|object| tamper(client, object)).buffer_unordered(AT_ONCE);
    tallies.fold(Tally::default(), async |sum, tally| sum.add(tally)).await
}

/// Whether the API server takes one of the patches, and it changes something.
async fn take(client: &Client, api: &Api<DynamicObject>, name: &str, edit: &Edit) -> bool {
    for patch in &edit.patches {
        if let Ok(written) = tampering::patch(client, api, name, patch).await
            && !edit.is_undone(&written)
        {
            return true;
        }
    }
    false
}

/// Deletes an object, and waits for its successor.
async fn remove(client: &Client, object: DynamicObject) -> Tally {
    let api = api_of(client, &object);
    let mut tally = Tally { objects: 1, ..Tally::default() };
    api.delete(&object.name_any(), &DeleteParams::background()).await.unwrap();
    let uid = object.uid();
    let is_back = |found: &DynamicObject| found.uid() != uid && found.metadata.deletion_timestamp.is_none();
    tally.note(&format!("{}, deleted", name_of(&object)), back(&api, &object.name_any(), is_back).await);
    tally
}

/// A group with everything in it, under an operator that looks at Secrets often.
async fn ready_group(platform: &Platform) -> (String, String, String) {
    let (class, release) = platform.offer(1).await;
    let name = unique("acme");
    let staging = json!({ "name": "staging", "size": "large", "promoteFrom": "dev", "initialRelease": release });
    platform.apply::<ResourceGroup>(manifests::group(&name, &class, vec![pinned("dev", &release), staging])).await;
    platform.wait_until_ready(&name).await;
    (name, class, release)
}

#[tokio::test]
async fn every_managed_object_that_is_edited_or_deleted_is_back_within_five_seconds() {
    let platform = Platform::start(Audit::Off).await;
    let _operator = platform.start_operator_with_own(&ARGUMENTS).await;
    let (name, ..) = ready_group(&platform).await;
    let client = platform.client().await;
    let objects = end_state::managed(&client, &name).await;
    let begun = Instant::now();
    // A pod of an edited Deployment that comes while the quota is edited too would use up the quota.
    let (bounds, others): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|object| ["ResourceQuota", "LimitRange"].contains(&object.types.as_ref().unwrap().kind.as_str()));
    let mut edited = tamper_with_all(&client, others).await;
    platform.wait_until_ready(&name).await;
    edited = edited.add(tamper_with_all(&client, bounds).await);
    edited.assert_back(begun);
    assert!(edited.objects > 40 && edited.edits > 500, "{} edits of {} objects", edited.edits, edited.objects);
    platform.wait_until_ready(&name).await;

    // A Slot or a namespace that is deleted goes for good, with what is in it, and is made again after that.
    let objects = end_state::managed(&client, &name)
        .await
        .into_iter()
        .filter(|object| !matches!(object.types.as_ref().unwrap().kind.as_str(), "Slot" | "Namespace"));
    let begun = Instant::now();
    let deleted = stream::iter(objects)
        .map(|object| remove(&client, object))
        .buffer_unordered(AT_ONCE)
        .fold(Tally::default(), async |sum, tally| sum.add(tally))
        .await;
    deleted.assert_back(begun);
    platform.wait_until_ready(&name).await;
}

/// A status, and finalizers, that somebody edits by hand.
#[tokio::test]
async fn edited_statuses_and_finalizers_are_what_they_were_within_five_seconds() {
    let platform = Platform::start(Audit::Off).await;
    let _operator = platform.start_operator().await;
    let (name, class, release) = ready_group(&platform).await;
    let client = platform.client().await;
    platform.wait_until_ready(&name).await;
    let namespace = format!("{name}-dev");
    let primaries: [(Api<DynamicObject>, &str); 4] = [
        (Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<Slot>(&())), "dev"),
        (Api::all_with(client.clone(), &ApiResource::erase::<ResourceGroup>(&())), &name),
        (Api::all_with(client.clone(), &ApiResource::erase::<ResourceGroupClass>(&())), &class),
        (Api::all_with(client.clone(), &ApiResource::erase::<Release>(&())), &release),
    ];
    let mut edits = 0;
    for (api, primary) in primaries {
        // What the edits before made of it is over.
        platform.wait_until_ready(&name).await;
        let before = api.get(primary).await.unwrap();
        let status = before.data["status"].clone();
        let forged = json!([{ "type": "Ready", "status": "False", "reason": "Forged", "message": "", "lastTransitionTime": "2020-01-01T00:00:00Z" }]);
        let mut patches = vec![
            json!({ "status": { "conditions": forged } }),
            json!({ "status": { "observedGeneration": 0 } }),
            json!({ "status": null }),
        ];
        patches.extend(
            status.as_object().unwrap().keys().filter(|key| *key != "observedGeneration").map(|key| json!({ "status": { key: null } })),
        );
        for patch in patches {
            if api.patch_status(primary, &PatchParams::default(), &Patch::Merge(&patch)).await.is_err() {
                continue;
            }
            edits += 1;
            let same = |found: &DynamicObject| steady(&found.data["status"]) == steady(&status);
            let elapsed = back(&api, primary, same).await;
            assert!(elapsed.is_some(), "{primary}: {patch}: {} instead of {status}", api.get(primary).await.unwrap().data["status"]);
        }
        let bare = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        api.patch(primary, &PatchParams::default(), &bare).await.unwrap();
        let elapsed = back(&api, primary, |found| found.metadata.finalizers == before.metadata.finalizers).await;
        assert!(elapsed.is_some(), "{primary}: the finalizers are {:?}", api.get(primary).await.unwrap().metadata.finalizers);
    }
    eprintln!("{edits} edits of statuses undone");
    platform.wait_until_ready(&name).await;
}

/// A status without times, which begin anew where a condition, or what came of a probe, was lost.
fn steady(status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(probe) = status.get_mut("network") {
        probe["triedAt"] = Value::Null;
    }
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
    }
    status
}

/// Somebody else's object with the operator's labels would be taken for its own: it goes, where it could do harm.
#[tokio::test]
async fn what_somebody_adds_under_the_operators_label_goes() {
    let platform = Platform::shared().await;
    let (name, ..) = ready_group(platform).await;
    let client = platform.client().await;
    let labels = end_state::managed(&client, &name)
        .await
        .iter()
        .find(|object| object.types.as_ref().unwrap().kind == "ConfigMap")
        .unwrap()
        .labels()
        .clone();
    let namespace = format!("{name}-dev");
    let pod = json!({ "metadata": { "labels": { "app": "x" } }, "spec": { "containers": [{ "name": "x", "image": manifests::IMAGE }] } });
    let added = [
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": { "podSelector": {}, "ingress": [{}], "egress": [{}] } }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" }, "subjects": [] }),
        json!({ "apiVersion": "v1", "kind": "ResourceQuota", "spec": { "hard": { "pods": "0" } } }),
        json!({ "apiVersion": "v1", "kind": "LimitRange", "spec": { "limits": [{ "type": "Container", "max": { "memory": "1Mi" } }] } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "b" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount" }),
        json!({ "apiVersion": "v1", "kind": "Service", "spec": { "ports": [{ "port": 80 }], "selector": { "app": "x" } } }),
        json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "app": "x" } } } }),
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "replicas": 0, "selector": { "matchLabels": { "app": "x" } }, "template": pod } }),
    ];
    for mut manifest in added {
        manifest["metadata"] = json!({ "name": "intruder", "namespace": namespace, "labels": labels });
        let object: DynamicObject = serde_json::from_value(manifest).unwrap();
        let api = api_of(&client, &object);
        let kind = object.types.as_ref().unwrap().kind.clone();
        let made = api.create(&kube::api::PostParams::default(), &object).await.unwrap();
        let begun = Instant::now();
        eventually(&format!("the {kind} goes"), async || {
            let found = api.get_opt("intruder").await.unwrap();
            found.filter(|found| found.uid() == made.uid()).map_or(Ok(()), Err)
        })
        .await;
        assert!(begun.elapsed() < BACK_WITHIN, "{kind}: {:?}", begun.elapsed());
    }
    let slots: Api<Slot> = Api::namespaced(client, &namespace);
    assert!(slots.get_opt("dev").await.unwrap().is_some());
    platform.wait_until_ready(&name).await;
}
