//! A roll-out that nobody notices.

use std::time::Duration;

use anyhow::Result;
use tenantry_harness::node::{Node, eventually};

use crate::api::Api;
use crate::load::{Load, OnFailure};
use crate::{PLATFORM, group};

#[tokio::test]
async fn a_release_change_under_load_drops_no_request_and_loses_no_purchase() -> Result<()> {
    let _whole = PLATFORM.read().await;
    let node = Node::of_this_stage()?;
    group::make(&node, "roller").await?;
    let api = Api::of(&node, "roller-dev").await?;
    api.create_campaign(1, 10).await?;
    let pods_before = pods(&node).await?;

    // 8 clients, two requests each every 250 ms: 64 requests a second
    let load = Load::start(&api, 1, 10, 8, Duration::from_millis(250), OnFailure::Note)?;
    eventually("the load runs", Duration::from_secs(30), || async { Ok((load.requests() > 100).then_some(())) }).await?;
    group::derive_release(&node, "next-release", |_| {}).await?;
    node.apply(&group::manifest("roller", "next-release")).await?;
    eventually("the slot runs the next release", group::READY, || async {
        let slot = node.get("roller-dev", "slots.tenantry.dev", "dev").await?.unwrap_or_default();
        Ok((slot["status"]["runningRelease"] == "next-release").then_some(()))
    })
    .await?;
    let first_pods_gone = || async {
        let now = pods(&node).await?;
        Ok(pods_before.iter().all(|pod| !now.contains(pod)).then_some(()))
    };
    eventually("the first pods are gone", Duration::from_secs(120), first_pods_gone).await?;
    load.end_without_failure(&api, 1, "the release changed").await?;

    group::delete_without_trace(&node, &["roller"]).await?;
    node.kubectl(&["delete", "release.tenantry.dev", "next-release", "--timeout=60s"]).await?;
    Ok(())
}

/// UIDs of the pods of the API and the worker.
async fn pods(node: &Node) -> Result<Vec<String>> {
    let pods = node.list("pods", "tenantry.dev/group=roller,tenantry.dev/role in (api,worker)").await?;
    Ok(pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).collect())
}
