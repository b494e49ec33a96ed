//! A model of a cluster and a PostgreSQL server, on which plans take effect: as much of both as plans can see.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::DynamicObject;
use serde_json::{Value, json};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};
use tenantry_plan::names::Comment;
use tenantry_plan::{
    DatabaseFacts, GroupFacts, Ingress, MANAGED_KINDS, Manifest, MasterKey, Now, ObjectId, Observation, OperatorFacts, Outcome, Plan,
    ProbeOffer, SlotFacts, SlotIdentity, Standing, Step, TrackOutcome, UserSecret, status,
};

use crate::{fixtures, typed};

/// Kind, namespace, name.
pub type Key = (String, String, String);

pub struct World {
    pub group: Option<ResourceGroup>,
    pub class: Option<ResourceGroupClass>,
    pub releases: BTreeMap<String, Release>,
    pub objects: BTreeMap<Key, Value>,
    /// Those of the server `main`.
    pub databases: BTreeMap<String, DatabaseFacts>,
    /// Set: the network lets everything through, whatever its policies say.
    pub network_is_open: bool,
    /// The clock's reading.
    pub now: Now,
    /// Those of other servers.
    pub elsewhere: BTreeMap<String, BTreeMap<String, DatabaseFacts>>,
    /// By server and database: connections of slots that were placed there.
    pub coming: BTreeMap<(String, String), u32>,
    /// Connections that servers have promised to others.
    pub promised: BTreeMap<String, u32>,
    /// Seconds of Unix time.
    pub postgres_clock: i64,
    /// Set: no PostgreSQL answers.
    pub postgres_is_down: bool,
    /// Definitions that are being deleted.
    pub doomed_definitions: Vec<String>,
    /// Servers that do not answer.
    pub down: BTreeSet<String>,
    /// The server that the present plan works on.
    pub server: String,
    /// Deployments the number of whose pods somebody else than the operator's manifest has set.
    scaled: BTreeSet<Key>,
    /// Slots whose revision the promotions' field manager owns.
    promoted: BTreeSet<Key>,
    counter: u64,
    /// Steps until the operator is killed.
    pub life: Option<usize>,
    /// All plans that were made, as text.
    pub printed: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        Self {
            group: Some(fixtures::group()),
            class: Some(fixtures::class()),
            releases: [("v1", 3), ("v2", 4)].map(|(name, schema)| (name.to_owned(), fixtures::release(name, schema))).into(),
            objects: BTreeMap::new(),
            databases: BTreeMap::new(),
            network_is_open: false,
            now: now(),
            elsewhere: BTreeMap::new(),
            coming: BTreeMap::new(),
            promised: BTreeMap::new(),
            postgres_clock: 1_767_225_600,
            postgres_is_down: false,
            doomed_definitions: Vec::new(),
            down: BTreeSet::new(),
            server: "main".to_owned(),
            scaled: BTreeSet::new(),
            promoted: BTreeSet::new(),
            counter: 0,
            life: None,
            printed: Vec::new(),
        }
    }

    fn operator() -> OperatorFacts {
        OperatorFacts {
            cluster_uid: "cluster-uid".into(),
            namespace: "tenantry-system".into(),
            service_account: "tenantry-operator".into(),
            probe: ProbeOffer { image: "registry.example/operator@sha256:op".into(), canary: "10.0.0.9:8082".into() },
        }
    }

    pub fn key() -> MasterKey {
        MasterKey::from_bytes(&[42; 32]).unwrap()
    }

    pub fn slots(&self) -> Vec<Slot> {
        self.objects.iter().filter(|((kind, ..), _)| kind == "Slot").map(|(_, slot)| fixtures::parse(slot.clone())).collect()
    }

    pub fn slot(&self, name: &str) -> Slot {
        self.slots().into_iter().find(|slot| slot.metadata.name.as_deref() == Some(name)).unwrap()
    }

    pub fn edit_group(&mut self, edit: impl FnOnce(&mut ResourceGroup)) {
        let group = self.group.as_mut().unwrap();
        edit(group);
        group.metadata.generation = group.metadata.generation.map(|generation| generation + 1);
    }

    pub fn group_facts(&self) -> GroupFacts {
        GroupFacts {
            operator: Self::operator(),
            namespaces: self.of_kind("Namespace"),
            slots: self.slots(),
            bindings: self.of_kind("RoleBinding"),
            doomed_definitions: Observation::Known(self.doomed_definitions.clone()),
        }
    }

    pub fn slot_facts(&self, slot: &Slot) -> SlotFacts {
        let namespace = slot.metadata.namespace.clone().unwrap();
        let managed = |kind: &str| kind == "Pod" || MANAGED_KINDS.iter().any(|managed| managed.kind == kind);
        let live = self.objects.iter().filter(|((kind, within, _), _)| *within == namespace && managed(kind));
        let identity = SlotIdentity::of(slot, "cluster-uid");
        let release = slot.spec.revision.as_ref().and_then(|revision| self.releases.get(&revision.release)).cloned();
        let needed = tenantry_plan::needs_database(slot, self.class.as_ref(), release.as_ref());
        let mut facts = SlotFacts {
            class_turn: tenantry_plan::ClassTurn::Now,
            operator: Self::operator(),
            group: self.group.clone().filter(|group| group.metadata.uid.as_ref() == Some(&slot.spec.group_ref.uid)),
            class: self.class.clone(),
            release,
            namespace: self.objects.get(&key("Namespace", "", &namespace)).cloned().map(fixtures::parse),
            live: live.map(|(_, object)| fixtures::parse(object.clone())).collect(),
            user_secrets: self.user_secrets(slot),
            ingress: self.attempts(),
            now: self.now.clone(),
            master_key: if tenantry_plan::needs_master_key(slot) { Observation::Known(Self::key()) } else { Observation::NotAsked },
            doomed_definitions: Observation::Known(self.doomed_definitions.clone()),
            database: Observation::NotAsked,
            servers: BTreeMap::new(),
        };
        if needed {
            self.ask_servers(slot, &identity, &mut facts);
        }
        facts
    }

    /// What is known of the Secrets that the slot names as credentials.
    fn user_secrets(&self, slot: &Slot) -> BTreeMap<String, UserSecret> {
        let namespace = slot.metadata.namespace.as_deref().unwrap_or_default();
        let named = tenantry_plan::user_secret_names(slot).into_iter();
        named
            .filter_map(|name| {
                let secret = self.objects.get(&key("Secret", namespace, &name))?;
                Some((name, UserSecret::of(&fixtures::parse(secret.clone()))))
            })
            .collect()
    }

    /// What comes of the operator's attempts to reach the pods.
    fn attempts(&self) -> BTreeMap<String, Ingress> {
        let pods = self.objects.values().filter(|object| object["kind"] == "Pod");
        let answer = if self.network_is_open { Ingress::Reached("10.1.0.7:8083".into()) } else { Ingress::Refused };
        pods.map(|pod| (pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), answer.clone())).collect()
    }

    fn of_kind(&self, wanted: &str) -> Vec<DynamicObject> {
        self.objects.iter().filter(|((kind, ..), _)| kind == wanted).map(|(_, object)| fixtures::parse(object.clone())).collect()
    }

    /// One reconcile of everything; whether all plans were settled.
    pub fn round(&mut self) -> bool {
        let mut settled = self.reconcile_group();
        for slot in self.slots() {
            settled &= self.reconcile_slot(&slot);
        }
        self.tick();
        settled
    }

    /// Rounds until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..40 {
            if self.round() {
                // What has ended goes by itself.
                self.objects.retain(|_, object| !is_probe(object));
                return;
            }
        }
        let plans: Vec<Plan> = self.slots().iter().map(|slot| tenantry_plan::slot(slot, &self.slot_facts(slot))).collect();
        panic!("not settled after 40 rounds: {plans:#?}");
    }

    /// The group's own reconciles until nothing is left to do.
    pub fn settle_group(&mut self) {
        assert!((0..10).any(|_| self.reconcile_group()), "the group does not settle");
    }

    pub fn reconcile_group(&mut self) -> bool {
        let Some(group) = self.group.clone() else { return true };
        let facts = self.group_facts();
        let plan = tenantry_plan::group(&group, &facts);
        let Some(outcome) = self.execute(&plan, &key("ResourceGroup", "", "pcasia")) else { return false };
        let facts = self.group_facts();
        if let Some(live) = self.group.as_mut() {
            let status = status::group_status(&group, &facts, &plan, &outcome, now());
            let changed = live.status.as_ref() != Some(&status);
            live.status = Some(status);
            return plan.is_settled() && !changed;
        }
        plan.is_settled()
    }

    pub fn reconcile_slot(&mut self, slot: &Slot) -> bool {
        let facts = self.slot_facts(slot);
        let plan = tenantry_plan::slot(slot, &facts);
        match tenantry_plan::standing(slot, &facts) {
            Standing::Member | Standing::Orphan(_) => {}
            Standing::Unlisted(_) => return false,
            Standing::Stranger(_) => return true,
        }
        let key = slot_key(slot);
        let placed = tenantry_plan::placed(slot, &facts);
        if let Some(placed) = placed.as_ref().filter(|placed| placed.chosen) {
            let database = SlotIdentity::of(slot, "cluster-uid").database();
            self.coming.insert((placed.server.clone(), database), placed.connections);
        }
        self.server = placed.map_or_else(|| "main".to_owned(), |placed| placed.server);
        let Some(outcome) = self.execute(&plan, &key) else { return false };
        if let Some(live) = self.objects.get_mut(&key) {
            let status = json!(status::slot_status(slot, &facts, &plan, &outcome, self.now.clone()));
            let changed = live["status"] != status;
            live["status"] = status;
            return plan.is_settled() && !changed;
        }
        plan.is_settled()
    }

    /// Executes a plan; none if the operator was killed on the way.
    pub fn execute(&mut self, plan: &Plan, planned: &Key) -> Option<Outcome> {
        self.printed.push(format!("{plan:?} {}", serde_json::to_string(plan).unwrap()));
        let mut outcome = Outcome::default();
        for track in &plan.tracks {
            let mut steps = 0;
            for step in track.waves.iter().flat_map(|wave| &wave.steps) {
                if let Some(life) = self.life.as_mut() {
                    if *life == 0 {
                        self.life = None;
                        return None;
                    }
                    *life -= 1;
                }
                self.step(step, planned);
                steps += 1;
            }
            outcome.tracks.push((track.name, TrackOutcome::Done { steps }));
        }
        Some(outcome)
    }

    fn step(&mut self, step: &Step, planned: &Key) {
        match step {
            Step::Apply(manifest) => self.apply(manifest),
            Step::ApplyAs(_, manifest) if manifest.kind.kind == "Deployment" => {
                let replicas = manifest.object.data["spec"]["replicas"].as_i64().unwrap();
                self.scale(manifest.namespace().unwrap(), manifest.name(), replicas);
            }
            Step::ApplyAs(_, manifest) => self.promote(manifest),
            Step::Delete(id) => self.delete(id),
            Step::Database(step) => self.database_step(step),
            Step::AddFinalizer(finalizer) => self.finalizers(planned, |finalizers| finalizers.push((*finalizer).to_owned())),
            Step::RemoveFinalizer(finalizer) => self.finalizers(planned, |finalizers| finalizers.retain(|found| found != finalizer)),
        }
    }

    fn finalizers(&mut self, planned: &Key, edit: impl FnOnce(&mut Vec<String>)) {
        if planned.0 == "ResourceGroup" {
            let Some(group) = self.group.as_mut() else { return };
            edit(group.metadata.finalizers.get_or_insert_default());
            if group.metadata.deletion_timestamp.is_some() && group.metadata.finalizers.iter().flatten().count() == 0 {
                self.group = None;
            }
            return;
        }
        let Some(object) = self.objects.get_mut(planned) else { return };
        let mut finalizers: Vec<String> = serde_json::from_value(object["metadata"]["finalizers"].clone()).unwrap_or_default();
        edit(&mut finalizers);
        object["metadata"]["finalizers"] = json!(finalizers);
        if finalizers.is_empty() && object["metadata"]["deletionTimestamp"].is_string() {
            self.objects.remove(planned);
        }
    }

    fn apply(&mut self, manifest: &Manifest) {
        let mut wanted = serde_json::to_value(&manifest.object).unwrap();
        typed::check(&manifest.kind.kind, &wanted);
        let key = key(&manifest.kind.kind, manifest.namespace().unwrap_or_default(), manifest.name());
        if let Some(namespace) = manifest.namespace().filter(|namespace| *namespace != "tenantry-system") {
            assert!(self.objects.contains_key(&self::key("Namespace", "", namespace)), "no namespace for {key:?}");
        }
        let live = self.objects.get(&key).cloned();
        if key.0 == "Slot" {
            if wanted["spec"]["revision"].is_object() {
                self.promoted.remove(&key);
            } else if let Some(live) = live.as_ref().filter(|_| self.promoted.contains(&key)) {
                wanted["spec"]["revision"] = live["spec"]["revision"].clone();
            }
        }
        if key.0 == "Deployment" {
            if wanted["spec"]["replicas"].is_i64() {
                self.scaled.remove(&key);
            } else {
                // As server-side apply: a field that no manager holds any more falls back to its default.
                let held = live.as_ref().filter(|_| self.scaled.contains(&key));
                wanted["spec"]["replicas"] = held.map_or(json!(1), |live| live["spec"]["replicas"].clone());
            }
        }
        self.store(&key, wanted, live);
    }

    /// Sets the number of a Deployment's pods, as an autoscaler does.
    pub fn scale(&mut self, namespace: &str, name: &str, replicas: i64) {
        let key = key("Deployment", namespace, name);
        let live = self.objects[&key].clone();
        let mut wanted = live.clone();
        wanted["spec"]["replicas"] = replicas.into();
        self.scaled.insert(key.clone());
        self.store(&key, wanted, Some(live));
    }

    fn promote(&mut self, manifest: &Manifest) {
        let key = key("Slot", manifest.namespace().unwrap(), manifest.name());
        let live = self.objects.get(&key).cloned().unwrap();
        if let Some(version) = &manifest.object.metadata.resource_version {
            assert_eq!(live["metadata"]["resourceVersion"], json!(version));
        }
        let mut wanted = live.clone();
        wanted["spec"]["revision"] = manifest.object.data["spec"]["revision"].clone();
        self.promoted.insert(key.clone());
        self.store(&key, wanted, Some(live));
    }

    /// Stores an object as the API server does: with identity, generation and version, without what is empty.
    fn store(&mut self, key: &Key, mut object: Value, live: Option<Value>) {
        self.counter += 1;
        let live = live.unwrap_or_else(|| json!({ "metadata": { "uid": format!("uid-{}", self.counter), "generation": 0 } }));
        let changed = live["spec"] != without_empty(object["spec"].clone());
        let generation = live["metadata"]["generation"].as_i64().unwrap_or(0) + i64::from(changed);
        for field in ["uid", "finalizers", "deletionTimestamp"] {
            if !live["metadata"][field].is_null() {
                object["metadata"][field] = live["metadata"][field].clone();
            }
        }
        object["metadata"]["generation"] = generation.into();
        object["metadata"]["resourceVersion"] = self.counter.to_string().into();
        object["spec"] = without_empty(object["spec"].take());
        if object["spec"].is_null() {
            object.as_object_mut().unwrap().remove("spec");
        }
        if !live["status"].is_null() {
            object["status"] = live["status"].clone();
        }
        if key.0 == "Service" {
            object["spec"]["clusterIP"] = "10.0.0.1".into();
        }
        self.objects.insert(key.clone(), object);
    }

    fn delete(&mut self, id: &ObjectId) {
        let key = key(&id.kind, id.namespace.as_deref().unwrap_or_default(), &id.name);
        let Some(object) = self.objects.get_mut(&key) else { return };
        if object["metadata"]["uid"] != json!(id.uid) {
            return;
        }
        if object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
            object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            return;
        }
        self.objects.remove(&key);
        if id.kind == "Job" {
            self.objects.retain(|(kind, ..), pod| kind != "Pod" || pod["metadata"]["labels"][JOB_LABEL] != json!(id.name));
        }
        self.scaled.remove(&key);
        if id.kind == "Namespace" {
            assert!(!self.objects.keys().any(|(kind, within, _)| kind == "Slot" && *within == id.name), "a namespace went before its Slot");
            self.objects.retain(|(_, within, _), _| *within != id.name);
        }
    }

    /// What Kubernetes does meanwhile: roll-outs end, Jobs complete and record their versions.
    pub fn tick(&mut self) {
        self.end_namespaces();
        self.assert_quotas_leave_room();
        self.run_probes();
        self.remove_succeeded_jobs();
        let mut recorded = Vec::new();
        for ((kind, namespace, _), object) in &mut self.objects {
            let generation = object["metadata"]["generation"].clone();
            let replicas = object["spec"]["replicas"].clone();
            match kind.as_str() {
                "Deployment" => {
                    object["status"] = json!({
                        "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas,
                    });
                }
                "Job" if object["status"].is_null() && !is_probe(object) => {
                    object["status"] = json!({ "conditions": [{ "type": "Complete", "status": "True" }] });
                    recorded.push((namespace.clone(), object.clone()));
                }
                _ => {}
            }
        }
        for (namespace, job) in recorded {
            self.record(&namespace, &job);
        }
    }

    /// What its time to live after its end does.
    fn remove_succeeded_jobs(&mut self) {
        self.objects.retain(|(kind, ..), job| {
            let ended = ["Complete", "Failed"].iter().any(|end| job["status"]["conditions"][0]["type"] == *end);
            kind != "Job" || !ended || job["spec"]["ttlSecondsAfterFinished"].is_null()
        });
    }

    /// A new probe's Job gets a pod that becomes ready; one that has had its time is removed.
    fn run_probes(&mut self) {
        let probes: Vec<Key> =
            self.objects.iter().filter(|((kind, ..), job)| kind == "Job" && is_probe(job)).map(|(key, _)| key.clone()).collect();
        for job in probes {
            let pod = key("Pod", &job.1, &job.2);
            if self.objects.remove(&pod).is_some() {
                self.objects.remove(&job);
                continue;
            }
            self.counter += 1;
            let mut labels = self.objects[&job]["metadata"]["labels"].clone();
            labels[JOB_LABEL] = job.2.clone().into();
            let metadata = json!({ "name": job.2, "namespace": job.1, "uid": format!("uid-{}", self.counter), "labels": labels });
            let status = json!({ "podIP": "10.1.0.7", "conditions": [{ "type": "Ready", "status": "True" }] });
            self.objects.insert(pod, json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status }));
        }
    }

    /// A quota is never below what its namespace's Deployments and Jobs may have at a time: each with one pod more.
    fn assert_quotas_leave_room(&self) {
        for ((_, namespace, _), quota) in self.objects.iter().filter(|((kind, ..), _)| kind == "ResourceQuota") {
            let mib = |quantity: &Value| {
                let text = quantity.as_str().unwrap();
                let number = |suffix: &str| text.strip_suffix(suffix).and_then(|number| number.parse::<u64>().ok());
                number("Mi").or_else(|| number("Gi").map(|gib| gib * 1024)).unwrap()
            };
            let (mut pods, mut memory) = (0, 0);
            for ((kind, within, name), object) in &self.objects {
                let autoscaler = self.objects.get(&key("HorizontalPodAutoscaler", within, name));
                let most = autoscaler.map_or(0, |autoscaler| autoscaler["spec"]["maxReplicas"].as_u64().unwrap());
                let count = match kind.as_str() {
                    "Deployment" => object["spec"]["replicas"].as_u64().unwrap().max(most) + 1,
                    "Job" if object["status"].is_null() => 1,
                    _ => continue,
                };
                if within == namespace {
                    pods += count;
                    memory += count * mib(&object["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]);
                }
            }
            let hard = &quota["spec"]["hard"];
            let (most_pods, most_memory): (u64, u64) = (hard["pods"].as_str().unwrap().parse().unwrap(), mib(&hard["limits.memory"]));
            // A quota that somebody has just edited is repaired by the next run.
            assert!(
                most_pods == 1 || (pods <= most_pods && memory <= most_memory),
                "{namespace}: {pods} pods and {memory} MiB, quota {hard}"
            );
        }
    }

    pub fn record(&mut self, namespace: &str, job: &Value) {
        let service = job["metadata"]["labels"]["tenantry.dev/service"].as_str().unwrap();
        let image = job["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
        let released =
            self.releases.values().filter_map(|release| release.spec.services.get(service)).find(|released| released.image == image);
        let Some(slot) = self.slots().into_iter().find(|slot| slot.metadata.namespace.as_deref() == Some(namespace)) else { return };
        let database = SlotIdentity::of(&slot, "cluster-uid").database();
        let mut servers = std::iter::once(&mut self.databases).chain(self.elsewhere.values_mut());
        let schema = servers.find_map(|databases| databases.get_mut(&database)?.schemas.get_mut(service)).unwrap();
        schema.version = released.and_then(|released| released.schema).map(|schema| schema.version);
    }

    /// What there is, without what differs from run to run.
    pub fn summary(&self) -> Value {
        let objects: BTreeMap<String, Value> = self
            .objects
            .iter()
            .filter(|(_, object)| !is_probe(object))
            .map(|((kind, namespace, name), object)| {
                let mut object = object.clone();
                for field in ["uid", "generation", "resourceVersion"] {
                    object["metadata"].as_object_mut().unwrap().remove(field);
                }
                object.as_object_mut().unwrap().remove("status");
                (format!("{kind}/{namespace}/{name}"), object)
            })
            .collect();
        let servers = std::iter::once(("main", &self.databases)).chain(self.elsewhere.iter().map(|(name, found)| (name.as_str(), found)));
        let databases: Vec<String> = servers
            .flat_map(|(server, databases)| databases.iter().map(move |(name, facts)| (format!("{server} {name}"), facts)))
            .filter(|(_, facts)| facts.comment.is_some() || !facts.roles.is_empty())
            .map(|(name, facts)| {
                let mut facts = facts.clone();
                // The UIDs of Slots differ from run to run.
                let comment = facts.comment.as_ref().and_then(|comment| Comment::parse(comment.as_deref()?));
                if let Some(comment) = comment {
                    facts.comment = Some(Some(Comment { holder: None, ..comment }.to_string()));
                }
                facts.roles.values_mut().for_each(|role| {
                    role.settings.sort();
                    role.settings.dedup();
                    role.member_of.dedup();
                });
                format!("{name}: {facts:?}")
            })
            .collect();
        json!({ "objects": objects, "databases": databases })
    }
}

const JOB_LABEL: &str = "batch.kubernetes.io/job-name";

/// Whether it is the Job or the pod of a probe, which comes and goes.
fn is_probe(object: &Value) -> bool {
    object["metadata"]["labels"]["tenantry.dev/role"] == "probe"
}

pub fn key(kind: &str, namespace: &str, name: &str) -> Key {
    (kind.to_owned(), namespace.to_owned(), name.to_owned())
}

pub fn slot_key(slot: &Slot) -> Key {
    key("Slot", slot.metadata.namespace.as_deref().unwrap(), slot.metadata.name.as_deref().unwrap())
}

pub fn now() -> Now {
    fixtures::parse(json!("2026-01-01T00:00:00Z"))
}

/// As the API server stores it: fields that are empty lists are not stored.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let kept = entries.into_iter().filter(|(_, value)| *value != json!([]));
            Value::Object(kept.map(|(key, value)| (key, without_empty(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_empty).collect()),
        scalar => scalar,
    }
}
