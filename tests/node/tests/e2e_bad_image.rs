//! A release that cannot run: the slot says so, and what runs goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tenantry_harness::node::{Node, eventually};

use crate::api::Api;
use crate::{PLATFORM, group};

#[tokio::test]
async fn an_image_that_does_not_exist_is_named_and_the_running_pods_stay() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let release = group::example_release(&node).await?;
    let missing = format!("tenantry.local/campaigns@sha256:{}", "0".repeat(64));
    group::derive_release(&node, "without-image", |spec| spec["services"]["campaigns"]["image"] = json!(missing)).await?;
    node.apply(&group::manifest("careful", &release)).await?;
    node.wait_until_ready("careful", group::READY).await?;
    let api = Api::of(&node, "careful-dev").await?;
    api.create_campaign(1, 10).await?;

    node.apply(&group::manifest("careful", "without-image")).await?;
    let message = eventually("the slot names the image", Duration::from_secs(120), || async {
        let slot = node.get("careful-dev", "slots.tenantry.dev", "dev").await?.unwrap_or_default();
        let ready = ready_condition(&slot);
        Ok(if ready["reason"] == "ImagePullFailed" { ready["message"].as_str().map(str::to_owned) } else { None })
    })
    .await?;
    ensure!(message.contains(&missing), "the message does not name the image: {message}");
    let answer = api.get("/campaigns/active").await?;
    ensure!(answer.status().is_success(), "the running pods answer {}", answer.status());
    let body: Value = answer.json().await?;
    ensure!(body["campaigns"].as_array().is_some_and(|campaigns| campaigns.len() == 1), "other data: {body}");

    node.apply(&group::manifest("careful", &release)).await?;
    eventually("the slot is Ready again", group::READY, || async {
        let slot = node.get("careful-dev", "slots.tenantry.dev", "dev").await?.unwrap_or_default();
        let ready = ready_condition(&slot)["status"] == "True";
        Ok((ready && slot["status"]["observedGeneration"] == slot["metadata"]["generation"]).then_some(()))
    })
    .await?;
    group::delete_without_trace(&node, &["careful"]).await?;
    node.kubectl(&["delete", "release.tenantry.dev", "without-image", "--timeout=60s"]).await?;
    Ok(())
}

fn ready_condition(slot: &Value) -> Value {
    let mut conditions = slot["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default()
}
