//! The operator is killed before and after every step that it takes in a group's life, and in the middle of those steps that
//! can be cut in two. What is there in the end is what an unkilled operator makes.
//!
//! Nobody lists the steps: they are what the operator announces at its gate, in the unkilled run and in the killed one.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};
use sqlx::{Connection, Executor};
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass};
use tenantry_harness::control_plane::Audit;
use tenantry_harness::step_gate::Moment;

use super::audit::written_objects;
use super::end_state;
use super::kill_campaign::{Campaign, Kills, Place, summary};
use super::manifests::{self, pinned};
use super::normal::Names;
use super::platform::{ADMIN_SECRET, Platform, has, unique};

/// A scenario's name, its steps and what was there at its end.
type Episode = (&'static str, BTreeSet<Moment>, BTreeSet<String>);

/// A group's life.
struct Life<'p> {
    platform: &'p Platform,
    group: String,
    class: String,
    releases: [String; 2],
    campaign: Campaign<'p>,
    names: Names,
}

impl<'p> Life<'p> {
    fn new(platform: &'p Platform, kills: Kills) -> Self {
        let (group, class) = (unique("acme"), unique("standard"));
        let releases = [unique("v1"), unique("v2")];
        let names = Names::new(&[(&group, "GROUP"), (&class, "CLASS"), (&releases[0], "FIRST"), (&releases[1], "SECOND")]);
        // Which of a group's slots comes first is chance: a step is the same in both.
        let steps = Names::new(&[
            (&format!("{group}-staging/staging"), "GROUP-SLOT/SLOT"),
            (&format!("{group}-dev/dev"), "GROUP-SLOT/SLOT"),
            (&format!("{group}-staging"), "GROUP-SLOT"),
            (&format!("{group}-dev"), "GROUP-SLOT"),
            (&group, "GROUP"),
            (&class, "CLASS"),
            (&releases[0], "RELEASE"),
            (&releases[1], "RELEASE"),
        ]);
        Self { platform, campaign: Campaign::new(platform, kills, steps), group, class, releases, names }
    }

    async fn live(mut self) -> (Vec<Episode>, Campaign<'p>) {
        let mut episodes = Vec::new();
        self.create().await;
        let uid = self.platform.group(&self.group).await.unwrap().metadata.uid.unwrap();
        episodes.push(self.until_ready("create", &uid).await);
        self.change().await;
        episodes.push(self.until_ready("change", &uid).await);
        self.shrink().await;
        episodes.push(self.until_ready("shrink", &uid).await);
        self.delete().await;
        episodes.push(self.until_gone("delete", &uid).await);
        (episodes, self.campaign)
    }

    async fn create(&self) {
        // Every life begins on a server that is not adopted.
        let mut superuser = self.platform.postgres.connect().await.unwrap();
        superuser.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC").await.unwrap();
        superuser.close().await.unwrap();
        let mut class = manifests::class(&self.class, self.platform.postgres.port(), ADMIN_SECRET);
        class["spec"]["sizes"]["large"]["database"]["connectionsPerService"] = 12.into();
        self.platform.apply::<ResourceGroupClass>(class).await;
        self.platform.apply::<Release>(manifests::release(&self.releases[0], 1)).await;
        self.apply(|_| {}).await;
    }

    /// A new release with a new schema and a further service, another size, other settings.
    async fn change(&self) {
        let mut release = manifests::release(&self.releases[1], 2);
        let mailer = json!({
            "image": manifests::IMAGE.replace("ledger", "mailer"),
            "roles": { "api": { "port": 8080 } },
            "needs": { "database": {} },
            "schema": { "version": 1, "runsOnFrom": 1 },
            "settings": { "type": "object", "additionalProperties": false },
        });
        release["spec"]["services"]["mailer"] = mailer;
        self.platform.apply::<Release>(release).await;
        self.apply(|spec| {
            spec["services"] = json!({ "ledger": { "settings": { "baseCurrency": "USD" } }, "mailer": {} });
            spec["slots"][0] = json!({ "name": "dev", "size": "large", "release": self.releases[1] });
        })
        .await;
    }

    /// A slot less, a service less, an owner less.
    async fn shrink(&self) {
        self.apply(|spec| {
            spec["owners"] = json!([]);
            spec["slots"] = json!([pinned("dev", &self.releases[1])]);
        })
        .await;
    }

    async fn delete(&self) {
        self.platform.delete_group(&self.group).await;
        for (kind, name) in [("class", &self.class), ("first release", &self.releases[0]), ("second release", &self.releases[1])] {
            let resource = if kind == "class" { "resourcegroupclasses" } else { "releases" };
            self.platform.control_plane.kubectl(&["delete", "--wait=false", resource, name]).await.unwrap();
        }
    }

