//! The number of an API's pods follows its load, by what the pods really use, and no request notices.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tenantry_harness::node::{Node, eventually};

use crate::api::Api;
use crate::load::{Load, OnFailure, USER, ensure_no_failure};
use crate::{PLATFORM, group};

const NAMESPACE: &str = "elastic-dev";
const DEADLINE: Duration = Duration::from_secs(240);

#[tokio::test]
async fn an_api_is_scaled_out_under_load_and_back_without_a_failed_request() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    let mut class = node.get("default", "resourcegroupclasses.tenantry.dev", "standard").await?.context("no class standard")?;
    class["metadata"] = json!({ "name": "elastic" });
    class.as_object_mut().context("not an object")?.remove("status");
    let size = &mut class["spec"]["sizes"]["small"];
    size["api"]["autoscaling"] = json!({ "maxReplicas": 3, "targetCpuPercent": 100, "scaleDownAfterSeconds": 15 });
    size["database"]["connectionsPerService"] = 24.into();
    node.apply(&class.to_string()).await?;
    let release = group::example_release(&node).await?;
    node.apply(&group::manifest("elastic", &release).replace("name: standard", "name: elastic")).await?;
    node.wait_until_ready("elastic", group::READY).await?;
    let api = Api::of(&node, NAMESPACE).await?;
    api.create_campaign(1, 10).await?;
    api.create_campaign(2, 20).await?;
    ensure!(pods(&node).await? == 1, "it begins with the fewest");

    // 16 clients, two requests each every 100 ms: 320 requests a second, on a pod that reserves 20 thousandths of a core
    let begun = Instant::now();
    let load = Load::start(&api, 1, 10, 16, Duration::from_millis(100), OnFailure::Note)?;
    let more = || async { Ok((pods(&node).await? >= 2).then_some(())) };
    eventually("a second pod is available", DEADLINE, more).await?;
    let out = begun.elapsed();
    ensure!(is_ready(&node).await?, "a pod that the autoscaler adds makes no slot unready");
    an_edit_is_repaired_around_the_number(&node).await?;
    let (rate, heavy) = load.stop().await?;

    let begun = Instant::now();
    let load = Load::start(&api, 2, 20, 1, Duration::from_secs(1), OnFailure::Note)?;
    let one = || async { Ok((pods(&node).await? == 1).then_some(())) };
    eventually("there is one pod again", DEADLINE, one).await?;
    let back = begun.elapsed();
    let after = load.requests();
    eventually("the load goes on", Duration::from_secs(30), || async { Ok((load.requests() > after + 5).then_some(())) }).await?;
    let (_, light) = load.stop().await?;

    ensure_no_failure(&heavy).await?;
    ensure_no_failure(&light).await?;
    println!(
        "out after {out:.0?} at {rate:.0} requests a second, back {back:.0?} after that; {} requests, none failed",
        heavy.requests.load(Ordering::Relaxed) + light.requests.load(Ordering::Relaxed)
    );
    api.wait_for_total(1, USER, heavy.acknowledged_cents.load(Ordering::Relaxed)).await?;
    api.wait_for_total(2, USER, light.acknowledged_cents.load(Ordering::Relaxed)).await?;

    group::delete_without_trace(&node, &["elastic"]).await?;
    node.kubectl(&["delete", "resourcegroupclass.tenantry.dev", "elastic", "--timeout=60s"]).await?;
    Ok(())
}

/// The operator undoes what somebody added to the Deployment, under load still, and leaves the number to the autoscaler.
async fn an_edit_is_repaired_around_the_number(node: &Node) -> Result<()> {
    let edit = ["patch", "deployment", "campaigns-api", "--namespace", NAMESPACE, "--type=merge", "--patch"];
    node.kubectl(&[&edit[..], &[r#"{"spec":{"minReadySeconds":1}}"#]].concat()).await?;
    let deployment = eventually("the edit is undone", Duration::from_secs(30), || async {
        let found = node.get(NAMESPACE, "deployment", "campaigns-api").await?.context("no Deployment")?;
        Ok(found["spec"]["minReadySeconds"].is_null().then_some(found))
    })
    .await?;
    let wanted = deployment["spec"]["replicas"].as_u64();
    ensure!(wanted >= Some(2), "the repair left {wanted:?} pods wanted");
    Ok(())
}

/// Pods of the API that serve.
async fn pods(node: &Node) -> Result<u64> {
    let deployment = node.get(NAMESPACE, "deployment", "campaigns-api").await?.context("no Deployment")?;
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or_default();
    let status = &deployment["status"];
    let (all, available) = (status["replicas"].as_u64().unwrap_or_default(), status["availableReplicas"].as_u64().unwrap_or_default());
    Ok(if wanted == all { available } else { wanted.min(available) })
}

async fn is_ready(node: &Node) -> Result<bool> {
    let slot = node.get(NAMESPACE, "slots.tenantry.dev", "dev").await?.context("no Slot")?;
    let conditions = slot["status"]["conditions"].as_array().context("no conditions")?;
    Ok(conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}
