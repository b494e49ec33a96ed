//! Changes of groups at a steady rate, and how long each takes to arrive in its Deployment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tenantry_crds::ResourceGroup;
use tenantry_crds::names::ROLE_LABEL;
use tokio::task::JoinSet;

use crate::operator::platform::{Platform, SLOTS, group};

/// Longer ones count as this long.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

/// The generation of each namespace's `api` Deployment, and since when.
type Seen = Arc<Mutex<HashMap<String, (i64, Instant)>>>;

/// Changes the settings of one slot of one group after the other; gives how long each change took until its Deployment had
/// it. A change is one SSA of the group, and makes the operator write the Slot, a ConfigMap, two Deployments and statuses.
pub async fn run(platform: &Platform, groups: &[String], rate: u64, duration: Duration) -> Result<Vec<Duration>> {
    let seen: Seen = Arc::default();
    let watching = tokio::spawn(watch(platform.client.clone(), Arc::clone(&seen)));
    while lock(&seen).len() < groups.len() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate as f64));
    let begun = Instant::now();
    let mut running: JoinSet<Result<Duration>> = JoinSet::new();
    let mut number = 0;
    while begun.elapsed() < duration {
        ticks.tick().await;
        let name = groups[number % groups.len()].clone();
        number += 1;
        running.spawn(change(platform.client.clone(), name, number, Arc::clone(&seen)));
    }
    let mut took = Vec::new();
    while let Some(change) = running.join_next().await {
        took.push(change??);
    }
    watching.abort();
    Ok(took)
}

async fn change(client: Client, name: String, number: usize, seen: Seen) -> Result<Duration> {
    let namespace = format!("{name}-{}", SLOTS[0]);
    let before = generation(&seen, &namespace).map_or(0, |(generation, _)| generation);
    let mut manifest = group(&name);
    // Other settings than any time before, in every run.
    let daily = i64::try_from(number)? + k8s_openapi::jiff::Timestamp::now().as_second() * 100_000 % 1_000_000_000;
    manifest["spec"]["slots"][0]["services"] = json!({ "ledger": { "settings": { "limits": { "daily": daily } } } });
    let api: Api<ResourceGroup> = Api::all(client);
    let begun = Instant::now();
    api.patch(&name, &kube::api::PatchParams::apply("bench").force(), &kube::api::Patch::Apply(&manifest)).await?;
    while begun.elapsed() < PATIENCE {
        if let Some((_, at)) = generation(&seen, &namespace).filter(|(generation, _)| *generation > before) {
            return Ok(at.saturating_duration_since(begun));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(PATIENCE)
}

async fn watch(client: Client, seen: Seen) {
    let config = watcher::Config::default().labels(&format!("{ROLE_LABEL}=api"));
    let events = watcher(Api::<PartialObjectMeta<Deployment>>::all(client), config).default_backoff().applied_objects();
    events
        .for_each(|deployment| {
            if let Ok(deployment) = deployment {
                let generation = deployment.metadata.generation.unwrap_or_default();
                let mut seen = lock(&seen);
                let known = seen.entry(deployment.namespace().unwrap_or_default()).or_insert((generation, Instant::now()));
                if known.0 < generation {
                    *known = (generation, Instant::now());
                }
            }
            std::future::ready(())
        })
        .await;
}

fn generation(seen: &Seen, namespace: &str) -> Option<(i64, Instant)> {
    lock(seen).get(namespace).copied()
}

fn lock(seen: &Seen) -> std::sync::MutexGuard<'_, HashMap<String, (i64, Instant)>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