    async fn apply(&self, change: impl FnOnce(&mut Value)) {
        let staging = json!({ "name": "staging", "size": "small", "promoteFrom": "dev", "initialRelease": self.releases[0] });
        let mut group = manifests::group(&self.group, &self.class, vec![pinned("dev", &self.releases[0]), staging]);
        change(&mut group["spec"]);
        self.platform.apply::<ResourceGroup>(group).await;
    }

    async fn until_ready(&mut self, scenario: &'static str, uid: &str) -> Episode {
        let (platform, name) = (self.platform, self.group.clone());
        let moments = self
            .campaign
            .until(scenario, async || {
                let group = platform.group(&name).await.ok_or("no group")?;
                let status = group.status.clone().unwrap_or_default();
                let all = status.slots.len() == group.spec.slots.len();
                let ready = has(&status.conditions, "Ready", "True") && Some(status.observed_generation) == group.metadata.generation;
                if ready && all { Ok(()) } else { Err(format!("{:?}", platform.describe(&group).await)) }
            })
            .await;
        (scenario, moments, end_state::of_group(platform, &name, uid, &self.names).await)
    }

    async fn until_gone(&mut self, scenario: &'static str, uid: &str) -> Episode {
        let (platform, name) = (self.platform, self.group.clone());
        let [first, second] = &self.releases;
        let offered = [format!("resourcegroupclasses/{}", self.class), format!("releases/{first}"), format!("releases/{second}")];
        let moments = self
            .campaign
            .until(scenario, async || {
                if let Some(group) = platform.group(&name).await {
                    return Err(format!("{:?}", platform.describe(&group).await));
                }
                let left = end_state::managed(&platform.client().await, &name).await;
                if !left.is_empty() {
                    return Err(format!("{left:?}"));
                }
                let arguments: Vec<&str> =
                    ["get", "--ignore-not-found", "--output=name"].into_iter().chain(offered.iter().map(String::as_str)).collect();
                let offered = platform.control_plane.kubectl(&arguments).await.unwrap();
                if offered.trim().is_empty() { Ok(()) } else { Err(offered) }
            })
            .await;
        (scenario, moments, end_state::of_group(platform, &name, uid, &self.names).await)
    }
}

/// Rounds in which steps are caught that ended unseen because the operator was killed at another beside them, or that only some
/// lives have: whether a status is written between two steps depends on how long they take. A round without a kill takes 20 s.
const ROUNDS: usize = 16;

#[tokio::test]
async fn killed_at_every_step_of_a_groups_life_the_operator_ends_where_an_unkilled_one_does() {
    let platform = Platform::start(Audit::On).await;
    let (unkilled, quiet) = Life::new(&platform, Kills::Never).live().await;
    // What is written past the gate nobody is killed at.
    let written = written_objects(platform.control_plane.audit_log().unwrap());
    let announced = |object: &String| quiet.touched.iter().any(|touched| touched == object || touched.ends_with(&format!(" {object}")));
    let past_the_gate: Vec<&String> = written.iter().filter(|object| !announced(object)).collect();
    assert!(past_the_gate.is_empty(), "written without a step: {past_the_gate:#?}");
    drop(quiet);

    let mut spared: BTreeSet<Place> = unkilled.iter().flat_map(|(scenario, steps, _)| places(scenario, steps)).collect();
    let (mut kills, mut places_killed) = (Kills::AtFirstSight, BTreeSet::new());
    let (mut count, mut rounds) = (0, 0);
    while !spared.is_empty() && rounds < ROUNDS {
        let begun = Instant::now();
        let (episodes, campaign) = Life::new(&platform, kills).live().await;
        for ((scenario, _, end), (_, _, end_of_killed)) in unkilled.iter().zip(&episodes) {
            let missing: Vec<_> = end.difference(end_of_killed).collect();
            let further: Vec<_> = end_of_killed.difference(end).collect();
            assert!(missing.is_empty() && further.is_empty(), "{scenario}: only unkilled {missing:#?}, only killed {further:#?}");
            assert_eq!(*scenario == "delete", end.is_empty(), "{scenario}: {end:#?}");
        }
        spared.retain(|place| !campaign.killed_at.contains(place));
        eprintln!("round {rounds}: killed {} times in {:?}, {} places left", campaign.killed, begun.elapsed(), spared.len());
        places_killed.extend(campaign.killed_at);
        (count, rounds) = (count + campaign.killed, rounds + 1);
        kills = Kills::At(spared.clone());
    }
    assert!(spared.is_empty(), "steps without a kill: {spared:#?}");
    eprintln!("{count} kills at {} moments: {}", places_killed.len(), summary(&places_killed));
}

fn places(scenario: &str, steps: &BTreeSet<Moment>) -> Vec<Place> {
    steps.iter().map(|moment| (scenario.to_owned(), moment.clone())).collect()
}
