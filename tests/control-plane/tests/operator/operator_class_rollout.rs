//! A changed class reaches the slots that run a few at a time, in their order.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::json;
use tenantry_crds::{ResourceGroup, ResourceGroupClass};

use super::manifests::{self, pinned};
use super::platform::{ADMIN_SECRET, Platform, eventually, unique};

const SLOTS: [&str; 3] = ["a", "b", "c"];

#[tokio::test]
async fn a_changed_class_rolls_one_slot_after_the_other_where_it_says_so() {
    let platform = Platform::shared().await;
    let (class, release) = platform.offer(1).await;
    let offer = |memory: u32| {
        let mut offer = manifests::class(&class, platform.postgres.port(), ADMIN_SECRET);
        offer["spec"]["rollout"] = json!({ "maxConcurrentSlots": 1 });
        offer["spec"]["sizes"]["small"]["api"]["resources"]["memoryMib"] = memory.into();
        offer
    };
    platform.apply::<ResourceGroupClass>(offer(48)).await;
    let group = unique("acme");
    platform.apply::<ResourceGroup>(manifests::group(&group, &class, SLOTS.iter().map(|slot| pinned(slot, &release)).collect())).await;
    platform.wait_until_ready(&group).await;
    let old = generation(platform, &class).await;
    eventually("the slots have noted their class", async || {
        let noted = generations(platform, &group).await;
        noted.values().all(|noted| *noted == Some(old)).then_some(()).ok_or(noted)
    })
    .await;

    platform.apply::<ResourceGroupClass>(offer(56)).await;
    let new = generation(platform, &class).await;
    let mut order: Vec<&str> = Vec::new();
    eventually("all slots have the new size", async || {
        // First who has the change, then who is done with it: what gets done in between is no violation.
        let mut changed = Vec::new();
        for slot in SLOTS {
            if memory(platform, &format!("{group}-{slot}")).await == "56Mi" {
                changed.push(slot);
            }
        }
        let done = generations(platform, &group).await;
        let under_way: Vec<&&str> = changed.iter().filter(|slot| done[**slot] != Some(new)).collect();
        assert!(under_way.len() <= 1, "{under_way:?} at the same time");
        order.extend(changed.iter().filter(|slot| !order.contains(slot)).copied().collect::<Vec<_>>());
        done.values().all(|done| *done == Some(new)).then_some(()).ok_or(done)
    })
    .await;
    assert_eq!(order, SLOTS);
    platform.wait_until_ready(&group).await;
}

async fn generation(platform: &Platform, class: &str) -> i64 {
    let class = Api::<ResourceGroupClass>::all(platform.client().await).get(class).await.unwrap();
    class.metadata.generation.unwrap()
}

async fn generations(platform: &Platform, group: &str) -> BTreeMap<&'static str, Option<i64>> {
    let mut found = BTreeMap::new();
    for slot in SLOTS {
        let status = platform.slot(group, slot).await.and_then(|slot| slot.status).unwrap_or_default();
        found.insert(slot, status.class_generation);
    }
    found
}

/// The memory that the `api` of the slot asks for.
async fn memory(platform: &Platform, namespace: &str) -> String {
    let deployment = Api::<Deployment>::namespaced(platform.client().await, namespace).get("ledger-api").await.unwrap();
    let deployment = serde_json::to_value(deployment).unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"].as_str().unwrap_or_default().to_owned()
}
